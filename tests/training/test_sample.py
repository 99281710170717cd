"""The sample corpus: written by hand, no templates, no near-duplicates."""

import json
import re
from collections import Counter, defaultdict

from training.data import SAMPLE

ROWS = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
WORDS = [re.findall(r"\w+", row["text"].lower()) for row in ROWS]

# Jaccard similarity of the sets of 5-character shingles.
# Messages on one topic by different people stay below; a message with a word or two exchanged is far above.
NEAR = 0.35


def shingles(words: list[str]) -> set[str]:
    text = " ".join(words)
    return {text[start : start + 5] for start in range(max(1, len(text) - 4))}


def near_duplicates(texts: list[list[str]]) -> list[tuple[int, int]]:
    """Pairs at or above NEAR, found through an index of shingles."""
    found = []
    sets = [shingles(words) for words in texts]
    where: dict[str, list[int]] = defaultdict(list)
    for later, mine in enumerate(sets):
        shared = Counter(earlier for shingle in mine for earlier in where[shingle])
        found += [
            (earlier, later)
            for earlier, count in shared.items()
            if count / (len(mine) + len(sets[earlier]) - count) >= NEAR
        ]
        for shingle in mine:
            where[shingle].append(later)
    return found


def test_topics_and_languages_are_balanced() -> None:
    """At least 1,200 messages; eight topics in two languages, each as often."""
    counts = Counter((row["label"], row["language"]) for row in ROWS)
    assert len(ROWS) >= 1200
    assert len(counts) == 16
    assert len(set(counts.values())) == 1


def test_messages_are_short_and_unlike_one_another() -> None:
    """No near-duplicates, of any topic or language."""
    assert all(3 <= len(words) <= 60 for words in WORDS)
    assert near_duplicates(WORDS) == []


def test_the_measure_sees_an_exchanged_word() -> None:
    """The check above can fail."""
    one = re.findall(r"\w+", "please cancel my order of the blue kettle before it ships tomorrow")
    assert near_duplicates([one, [word.replace("blue", "green") for word in one]]) == [(0, 1)]


def test_no_template_shows() -> None:
    """No opening of three words is shared by more than five messages, no five words in a row by more than four."""
    openings = Counter(" ".join(words[:3]) for words in WORDS)
    runs = Counter(run for words in WORDS for run in {" ".join(words[i : i + 5]) for i in range(len(words) - 4)})
    assert openings.most_common(1)[0][1] <= 5
    assert runs.most_common(1)[0][1] <= 4
