"""The n-gram part of a classifier: a linear model over words, pairs of words, and the characters inside words.

What an LSTM would have to learn from many examples, that a word or an ending tells the label, is a weight here. The
features are hashed (Weinberger et al. 2009): there is no vocabulary but the hashes that training saw. Training and
serving count them by this file alone.

N texts, X code points of them all, G n-grams of them all, K features known, C classes.
"""

import copy
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from model.calibration import Floats
from model.config import NGRAMS, NgramKind
from model.errors import BundleError

Hashes: TypeAlias = npt.NDArray[np.uint32]
Longs: TypeAlias = npt.NDArray[np.uint64]
Places: TypeAlias = npt.NDArray[np.int64]

# In 4 million buckets half a million features rarely meet; in 1 million, IMDB lost 0.4 points of accuracy.
BITS = 22
CHARACTERS = (2, 3, 4, 5)  # lengths, the space around a word included
# Of a polynomial hash modulo 2**64: odd, so that it has an inverse.
BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 2**64)
SPACE = ord(" ")
TENSORS = ("hashes", "idf", "weights", "biases")  # of the file in a bundle
# Code points that are hashed at once: what a core's cache holds.
PART = 1 << 16
# Of a text, this many characters a token that the network may read are looked at: about as far as the network gets, in
# languages whose words have up to seven letters.
CHARACTERS_PER_TOKEN = 8
# Weights that are gathered at once: 16 MB. With a thousand classes a text of many words would take a gigabyte.
BLOCK = 1 << 22
# Letters, their marks, digits and the underscore of Unicode's first plane. What lies beyond, as emoji do, is a word by
# itself.
IN_WORDS = np.asarray([unicodedata.category(chr(code))[0] in "LMN" or chr(code) == "_" for code in range(1 << 16)])


@dataclass(frozen=True, slots=True)
class Found:
    """N-grams of one kind in the order of the texts: whose they are, and their hashes below 2**BITS."""

    text_G: Places
    hash_G: Hashes


@dataclass(frozen=True, slots=True)
class Weighed:
    """The known features of texts, each once a text, in the order of the texts."""

    text_G: Places
    feature_G: Places
    value_G: Floats


class Vocabulary:
    """The features that are known, and what each counts: its inverse document frequency, or 1."""

    def __init__(self, hashes_K: Hashes, idf_K: Floats) -> None:
        self._feature_of = np.full(1 << BITS, -1, dtype=np.int32)
        self._feature_of[hashes_K] = np.arange(len(hashes_K), dtype=np.int32)
        self.hashes_K = hashes_K
        self.idf_K = idf_K

    def without_idf(self) -> "Vocabulary":
        """The same, where each counts 1."""
        found = copy.copy(self)
        found.idf_K = np.ones_like(self.idf_K)
        return found

    def weigh(self, found: Found, texts: int) -> Weighed:
        """The logarithm of how often it comes, times what each counts; the values of a text have length 1, so that no
        word gains by being said a hundred times.
        """
        feature_G = self._feature_of[found.hash_G].astype(np.int64)
        known_G = feature_G >= 0
        size = max(len(self.hashes_K), 1)
        keys, counts = np.unique(found.text_G[known_G] * size + feature_G[known_G], return_counts=True)
        text_G, feature_G = keys // size, keys % size
        value_G = (1 + np.log(counts)) * self.idf_K[feature_G]
        squares_N = np.bincount(text_G, weights=np.square(value_G), minlength=texts)
        return Weighed(text_G, feature_G, (value_G / np.sqrt(squares_N)[text_G]).astype(np.float32))


