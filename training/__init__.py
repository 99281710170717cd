"""How a classifier is made: labelled text -> bundle. `run.run` reads as the table of contents.

This package imports `model`, never `app`. It needs torch and the other libraries of the `train` extra.
"""
