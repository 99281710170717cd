"""What isn't a recurrent network: a linear model of n-grams, and hidden Markov models, one a class."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from hmmlearn.hmm import CategoricalHMM
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from benchmarks.memory.texts import TASKS, Batch, Filler, Texts

LEARNT = 2048  # texts, of a linear model
LEARNT_HMM = 512  # of both classes together: an hour would be gone over more
TESTED = 1024
ITERATIONS = 15  # of expectation-maximisation


def measure(name: str, task: str, gap: int, seed: int, filler: Filler) -> dict[str, Any]:
    """Accuracy on fresh texts."""
    started = time.perf_counter()
    texts = Texts(TASKS[task], filler)
    rows = LEARNT if name == LINEAR else LEARNT_HMM
    train = texts.draw(np.random.default_rng([seed, 0]), rows, gap=gap)
    test = texts.draw(np.random.default_rng([seed, 2]), TESTED, gap=gap, held_out=True)
    accuracy = OUTSIDERS[name](texts, train, test, seed)
    seconds = time.perf_counter() - started
    return {"task": task, "network": name, "gaps": [gap], "seed": seed, "accuracy": {gap: accuracy}, "seconds": seconds}


def linear(texts: Texts, train: Batch, test: Batch, seed: int) -> float:
    """Logistic regression over TF-IDF of words, pairs and triples."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"\S+"),
        LogisticRegression(max_iter=1000, random_state=seed),
    )
    model.fit(texts.words(train), train.labels_B)
    return float(model.score(texts.words(test), test.labels_B))


def hidden_markov(states: int, texts: Texts, train: Batch, test: Batch, seed: int) -> float:
    """A model of so many states for each answer, fitted to its texts by expectation-maximisation; the likelier wins."""
    scores = []
    for label in range(2):
        rows = np.flatnonzero(train.labels_B == label)
        sequences = [train.ids_BT[row, : train.lengths_B[row]] for row in rows]
        # By scaling, not by logarithms: the same answers in a sixth of the time.
        model = CategoricalHMM(
            states,
            n_features=len(texts.vocabulary),
            n_iter=ITERATIONS,
            random_state=seed,
            init_params="ste",
            implementation="scaling",
        )
        model.fit(np.concatenate(sequences)[:, None], [len(found) for found in sequences])
        # A word that no text of the class had would make all of a text impossible.
        model.emissionprob_ = (model.emissionprob_ + 1e-6) / (model.emissionprob_ + 1e-6).sum(axis=1, keepdims=True)
        pairs = zip(test.ids_BT, test.lengths_B, strict=True)
        scores.append([model.score(ids_T[:length, None]) for ids_T, length in pairs])
    return float((np.argmax(scores, axis=0) == test.labels_B).mean())


LINEAR = "TF-IDF, linear"
OUTSIDERS: Mapping[str, Callable[[Texts, Batch, Batch, int], float]] = MappingProxyType(
    {LINEAR: linear} | {f"HMM, {states} states": partial(hidden_markov, states) for states in (8, 16, 32, 64)}
)
