"""Texts that come twice, inside a part and across parts: to the letter, but for case and white space, but for
punctuation too, and nearly.

Nearly is a Jaccard similarity of at least 0.8 over shingles of 5 characters of the texts' words: characters, so that
tweets and languages without spaces are served too. MinHash and banding (Broder 1997; Leskovec et al., Mining of Massive
Datasets, section 3.4) find the candidates, and each is then compared in full. 100,000 documents take about 15 seconds.

N texts, P places of a signature.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from training.data import folded, words_of
from training.reading import Examples, Labels

SHINGLE = 5
SIMILAR = 0.8
# A pair of similarity 0.8 meets in one of 20 bands of 6 with 99.8 %, one of 0.5 with 27 %.
PLACES, BANDS = 120, 20
# Of 120 places, pairs of similarity 0.8 share fewer than this share with a chance of 1 in 30,000.
WORTH_COMPARING = 0.65
# A hundred thousand forms of one boilerplate would make 5 billion pairs. In a band each text is paired only with so
# many that follow, and of more pairs than this the signatures alone decide: counts of near repeats are then estimates.
NEIGHBOURS = 5
MOST_COMPARED = 50_000
# At a time, so that what is held stays small.
CHUNK_CHARACTERS = 4_000_000
# A signature is P numbers of Python's for a moment: of 400,000 texts of 10 characters they took 2.5 GB.
CHUNK_TEXTS = 20_000
STRIDE = 50_000

Hashes = npt.NDArray[np.uint64]
Number = TypeVar("Number", np.int64, np.uint64)


class Copies(BaseModel):
    """Rows that are repeats, and how many of them have labels that none of their copies has (None: no labels)."""

    model_config = ConfigDict(frozen=True)

    rows: int
    other_labels: int | None


class Repeats(BaseModel):
    """Rows of `part` whose text is in `among` too; where both are the same part, in an earlier row of it.

    `folded` counts those of `exact` too, and `same` those of `folded`: copies, as `data.words_of` has them. `near`
    counts none of these. `empty` of `same` are empty texts.
    """

    model_config = ConfigDict(frozen=True)

    part: str
    among: str
    rows: int  # of the whole part
    exact: Copies
    folded: Copies
    same: Copies
    near: Copies
    empty: int


class Conflicts(BaseModel):
    """Texts of train that have different labels in different rows, and those rows; empty texts apart."""

    model_config = ConfigDict(frozen=True)

    texts: int
    rows: int


Keyed = Sequence[tuple[str, Labels | None]]
Near = Mapping[str, Sequence[str]]


def find(parts: Mapping[str, tuple[Sequence[str], Sequence[Labels] | None]]) -> list[Repeats]:
    """Every part in itself, in those named before it, and in `unlabelled`; parts are texts and their labels."""
    exact = {name: _keyed(texts, labels) for name, (texts, labels) in parts.items()}
    cased, same = ({name: _by(form, part) for name, part in exact.items()} for form in (folded, words_of))
    near = near_texts(list(dict.fromkeys(text for part in same.values() for text, _ in part)))
    return [
        Repeats(
            part=part,
            among=among,
            rows=len(exact[part]),
            exact=_copies(exact[part], exact[among])[0],
            folded=_copies(cased[part], cased[among])[0],
            same=(found := _copies(same[part], same[among], near))[0],
            near=found[1],
            empty=found[2],
        )
        for part, among in _pairs(list(parts))
    ]


def conflicts(train: Examples) -> Conflicts:
    """Texts, folded, that are there with different labels: of "great!" and "great?" each may have its own."""
    found: dict[str, Counter[Labels]] = defaultdict(Counter)
    for text, labels in _keyed(train.texts, train.labels):
        found[folded(text)][labels or ()] += 1
    rows = [labels.total() for text, labels in found.items() if text and len(labels) > 1]
    return Conflicts(texts=len(rows), rows=sum(rows))


def near_texts(texts: Sequence[str]) -> dict[str, list[str]]:
    """For each of these distinct texts, by `data.words_of`, that has any, the others that are nearly the same."""
    long = [text for text in texts if len(text) >= SHINGLE]
    found: dict[str, list[str]] = {}
    if len(long) < 2:
        return found
    for first, second in _similar(long, *_candidates(_signatures(long))):
        found.setdefault(long[first], []).append(long[second])
        found.setdefault(long[second], []).append(long[first])
    return found


def _similar(
    texts: Sequence[str], pairs: Sequence[tuple[int, int]], agreeing: npt.NDArray[np.float64]
) -> Iterator[tuple[int, int]]:
    """Of these pairs those that are nearly the same; `agreeing` is what their signatures say."""
    if len(pairs) > MOST_COMPARED:
        yield from (pair for pair, share in zip(pairs, agreeing, strict=True) if share >= SIMILAR)
        return
    shingles: dict[int, Hashes] = {}
    for pair in pairs:
        for text in pair:
            if text not in shingles:
                shingles[text] = _distinct(_hashes([texts[text]]))
        one, other = (shingles[text] for text in pair)
        shared = len(np.intersect1d(one, other, assume_unique=True))
        if shared >= SIMILAR * (len(one) + len(other) - shared):
            yield pair


def _keyed(texts: Sequence[str], labels: Sequence[Labels] | None) -> Keyed:
    if labels is None:
        return [(text, None) for text in texts]
    return [(text, tuple(sorted(found))) for text, found in zip(texts, labels, strict=True)]


def _by(form: Callable[[str], str], part: Keyed) -> Keyed:
    return [(form(text), labels) for text, labels in part]


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    labelled = [name for name in names if name != "unlabelled"]
    for index, name in enumerate(labelled):
        yield from ((name, before) for before in [name, *labelled[:index]])
    if "unlabelled" in names:
        yield from ((name, "unlabelled") for name in names)


def _copies(part: Keyed, among: Keyed, near: Near | None = None) -> tuple[Copies, Copies, int]:
    """The same texts, the nearly same ones, and how many of the same are empty."""
    inside = part is among
    seen: dict[str, set[Labels | None]] = {}
    for text, labels in () if inside else among:
        seen.setdefault(text, set()).add(labels)
    same, similar, empty = [], [], 0
    for text, labels in part:
        if text in seen:
            same.append(labels not in seen[text])
            empty += not text
        elif near and (alike := [other for other in near.get(text, ()) if other in seen]):
            similar.append(not any(labels in seen[other] for other in alike))
        if inside:
            seen.setdefault(text, set()).add(labels)
    unlabelled = any(labels is None for keyed in (part, among) for _, labels in keyed[:1])
    return _counted(same, unlabelled=unlabelled), _counted(similar, unlabelled=unlabelled), empty


def _counted(others: Sequence[bool], *, unlabelled: bool) -> Copies:
    return Copies(rows=len(others), other_labels=None if unlabelled else sum(others))


def _signatures(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """MinHash signatures (N, P)."""
    from rensa import RMinHash

    found = []
    for chunk in chunks(texts):
        lengths = [len(text) - SHINGLE + 1 for text in chunk]
        # Shingles that begin in one text and end in the next are cut out.
        starts = np.cumsum([0, *map(len, chunk)])
        inside = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, lengths, strict=False)])
        ends = np.cumsum([0, *lengths]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(_hashes(chunk)[inside], ends, PLACES, 1)
        found.append(np.array(matrix.to_rows(), dtype=np.uint32))
    return np.concatenate(found)


def chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """So many texts at a time that their characters fit in memory as numbers, and so do their signatures."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if characters >= CHUNK_CHARACTERS or len(chunk) >= CHUNK_TEXTS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _hashes(texts: Sequence[str]) -> Hashes:
    """A hash of each shingle of these texts, joined: a polynomial of the characters, mixed as MurmurHash3 ends."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    count = len(codes) - SHINGLE + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(SHINGLE):
        hashes *= np.uint64(0x100000001B3)
        hashes += codes[place : count + place]
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashes ^= hashes >> np.uint64(33)
        hashes *= np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(33))


def _candidates(signatures_NP: npt.NDArray[np.uint32]) -> tuple[list[tuple[int, int]], npt.NDArray[np.float64]]:
    """Pairs that agree in a whole band and in enough places to be worth a full comparison; the share they agree in."""
    count = len(signatures_NP)
    codes = [np.empty(0, dtype=np.int64)]
    for band in np.split(signatures_NP, BANDS, axis=1):
        order = np.lexsort(band.T)
        ordered = band[order]
        for step in range(1, min(NEIGHBOURS, count - 1) + 1):
            equal = np.flatnonzero((ordered[step:] == ordered[:-step]).all(axis=1))
            if not len(equal):
                break
            first, second = np.sort([order[equal], order[equal + step]], axis=0)
            codes.append(first * count + second)
    first, second = np.divmod(_distinct(np.concatenate(codes)), count)
    agreeing = np.concatenate(
        [
            (signatures_NP[first[start : start + STRIDE]] == signatures_NP[second[start : start + STRIDE]]).mean(axis=1)
            for start in range(0, max(len(first), 1), STRIDE)
        ]
    )
    worth = agreeing >= WORTH_COMPARING
    return list(zip(first[worth].tolist(), second[worth].tolist(), strict=True)), agreeing[worth]


def _distinct(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """What np.unique gives; its hash table took ten times as long on 20 million sums of neighbouring numbers."""
    values = np.sort(values)
    distinct: npt.NDArray[Number] = values[np.append(True, values[1:] != values[:-1])[: len(values)]]
    return distinct
