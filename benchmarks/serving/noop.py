"""What HTTP and FastAPI cost by themselves: the same request and response as ours, and no work."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

LABELS = ("positive", "negative")
ROW = {
    "label": LABELS[0],
    "score": 0.9956182,
    "labels": [LABELS[0]],
    "probs": [0.0043818, 0.9956182],
    "num_classes": 2,
    "scores": [{"label": LABELS[0], "score": 0.9956182}, {"label": LABELS[1], "score": 0.0043818}],
    "tokens": 42,
    "truncated": False,
}

app = FastAPI()


class Request(BaseModel):
    """As ours."""

    input: str | list[str]


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """It is."""
    return {"status": "ready"}


@app.post("/classify")
async def classify(request: Request) -> dict[str, Any]:
    """The same answer to every text."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    return {
        "id": "classify-1bd415302ef248e58dde8b20502c35e6",
        "object": "list",
        "created": 1790000000,
        "model": "sentiment-en",
        "model_version": "b2824ab13fac",
        "data": [{"index": index, **ROW} for index in range(len(texts))],
        "usage": {"prompt_tokens": 42, "total_tokens": 42, "completion_tokens": 0},
    }
