"""Bodies of requests and answers. A superset of vLLM's `/classify`: its clients read the answers unchanged."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from model.config import Kind


def _shape(value: Any) -> str:
    return "text" if isinstance(value, str) else "texts"


Texts = Annotated[
    Annotated[str, Tag("text")]
    # Fail fast: a body may hold millions of numbers, and an error for each took 11 s and 3 GB.
    | Annotated[list[str], Field(min_length=1, fail_fast=True), Tag("texts")],
    Discriminator(_shape),
]


class ClassifyRequest(BaseModel):
    """One text, or a list of them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"input": "a quiet, clever and moving film"}]},
    )

    input: Annotated[Texts, Field(description="a text, or a list of texts")]
    model: Annotated[str | None, Field(description="a name from /models; may be left out where one is the default")] = (
        None
    )
    top_k: Annotated[int | None, Field(ge=1, description="how many labels to name in `scores`, the best first")] = None
    truncate: Annotated[bool, Field(description="false refuses a text that is too long, instead of cutting it")] = True

    @property
    def texts(self) -> list[str]:
        """The texts, of which there may be one."""
        return [self.input] if isinstance(self.input, str) else self.input

    def pointer(self, index: int) -> str:
        """Where text `index` stands in the request (RFC 6901)."""
        return "/input" if isinstance(self.input, str) else f"/input/{index}"


class LabelScore(BaseModel):
    """A label and its probability."""

    label: str
    score: float


class Classification(BaseModel):
    """The answer for one text. `probs` are in the order of the model's labels, `scores` from the best down.

    `labels` are those that the text is given: one, or of a multi-label model all that reach their thresholds. `label`
    is that one, and `score` its probability: where some labels are rare it need not be the most probable one, which is
    the first of `scores`. Of a multi-label model it is.
    """

    index: int
    label: str
    score: float
    labels: list[str]
    probs: list[float]
    num_classes: int
    scores: list[LabelScore]
    tokens: int
    truncated: bool


class Usage(BaseModel):
    """Tokens read, after truncation."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: Literal[0] = 0


class ClassifyResponse(BaseModel):
    """Answers in the order of the texts."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    model_version: str
    data: list[Classification]
    usage: Usage


class ModelCard(BaseModel):
    """One bundle that is served. `metrics` are those of its own report."""

    id: str
    object: Literal["model"] = "model"
    version: str
    created: str
    default: bool
    kind: Kind
    labels: list[str]
    max_tokens: int
    engine: str
    metrics: dict[str, dict[str, float]]


class ModelList(BaseModel):
    """What is served here."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """The state of the process."""

    status: str


class FieldProblem(BaseModel):
    """One thing that was wrong; `pointer` is a JSON pointer into the request."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] = []
