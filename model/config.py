"""The shape of a classifier, as `config.json` in a bundle holds it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# The truth of a bundle; the ONNX graph beside it points into this file by name.
WEIGHTS = "weights.safetensors"
# Beside it in a bundle whose classifier has an n-gram part.
NGRAMS = "ngrams.safetensors"

Kind = Literal["single-label", "multi-label"]
NgramKind = Literal["words", "characters"]


class NetworkConfig(BaseModel):
    """Sizes of the network; everything that is needed to make its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    vocabulary_size: Annotated[int, Field(ge=2, le=1_000_000)]
    embedding_size: Annotated[int, Field(ge=1, le=4096)]
    hidden_size: Annotated[int, Field(ge=1, le=4096, description="LSTM units a direction")]
    bidirectional: bool = True
    classes: Annotated[int, Field(ge=2, le=10_000)]

    @property
    def directions(self) -> int:
        """1, or 2 when the text is read from both ends."""
        return 2 if self.bidirectional else 1


class ClassifierConfig(BaseModel):
    """The network, and what its inputs and outputs mean."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Kind
    labels: Annotated[list[str], Field(min_length=2, description="label names in the order of the logits")]
    max_tokens: Annotated[int, Field(ge=1, le=100_000, description="longer texts are cut here, and the answer says so")]
    ngrams: Annotated[
        tuple[NgramKind, ...], Field(strict=False, description="what a linear part beside the network reads; none")
    ] = ()
    network: NetworkConfig

    @model_validator(mode="after")
    def _labels_fit_the_network(self) -> Self:
        if len(self.labels) != self.network.classes:
            raise ValueError(f"{len(self.labels)} labels for a network of {self.network.classes} classes")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label is named twice")
        return self
