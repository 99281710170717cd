"""Text to token ids, the same way in training and in serving."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tokenizers

from model.errors import BundleError
from model.words import Words

PAD = 0
UNKNOWN = 1
# A huge text is cut in characters before it is tokenized, so that it can't hold a core. Words of any language are far
# shorter on average; a text that is longer by other signs is cut earlier than its tokens say, and counts as cut.
CHARACTERS_PER_TOKEN = 64
# Texts of a call that the library's threads, where it may use them, read faster than one does by words: on two cores as
# fast, on more the faster.
MANY = 64
PARALLEL = "TOKENIZERS_PARALLELISM"  # the library's own name

Ids: TypeAlias = npt.NDArray[np.int64]


def use_one_thread() -> None:
    """Have this process' tokenizers read a batch themselves, unless the environment says otherwise.

    Their pool of threads has each batch handed over, and on one core waited for: 47 to 50 µs a text, for 60 to 106.
    """
    os.environ.setdefault(PARALLEL, "false")


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as the network reads it."""

    ids: Ids
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids)


class Tokenization:
    """A trained `tokenizers` pipeline, with the rules that are ours: where a text is cut, and what an empty one is.

    A text in which the pipeline finds no token is read as one unknown token.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._words = Words.of(tokenizer)
        self.max_tokens = max_tokens

    @classmethod
    def from_json(cls, text: str, *, max_tokens: int) -> "Tokenization":
        """Raises: BundleError if `text` is no tokenizer."""
        try:
            tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise BundleError(f"tokenizer.json can't be read: {error}") from error
        return cls(tokenizer, max_tokens=max_tokens)

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def to_json(self) -> str:
        return str(self._tokenizer.to_str())

    @property
    def max_characters(self) -> int:
        """So many of a text are looked at."""
        return self.max_tokens * CHARACTERS_PER_TOKEN

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text, at most `max_tokens` of them."""
        limit = self.max_characters
        # White space is no token: runs of it must not push words out of a long text.
        texts = [text if len(text) <= limit else " ".join(text.split()) for text in texts]
        found = self._ids([text[:limit] for text in texts])
        return [self._tokens(ids, cut=len(text) > limit) for ids, text in zip(found, texts, strict=True)]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The pipeline's ids: of plain texts by their words, the same in less time."""
        words = self._words if len(texts) < MANY or os.environ.get(PARALLEL) == "false" else None
        by_words = [words.ids(text) if words else None for text in texts]
        others = [text for text, ids in zip(texts, by_words, strict=True) if ids is None]
        encodings = iter(self._tokenizer.encode_batch_fast(others, add_special_tokens=False) if others else ())
        return [next(encodings).ids if ids is None else ids for ids in by_words]

    def _tokens(self, ids: list[int], *, cut: bool) -> Tokens:
        kept = np.asarray(ids[: self.max_tokens] or [UNKNOWN], dtype=np.int64)
        return Tokens(ids=kept, truncated=cut or len(ids) > self.max_tokens)
