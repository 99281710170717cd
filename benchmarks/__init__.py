"""What this project can do, measured: `python -m benchmarks.<name>`.

Each prints a table for people, then one JSON line with the machine, the versions and the command.
Benchmarks measure and never judge; floors are for tests.
"""
