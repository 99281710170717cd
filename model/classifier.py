"""The loaded whole: texts in, labelled probabilities out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np

from model import collate
from model.calibration import Calibration, Floats, decisions, probabilities
from model.config import ClassifierConfig
from model.engine import Engine
from model.errors import EngineError, TextError
from model.ngrams import Ngrams
from model.tokenization import Tokenization, Tokens

# Padded tokens in one call of the engine. Large enough to fill the cores, small enough for their caches.
BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Row:
    """One text, read: its tokens, and what its n-grams add to its logits (C); None where the classifier has none."""

    tokens: Tokens
    ngrams_C: Floats | None = None

    def __len__(self) -> int:
        return len(self.tokens.ids)


class Prediction(NamedTuple):  # made in half the time of a frozen dataclass
    """The answer for one text. `probs` are in the order of the classifier's labels.

    `labels` are those that the text is given: one, or of a multi-label classifier all that reach their thresholds, of
    which there may be none. `label` is that one, which need not be the most probable where some labels are rare
    (`model.calibration.decisions`); of a multi-label classifier the most probable one. `score` is its probability.
    """

    label: str
    score: float
    labels: list[str]
    probs: list[float]
    tokens: int
    truncated: bool


class Classifier:
    """A network with its tokenizer, labels and calibration, and where it has one, an n-gram part."""

    def __init__(
        self,
        config: ClassifierConfig,
        tokenization: Tokenization,
        engine: Engine,
        calibration: Calibration,
        ngrams: Ngrams | None = None,
    ) -> None:
        self.config = config
        self.engine = engine
        self.calibration = calibration
        self._tokenization = tokenization
        self._ngrams = ngrams

    def on(self, engine: Engine) -> "Classifier":
        """The same, computed by another engine."""
        return Classifier(self.config, self._tokenization, engine, self.calibration, self._ngrams)

    def encode(self, texts: Sequence[str], *, truncate: bool = True) -> list[Row]:
        """Each text, read. Raises: TextError if one would have to be cut and `truncate` is false."""
        rows = self._rows(texts)
        for index, row in enumerate(rows):
            if row.tokens.truncated and not truncate:
                raise self.too_long(index)
        return rows

    def _rows(self, texts: Sequence[str]) -> list[Row]:
        tokens = self._tokenization.encode(texts)
        if self._ngrams is None:
            return [Row(found) for found in tokens]
        # What either part didn't read is cut.
        cut = [found.truncated or self._ngrams.cuts(text) for found, text in zip(tokens, texts, strict=True)]
        known = zip(tokens, cut, self._ngrams.logits(texts), strict=True)
        return [Row(Tokens(found.ids, its_cut), ngrams_C) for found, its_cut, ngrams_C in known]

    def score(self, rows: Sequence[Row], *, batch_tokens: int = BATCH_TOKENS) -> Floats:
        """Calibrated probabilities (N, C) of tokenized rows, in their order, whatever their lengths."""
        return probabilities(self.logits(rows, batch_tokens=batch_tokens), self.calibration, self.config.kind)

    def logits(self, rows: Sequence[Row], *, batch_tokens: int = BATCH_TOKENS) -> Floats:
        """Logits (N, C) before calibration: what a calibration is fitted on. Raises: EngineError."""
        logits_NC = np.empty((len(rows), len(self.config.labels)), dtype=np.float32)
        for batch in collate.by_length([row.tokens.ids for row in rows], max_tokens=batch_tokens):
            scores_BC = self.engine.scores(batch)
            # numpy would spread one row over all of the batch.
            if scores_BC.shape != (expected := (len(batch.indices), len(self.config.labels))):
                raise EngineError(f"{self.engine.name} gave scores of shape {scores_BC.shape}; {expected} was expected")
            logits_NC[batch.indices] = scores_BC
        for index, row in enumerate(rows):
            if row.ngrams_C is not None:
                logits_NC[index] += row.ngrams_C
        if not np.isfinite(logits_NC).all():
            raise EngineError(f"{self.engine.name} gave a score that is no number")
        return logits_NC

    def predict(self, texts: Sequence[str], *, truncate: bool = True) -> list[Prediction]:
        """Encode, score and label each text."""
        encoded = self.encode(texts, truncate=truncate)
        probs_NC = self.score(encoded)
        return self.predictions(encoded, probs_NC)

    def predictions(self, rows: Sequence[Row], probs_NC: Floats) -> list[Prediction]:
        """The answers for tokenized rows and their probabilities."""
        labels, given_NC = self.config.labels, decisions(probs_NC, self.calibration, self.config.kind)
        best_N = (given_NC if self.config.kind == "single-label" else probs_NC).argmax(axis=1)
        answers = zip(rows, best_N.tolist(), given_NC.tolist(), probs_NC.tolist(), strict=True)
        return [
            Prediction(
                labels[best], probs_C[best], list(compress(labels, given_C)), probs_C, len(row), row.tokens.truncated
            )
            for row, best, given_C, probs_C in answers
        ]

    def too_long(self, index: int) -> TextError:
        """What is wrong with the text of that number, which would have to be cut."""
        limits = [self._tokenization.max_characters, *([self._ngrams.characters] if self._ngrams is not None else [])]
        return TextError(
            f"text {index} is longer than the {self.config.max_tokens:,} tokens (or {min(limits):,} characters) that "
            "are read",
            index=index,
        )
