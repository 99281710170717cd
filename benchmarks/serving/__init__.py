"""The server under load, next to a FastAPI that computes nothing: `python -m benchmarks.serving`."""
