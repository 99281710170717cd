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


def test_a_scaled_model_has_scaled_scores() -> None:
    """Weights and biases by the factor, then the bias."""
    counter = Counter(TEXTS, ("words",), LIMIT)
    features, targets_NC = counter.matrix(TEXTS), np.array([[True, False], [False, True]] * 10)
    fitted = linear.fit(features, targets_NC, "single-label", c=1.0, seed=0)
    assert np.allclose(fitted.scaled(2.0, bias=0.5).scores(features), 2 * fitted.scores(features) + 0.5)
