"""Labelled texts that ask at their end for what stood at their beginning: a cue, a gap of real words, a question.

All texts of a task but the latch have the same telling words, whatever the answer, and filler keeps these apart: so
neither a bag of words nor a linear model of short n-grams can tell the answers apart. The latch is the control: one
word of it tells. No text is shorter than its gap, so there is no easy one to begin with.

B rows, T tokens, N words of running text. Id 0 is padding.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from training.data import SAMPLE

Ids = npt.NDArray[np.int64]
Rng = np.random.Generator
# What is told, each with how many words of filler stand before it, at least and at most; and the answer, 0 or 1.
Cue = tuple[list[tuple[int, int, str]], int]

FREQUENT = 300  # words of the filler: rarer ones are left out of its running text, so that a small table holds them all
# Words before the cue: two at least, as before what follows it. Where there may be none, that nothing stands before a
# name tells that it is the first of two: pairs and triples then had 58 and 66 % of order.
LEAD = (2, 7)
NEAR = (2, 4)  # between a name and its quality: no pair or triple of neighbours binds them
APART = (2, 6)  # between one thing told and the next
FAR = 0.4  # of the gap: what may stand between the two of an order, about as in Hochreiter and Schmidhuber's task 6
HELD_OUT = 0.2  # of the source, at its end: the filler of texts that judge
LEAST_WORDS = 1000  # of running text: with fewer the filler would be one phrase over and over


class FillerError(ValueError):
    """A source of filler can't be used; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of text: a question, and how a cue and the answer, 0 or 1, are drawn for a gap."""

    name: str
    question: str
    draw: Callable[[Rng, int], Cue]


@dataclass(frozen=True, slots=True)
class Filler:
    """Running text of frequent words, as numbers in `words`: one part to learn from, another to judge by."""

    words: tuple[str, ...]
    train_N: Ids
    held_out_N: Ids


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right with 0. `cue_B` and `gap_B` are the places of the cue's first word and the gap's."""

    ids_BT: Ids
    lengths_B: Ids
    labels_B: Ids
    cue_B: Ids
    gap_B: Ids


PEOPLE = ("anna", "bruno")
STATES = ("open", "shut")


def latch(rng: Rng, _: int) -> Cue:
    """anna … who came"""
    who = int(rng.integers(2))
    return [(*LEAD, PEOPLE[who])], who


def binding(rng: Rng, _: int) -> Cue:
    """bruno … cruel … anna … kind … who is kind"""
    who = int(rng.integers(2))
    told = [(PEOPLE[who], "kind"), (PEOPLE[1 - who], "cruel")]
    rng.shuffle(told)
    (one, its), (other, others) = told
    return [(*LEAD, one), (*NEAR, its), (*APART, other), (*NEAR, others)], who


def order(rng: Rng, gap: int) -> Cue:
    """bruno … anna … who came first"""
    who = int(rng.integers(2))
    least, most = APART
    return [(*LEAD, PEOPLE[who]), (least, most + int(FAR * gap), PEOPLE[1 - who])], who


def last_mention(rng: Rng, _: int) -> Cue:
    """open … shut … shut … open … is it open: the last one counts, as many as there are of each"""
    states = [int(state) for state in rng.permutation([0, 0, 1, 1])]
    return [(*(APART if place else LEAD), STATES[state]) for place, state in enumerate(states)], states[-1]


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task("latch", "who came", latch),
            Task("binding", "who is kind", binding),
            Task("order", "who came first", order),
            Task("last-mention", "is it open", last_mention),
        )
    }
)
# What an answer hangs on: no filler has these.
TELLING = frozenset((*PEOPLE, *STATES, "kind", "cruel"))
SPOKEN = tuple(sorted(TELLING.union(*(task.question.split() for task in TASKS.values()))))


def read_filler(path: Path | None = None) -> Filler:
    """Of a UTF-8 text file, or of the sample corpus's English messages.

    Raises: FillerError.
    """
    try:
        text = " ".join(_sample()) if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FillerError(f"filler {path} can't be read: {error}") from None
    found = [word for word in re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower()) if word not in TELLING]
    words = tuple(word for word, _ in Counter(found).most_common(FREQUENT))
    number = {word: place for place, word in enumerate(words)}
    numbers_N = np.array([number[word] for word in found if word in number], dtype=np.int64)
    if len(numbers_N) < LEAST_WORDS:
        raise FillerError(f"filler {path} has {len(numbers_N):,} words; at least {LEAST_WORDS:,} are needed")
    cut = int(len(numbers_N) * (1 - HELD_OUT))
    return Filler(words, numbers_N[:cut], numbers_N[cut:])


def _sample() -> Iterator[str]:
    with SAMPLE.open(encoding="utf-8") as lines:
        yield from (row["text"] for row in map(json.loads, lines) if row["language"] == "en")


class Texts:
    """Texts of one task, without end; which ones follows from the generator alone."""

    def __init__(self, task: Task, filler: Filler) -> None:
        self.task = task
        self.vocabulary = ("", *dict.fromkeys((*SPOKEN, *filler.words)))
        self._id = {word: id_ for id_, word in enumerate(self.vocabulary)}
        ids_V = np.array([self._id[word] for word in filler.words])
        self._train_N, self._held_out_N = ids_V[filler.train_N], ids_V[filler.held_out_N]

    def draw(self, rng: Rng, rows: int, *, gap: int, held_out: bool = False) -> Batch:
        """So many texts with gaps of `gap` to 1.1 `gap` words, their filler from the part to learn from, or to judge.

        Raises: ValueError where `gap` is below 1; with a gap of 1 triples tell.
        """
        if gap < 1:
            raise ValueError(f"gap is {gap}; it has to be 1 at least")
        source_N = self._held_out_N if held_out else self._train_N
        drawn = [self._row(rng, source_N, gap) for _ in range(rows)]
        ids, *columns = zip(*drawn, strict=True)
        lengths_B = np.array([len(row) for row in ids])
        ids_BT = np.zeros((rows, lengths_B.max()), dtype=np.int64)
        for row, found in enumerate(ids):
            ids_BT[row, : len(found)] = found
        labels_B, cue_B, gap_B = (np.array(column) for column in columns)
        return Batch(ids_BT, lengths_B, labels_B, cue_B, gap_B)

    def _row(self, rng: Rng, source_N: Ids, gap: int) -> tuple[Ids, int, int, int]:
        """A text's ids, its label, the places of its cue and its gap."""
        told, answer = self.task.draw(rng, gap)
        found = []
        for least, most, phrase in told:
            found += [self._filler(rng, source_N, least, most), self._ids(phrase)]
        before = sum(map(len, found))
        found += [self._filler(rng, source_N, gap, gap + gap // 10), self._ids(self.task.question)]
        return np.concatenate(found), answer, len(found[0]), before

    def _filler(self, rng: Rng, source_N: Ids, least: int, most: int) -> Ids:
        """Running text from a place that is drawn; behind the source's end it begins anew."""
        start = int(rng.integers(len(source_N)))
        return source_N.take(range(start, start + int(rng.integers(least, most + 1))), mode="wrap")

    def _ids(self, phrase: str) -> Ids:
        return np.array([self._id[word] for word in phrase.split()])

    def words(self, batch: Batch) -> list[str]:
        """The texts themselves."""
        return [
            " ".join(self.vocabulary[id_] for id_ in ids_T[:length])
            for ids_T, length in zip(batch.ids_BT, batch.lengths_B, strict=True)
        ]
