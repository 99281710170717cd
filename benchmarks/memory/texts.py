"""Labelled texts that ask at their end for what stood at their beginning: a cue, a gap of real words, a question.

Every task but the latch is fair by construction: but for their filler all texts that ask the same have the same words,
whatever the answer, and the same cue has either answer, by the question. So neither a bag of words nor a linear model
of n-grams shorter than the gap can tell the answers apart. The latch is the control: one word of the cue tells.

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
# The words of a cue's parts, and for each question the number of the right answer.
Cue = tuple[list[str], list[int]]

FREQUENT = 300  # words of the filler: rarer ones are left out of its running text, so that a small table holds them all
LEAD = 5  # words before the cue, at most, so that its place alone says nothing
BETWEEN = 10  # words between the parts of a cue, at most
HELD_OUT = 0.2  # of the source, at its end: the filler of texts that judge
LEAST_WORDS = 1000  # of running text: with fewer the filler would be one phrase over and over


class FillerError(ValueError):
    """A source of filler can't be used; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of text: two answers, one question or two, and how a cue is drawn."""

    name: str
    answers: tuple[str, str]
    questions: tuple[str, ...]
    draw: Callable[[Rng], Cue]


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


def latch(rng: Rng) -> Cue:
    """anna came … who came"""
    who = int(rng.integers(2))
    return [f"{PEOPLE[who]} came"], [who]


def binding(rng: Rng) -> Cue:
    """bruno is cruel and anna is kind … who is kind"""
    kind = int(rng.integers(2))
    clauses = [f"{PEOPLE[kind]} is kind", f"{PEOPLE[1 - kind]} is cruel"]
    rng.shuffle(clauses)
    return [" and ".join(clauses)], [kind, 1 - kind]


def order(rng: Rng) -> Cue:
    """anna came … bruno came … who came last (Hochreiter and Schmidhuber 1997, task 6, in words)"""
    first = int(rng.integers(2))
    return [f"{PEOPLE[first]} came", f"{PEOPLE[1 - first]} came"], [first, 1 - first]


def last_mention(rng: Rng) -> Cue:
    """the door is open … is shut … is shut … is open … is it shut: the last one counts, as many as there are of each"""
    states = [int(state) for state in rng.permutation([0, 0, 1, 1])]
    return [f"the door is {STATES[state]}" for state in states], [states[-1], 1 - states[-1]]


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task("latch", PEOPLE, ("who came",), latch),
            Task("binding", PEOPLE, ("who is kind", "who is cruel"), binding),
            Task("order", PEOPLE, ("who came first", "who came last"), order),
            Task("last-mention", ("yes", "no"), ("is it open", "is it shut"), last_mention),
        )
    }
)
# What an answer hangs on: no filler has these.
TELLING = frozenset((*PEOPLE, *STATES, "came", "kind", "cruel", "door", "first", "last"))
SPOKEN = tuple(sorted(TELLING | {"the", "is", "it", "and", "who"}))


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

        Raises: ValueError where `gap` is below 1.
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
        parts, answers = self.task.draw(rng)
        question = int(rng.integers(len(self.task.questions)))
        found = [lead := self._filler(rng, source_N, 0, LEAD)]
        for number, part in enumerate(parts):
            if number:
                found.append(self._filler(rng, source_N, 1, BETWEEN))
            found.append(self._ids(part))
        before = sum(map(len, found))
        found.append(self._filler(rng, source_N, gap, gap + gap // 10))
        found.append(self._ids(self.task.questions[question]))
        return np.concatenate(found), answers[question], len(lead), before

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
