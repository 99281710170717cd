"""training.linear: counted texts, a linear model over them, and the same scores where it is served."""

import numpy as np

from training import linear
from training.linear import Counter

LIMIT = 1000
TEXTS = ["one two", "two three", "three four", "four four five"] * 5


def test_a_served_model_scores_as_the_fitted_one() -> None:
    """In float32, for known and unknown texts."""
    counter = Counter(TEXTS, ("words", "characters"), LIMIT)
    targets_NC = np.array([[True, False, False], [False, True, False], [False, False, True], [False, True, True]] * 5)
    fitted = linear.fit(counter.matrix(TEXTS), targets_NC, "multi-label", c=1.0, seed=0)
    texts = [*TEXTS, "unheard", "", "four one", "one " * LIMIT + "two"]
    assert np.allclose(counter.served(fitted).logits(texts), fitted.scores(counter.matrix(texts)), atol=1e-5)


def test_the_most_frequent_features_are_kept() -> None:
    """`four` stands in most texts, and in the one place that there is."""
    counter = Counter(["four one", "four two", "four three"], ("words",), LIMIT, most=1)
    assert counter.matrix(["four", "one"]).toarray().tolist() == [[1.0], [0.0]]


def test_with_naive_bayes_a_word_of_both_labels_counts_less() -> None:
    """Beside the words that tell the labels apart, `often` stands in a few texts more of the one than of the other."""
    texts = ["warm often"] * 12 + ["warm", "cold often"] * 10 + ["cold"] * 12
    counter = Counter(texts, ("words",), LIMIT)
    targets_NC = np.array([["warm" in text, "cold" in text] for text in texts])
    asked = counter.matrix(["warm", "often"])
    shares = []
    for naive_bayes in (False, True):
        fitted = linear.fit(counter.matrix(texts), targets_NC, "single-label", c=0.1, seed=0, naive_bayes=naive_bayes)
        warm, often = fitted.scores(asked)[:, 0] - fitted.biases_C[0]
        shares.append(often / warm)
    assert 0 < shares[1] < shares[0] / 2


def test_a_scaled_model_has_scaled_scores() -> None:
    """Weights and biases by the factor, then the bias."""
    counter = Counter(TEXTS, ("words",), LIMIT)
    features, targets_NC = counter.matrix(TEXTS), np.array([[True, False], [False, True]] * 10)
    fitted = linear.fit(features, targets_NC, "single-label", c=1.0, seed=0)
    assert np.allclose(fitted.scaled(2.0, bias=0.5).scores(features), 2 * fitted.scores(features) + 0.5)
