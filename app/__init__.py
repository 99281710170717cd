"""How a classifier is served: FastAPI in front, a batcher between, `model` behind.

This package imports `model`, never `training`. `main.create_app` is where to start reading.
"""