class Ngrams:
    """A linear model over hashed n-grams, whose scores are added to the network's logits."""

    def __init__(
        self,
        kinds: Sequence[NgramKind],
        characters: int,
        hashes_K: Hashes,
        idf_K: Floats,
        weights_KC: Floats,
        biases_C: Floats,
    ) -> None:
        """`characters` of each text are read, no more."""
        self._kinds = kinds
        self._characters = characters
        self._vocabulary = Vocabulary(hashes_K, idf_K)
        self._weights_KC = weights_KC
        self._biases_C = biases_C

    @classmethod
    def from_bytes(cls, kinds: Sequence[NgramKind], characters: int, data: bytes, *, classes: int) -> "Ngrams":
        """Raises: BundleError if `data` is no n-gram file of so many classes."""
        try:
            found = safetensors.numpy.load(data)
            hashes_K, idf_K, weights_KC, biases_C = (found[name] for name in TENSORS)
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise BundleError(f"{NGRAMS} can't be read: {error!r}") from error
        shapes: dict[str, tuple[int, ...]] = {"hashes": (hashes_K.size,), "idf": (hashes_K.size,)}
        shapes |= {"weights": (hashes_K.size, classes), "biases": (classes,)}
        for name, shape in shapes.items():
            kind = np.uint32 if name == "hashes" else np.float32
            if found[name].shape != shape or found[name].dtype != kind:
                raise BundleError(
                    f"{NGRAMS}: {name} is {found[name].dtype} {found[name].shape}; {kind.__name__} {shape} was expected"
                )
        if hashes_K.size and int(hashes_K.max()) >= 1 << BITS:
            raise BundleError(f"{NGRAMS}: a hash is {int(hashes_K.max()):,}; it must be below {1 << BITS:,}")
        return cls(kinds, characters, hashes_K, idf_K, weights_KC, biases_C)

    def to_bytes(self) -> bytes:
        """The file that `from_bytes` reads."""
        arrays = (self._vocabulary.hashes_K, self._vocabulary.idf_K, self._weights_KC, self._biases_C)
        return safetensors.numpy.save(dict(zip(TENSORS, map(np.ascontiguousarray, arrays), strict=True)))

    @property
    def characters(self) -> int:
        """So many of each text are read."""
        return self._characters

    def cuts(self, text: str) -> bool:
        """Whether it has more than are read, runs of white space included."""
        return len(text) > self._characters and not text[self._characters :].isspace()

    def logits(self, texts: Sequence[str]) -> Floats:
        """Scores (N, C), float32. Each text's depends on that text alone, but for rounding where a BLOCK ends in it."""
        logits_NC = np.tile(self._biases_C, (len(texts), 1))
        for start, part in parts(texts):
            for found in find(part, self._kinds, self._characters).values():
                self._add(self._vocabulary.weigh(found, len(part)), logits_NC[start : start + len(part)])
        return logits_NC

    def _add(self, weighed: Weighed, logits_NC: Floats) -> None:
        size = max(1, BLOCK // logits_NC.shape[1])
        for start in range(0, len(weighed.text_G), size):
            block = slice(start, start + size)
            text_G = weighed.text_G[block]
            first = np.flatnonzero(np.diff(text_G, prepend=-1))
            weighted_GC = weighed.value_G[block, None] * self._weights_KC[weighed.feature_G[block]]
            logits_NC[text_G[first]] += np.add.reduceat(weighted_GC, first, axis=0)


def parts(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """The texts in runs of about PART characters, each with the place of its first."""
    start = characters = 0
    for place, text in enumerate(texts):
        if characters and characters + len(text) > PART:
            yield start, texts[start:place]
            start, characters = place, 0
        characters += len(text)
    if start < len(texts):
        yield start, texts[start:]


def find(texts: Sequence[str], kinds: Sequence[NgramKind], characters: int) -> dict[NgramKind, Found]:
    """The n-grams of these kinds in so many characters of each text, normalised as the tokenizer does, without regard
    to case and to how much space there is.
    """
    spaced = [f" {' '.join(_normal(text[:characters]).split())} " for text in texts]
    # A lone surrogate is hashed as what it is.
    codes_X = np.frombuffer("".join(spaced).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    text_X = np.repeat(np.arange(len(spaced)), [len(text) for text in spaced])
    rolling = Rolling(codes_X)
    finders = {"words": _words, "characters": _characters}
    return {kind: finders[kind](codes_X, text_X, rolling) for kind in kinds}


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("’", "'").lower()


class Rolling:
    """Hashes of any spans of a text, by one pass over it (Karp and Rabin 1987)."""

    def __init__(self, codes_X: Hashes) -> None:
        self._inverses_X = _powers(INVERSE, len(codes_X))
        sums_X = np.cumsum(_mix(codes_X.astype(np.uint64)) * _powers(BASE, len(codes_X)), dtype=np.uint64)
        self._sums_X = np.concatenate([np.zeros(1, dtype=np.uint64), sums_X])

    def spans(self, starts_G: Places, ends_G: Places) -> Longs:
        """Hashes modulo 2**64: equal for equal spans, wherever they stand."""
        return _mix((self._sums_X[ends_G] - self._sums_X[starts_G]) * self._inverses_X[starts_G])


def _words(codes_X: Hashes, text_X: Places, rolling: Rolling) -> Found:
    """Runs of letters, every other sign by itself, and pairs of them."""
    inside_X = IN_WORDS[np.minimum(codes_X, len(IN_WORDS) - 1)] & (codes_X < len(IN_WORDS))
    sign_X = ~inside_X & (codes_X != SPACE)
    # Every text begins and ends with a space: no word runs from one into the next.
    starts = np.flatnonzero(sign_X | (inside_X & ~np.roll(inside_X, 1)))
    ends = np.flatnonzero(sign_X | (inside_X & ~np.roll(inside_X, -1))) + 1
    word_G, text_G = rolling.spans(starts, ends), text_X[starts]
    pair_G = np.flatnonzero(text_G[:-1] == text_G[1:])
    pairs = _mix(word_G[pair_G] * np.uint64(3) + word_G[pair_G + 1])
    return _in_order([text_G, text_G[pair_G]], [word_G, pairs])


def _characters(codes_X: Hashes, text_X: Places, rolling: Rolling) -> Found:
    """Those inside a word with the space before and after it, as scikit-learn's `char_wb`."""
    spaces_X = np.concatenate([[0], np.cumsum(codes_X == SPACE)])
    whose, hashes = [], []
    for length in CHARACTERS:
        starts = np.arange(max(len(codes_X) - length + 1, 0))
        # No space but at the ends, and more than two of them.
        inner_X = spaces_X[starts + length - 1] == spaces_X[starts + 1]
        both_X = spaces_X[starts + length] - spaces_X[starts] == length
        starts = starts[inner_X & ~both_X]
        whose.append(text_X[starts])
        hashes.append(rolling.spans(starts, starts + length) + np.uint64(length))
    return _in_order(whose, [_mix(found) for found in hashes])


def _in_order(whose: Sequence[Places], hashes: Sequence[Longs]) -> Found:
    text_G = np.concatenate(whose)
    order = np.argsort(text_G, kind="stable")
    hash_G = (np.concatenate(hashes) >> np.uint64(64 - BITS)).astype(np.uint32)
    return Found(text_G[order], hash_G[order])


def _powers(base: int, count: int) -> Longs:
    """base**0, base**1, … modulo 2**64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _mix(values: Longs) -> Longs:
    """Every bit of a value spread over all bits of its hash (after Steele, Lea and Flood 2014)."""
    values = values + np.uint64(BASE)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
