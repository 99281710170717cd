"""Servers that others have made, with the same network: `python -m benchmarks.serving.rivals`."""
