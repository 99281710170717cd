"""fastText (Joulin et al. 2017), where its module is installed; it is in no environment of this project.

The library's own package has no wheel, and is kept no more. `pip install fasttext-community` has wheels for CPython
3.11 and works with numpy 2 (0.11.9: TREC-6 89.4); being a fork that may go as well, it isn't a dependency.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.rivals.linear import TOKEN
from benchmarks.rivals.tuning import Rival, Scorer, Settings
from training.metrics import Doubles
from training.reading import Examples

PREFIX = "__label__"
# Five settings, as the data's page says: up to 25 epochs, word pairs or character n-grams.
BIGRAMS, CHARACTERS = {"wordNgrams": 2}, {"wordNgrams": 1, "minn": 3, "maxn": 5}
CHOICES = [
    {"epoch": 5, "lr": 0.5, **BIGRAMS},
    {"epoch": 25, "lr": 0.1, **BIGRAMS},
    {"epoch": 25, "lr": 0.5, **BIGRAMS},
    {"epoch": 5, "lr": 0.5, **CHARACTERS},
    {"epoch": 25, "lr": 0.5, **CHARACTERS},
]


def fits(train: Examples, names: Sequence[str], choices: Sequence[Settings]) -> Iterator[tuple[Settings, Scorer]]:
    """Each choice, on one thread: with more, no run is like another."""
    import fasttext

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        with file.open("w", encoding="utf-8") as lines:
            for text, (label,) in zip(train.texts, train.labels, strict=True):
                lines.write(f"{PREFIX}{names.index(label)} {words(text)}\n")
        for choice in choices:
            model = fasttext.train_supervised(str(file), thread=1, verbose=0, **choice)
            yield choice, partial(scores, model, len(names))


def words(text: str) -> str:
    """On one line, lower-cased, apart by spaces, as fastText's own preparation of its data has them."""
    return " ".join(re.findall(TOKEN, text.lower()))


def scores(model: Any, classes: int, texts: Sequence[str]) -> Doubles:
    """Probabilities (N, C); 0 for a class that train lacked."""
    scores_NC = np.zeros((len(texts), classes))
    labels, probs = model.predict([words(text) for text in texts], k=-1)
    for row, (found, sure) in enumerate(zip(labels, probs, strict=True)):
        scores_NC[row, [int(label.removeprefix(PREFIX)) for label in found]] = sure
    return scores_NC


FASTTEXT = Rival(sets.FASTTEXT, {"single-label": CHOICES}, fits, needs="fasttext")
