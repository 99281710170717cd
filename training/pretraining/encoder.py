"""An encoder: what a classifier may start from. An embedding table and LSTMs that have learnt to predict words.

A directory of hashed files, as a bundle is: weights.safetensors, tokenizer.json, config.json, report.json, recipe.toml
and manifest.json. V tokens of the vocabulary, E embedding, H hidden units a direction, N texts that it learnt from.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.torch
import tokenizers
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from model import files
from model.bundle import CONFIG, GRAPH, REPORT, TOKENIZER
from model.config import WEIGHTS
from model.errors import BundleError
from model.network import Network
from model.tokenization import PAD
from training.config import TrainingConfig
from training.data import Splits, folded

FORMAT = 1
RECIPE = "recipe.toml"
# What decides the classifier that starts from it.
DECISIVE = (CONFIG, WEIGHTS, TOKENIZER)
TABLE, COUNTS, TEXTS = "embedding.weight", "counts", "texts"
# Of a text's sha256: of 10 million texts and as many others, two meet by chance once in 180,000 times.
HASH_BYTES = 8


class EncoderConfig(BaseModel):
    """The file `config.json`: the sizes, whether its words are in lower case, and how many texts it learnt from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["encoder"] = "encoder"
    vocabulary_size: Annotated[int, Field(ge=2, le=1_000_000)]
    embedding_size: Annotated[int, Field(ge=1, le=4096)]
    hidden_size: Annotated[int, Field(ge=1, le=4096)]
    bidirectional: bool
    lowercase: bool
    texts: Annotated[int, Field(ge=1)]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each tensor in the weights, by its name."""
        gates, inputs = 4 * self.hidden_size, self.embedding_size
        shapes: dict[str, tuple[int, ...]] = {TABLE: (self.vocabulary_size, inputs), COUNTS: (self.vocabulary_size,)}
        shapes[TEXTS] = (self.texts,)
        for direction in range(2 if self.bidirectional else 1):
            shapes |= {
                f"lstm.{direction}.weight_ih_l0": (gates, inputs),
                f"lstm.{direction}.weight_hh_l0": (gates, self.hidden_size),
                f"lstm.{direction}.bias_ih_l0": (gates,),
                f"lstm.{direction}.bias_hh_l0": (gates,),
            }
        return shapes


@dataclass(frozen=True)
class Encoder:
    """An encoder in memory. `weights` has the table as it is served: of mean 0 and variance 1 over the text, each token
    as often as `counts` says; the LSTM of each direction, by the names that a `Network` gives them; and the `hashes` of
    the texts that it learnt from.
    """

    config: EncoderConfig
    tokenizer: str
    weights: Mapping[str, Tensor]

    @classmethod
    def open(cls, path: Path) -> "Encoder":
        """Read and check every byte. Raises: BundleError that names the file."""
        path = path.absolute()
        if (path / GRAPH).exists():
            raise BundleError(f"{path} is a bundle; an encoder is what `lembra pretrain` writes")
        _, found = files.read(path, newest=FORMAT, required=(*DECISIVE, REPORT, RECIPE))
        config = files.parse(path / CONFIG, EncoderConfig, found[CONFIG])
        weights = _tensors(path / WEIGHTS, found[WEIGHTS])
        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        if shapes != config.shapes():
            raise BundleError(f"{path / WEIGHTS} has tensors of other names or sizes than {path / CONFIG} says")
        encoder = cls(config, _tokenizer(path / TOKENIZER, found[TOKENIZER]), weights)
        if len(encoder.vocabulary) != config.vocabulary_size:
            raise BundleError(
                f"{path / TOKENIZER} has {len(encoder.vocabulary):,} tokens; {config.vocabulary_size:,} have vectors"
            )
        return encoder

    def write(
        self,
        path: Path,
        report: Mapping[str, Any],
        recipe: str,
        *,
        created: datetime,
        commit: str | None,
        overwrite: bool,
    ) -> files.Manifest:
        """Write the directory, whole or not at all; it is opened before it gets its name. Raises: BundleError."""
        contents = {**self._decisive(), REPORT: files.to_json(report), RECIPE: recipe.encode()}
        return files.write(
            path.absolute(),
            contents,
            number=FORMAT,
            version=self.version,
            created=created,
            commit=commit,
            overwrite=overwrite,
            check=Encoder.open,
        )

    @cached_property
    def version(self) -> str:
        """Equal for encoders that are equal to the byte, and for no others: what checkpoints and reports name it by."""
        return files.version(self._decisive(), DECISIVE)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """The row of each word."""
        found: dict[str, int] = tokenizers.Tokenizer.from_str(self.tokenizer).get_vocab()
        return found

    @cached_property
    def counts(self) -> dict[str, int]:
        """How often each word came in the text that it learnt from."""
        numbers = self.weights[COUNTS].tolist()
        return {word: numbers[row] for word, row in self.vocabulary.items()}

    def seen(self, splits: Splits) -> dict[str, int]:
        """How many of the texts of each split that judges a classifier are among those that it learnt from."""
        judging = {name: part.texts for name, part in splits.parts.items() if name != "train"}
        its = self.weights[TEXTS].numpy()
        return {name: int(np.isin(_hashed(texts), its).sum()) for name, texts in judging.items()}

    def settings(self, config: TrainingConfig) -> TrainingConfig:
        """The settings of a classifier that starts from it: its sizes win, and so does its way to read words; none is
        made first.
        """
        names = ("embedding_size", "hidden_size", "bidirectional", "lowercase")
        its = {name: getattr(self.config, name) for name in names}
        return config.model_copy(update={**its, "pretrain_epochs": 0})

    def start(self, network: Network, vocabulary: Mapping[str, int]) -> None:
        """Copy the LSTMs, and by word the rows of the table; rows of words that it doesn't know stay as they are."""
        shared = [(row, self.vocabulary[word]) for word, row in vocabulary.items() if word in self.vocabulary]
        ours, its = (torch.tensor(rows) for rows in zip(*(pair for pair in shared if pair[0] != PAD), strict=True))
        with torch.no_grad():
            network.embedding.weight[ours] = self.weights[TABLE][its].to(network.embedding.weight)
        lstm = {name: value for name, value in self.weights.items() if name.startswith("lstm.")}
        network.lstm.load_state_dict({name.removeprefix("lstm."): value for name, value in lstm.items()})

    def _decisive(self) -> dict[str, bytes]:
        return {
            CONFIG: files.document(self.config),
            WEIGHTS: safetensors.torch.save(dict(self.weights)),
            TOKENIZER: self.tokenizer.encode(),
        }


def _tensors(file: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # the library's own, and torch's for a type that it doesn't know
        raise BundleError(f"{file} can't be read: {error}") from error


def _tokenizer(file: Path, data: bytes) -> str:
    text = files.text(file, data)
    try:
        tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise BundleError(f"{file} can't be read: {error}") from error
    return text


def hashes(texts: Iterable[str]) -> Tensor:
    """Of each folded text the first 8 bytes of its sha256, big-endian: int64 (N), sorted, none twice."""
    return torch.from_numpy(np.unique(_hashed(texts)))


def _hashed(texts: Iterable[str]) -> npt.NDArray[np.int64]:
    # `folded`, though `words_of` is what a copy is elsewhere: encoders that are written have these hashes.
    # A lone half of a surrogate pair, which JSON may hold, is a text like any other.
    whole = (hashlib.sha256(folded(text).encode(errors="surrogatepass")) for text in texts)
    return np.frombuffer(b"".join(found.digest()[:HASH_BYTES] for found in whole), dtype=">i8").astype(np.int64)
