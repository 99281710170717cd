"""training.linear: counted texts, a linear model over them, and the same scores where it is served."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

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


@pytest.mark.parametrize("idf", [True, False])
def test_a_rare_feature_counts_more_with_idf(idf: bool) -> None:
    """In a text of both, by its inverse document frequency; without, they count the same. The first is as it was."""
    counter = Counter(["common"] * 9 + ["common rare"], ("words",), LIMIT)
    asked = counter if idf else counter.without_idf()
    rare, common = (np.log(11 / (1 + documents)) + 1 if asked.idf else 1.0 for documents in (1, 10))
    values = asked.matrix(["common rare"]).data  # the pair is as rare
    assert np.allclose(sorted(values), np.array([common, rare, rare]) / np.hypot(common, np.hypot(rare, rare)))
    assert (counter.idf, asked.idf) == (True, idf)


def test_naive_bayes_plays_down_a_word_of_both_labels() -> None:
    """Beside the words that tell the labels apart, `often` stands in a few texts more of the one than of the other."""
    texts = ["warm often"] * 12 + ["warm", "cold often"] * 10 + ["cold"] * 12
    counter = Counter(texts, ("words",), LIMIT)
    targets_NC = np.array([["warm" in text, "cold" in text] for text in texts])
    features, asked = counter.matrix(texts), counter.matrix(["warm", "often"])
    fitted = linear.fit(features, targets_NC, "single-label", c=0.1, seed=0)
    warm, often = fitted.scores(asked)[:, 0] - fitted.biases_C[0]
    alone = LinearSVC(C=0.1, random_state=0).fit(features, targets_NC[:, 0])
    warm_alone, often_alone = alone.decision_function(asked) - alone.intercept_[0]
    assert min(warm, warm_alone) > 0
    assert abs(often / warm) < abs(often_alone / warm_alone) / 2


def test_what_is_learnt_may_be_probabilities() -> None:
    """Certain ones are labels; of two texts with the same word the one that is surer has it; a half teaches nothing,
    of whatever text.
    """
    counter = Counter([*TEXTS, "new"], ("words",), LIMIT)
    targets_NC = np.array([[True, False], [False, True]] * 10)
    features = counter.matrix(TEXTS)
    by_labels = linear.fit(features, targets_NC, "single-label", c=1.0, seed=0)
    certain = linear.fit(features, targets_NC.astype(np.float32), "single-label", c=1.0, seed=0)
    assert np.array_equal(certain.weights_KC, by_labels.weights_KC)
    more = counter.matrix([*TEXTS, "new", "new"])
    for told, sign in (([0.9, 0.4], 1), ([0.1, 0.6], -1), ([0.5, 0.5], 0)):
        answers_NC = np.concatenate([targets_NC, np.stack([told, 1 - np.array(told)], axis=1)])
        fitted = linear.fit(more, answers_NC.astype(np.float32), "single-label", c=1.0, seed=0)
        weight = (fitted.scores(counter.matrix(["new"])) - fitted.biases_C)[0, 0]
        assert np.sign(np.round(weight, 6)) == sign
    undecided_NC = np.concatenate([targets_NC, np.full((200, 2), 0.5)]).astype(np.float32)
    many = counter.matrix([*TEXTS, *["one two four"] * 200])
    fitted = linear.fit(many, undecided_NC, "single-label", c=1.0, seed=0)
    assert np.array_equal(fitted.weights_KC, by_labels.weights_KC)


def test_a_scaled_model_has_scaled_scores() -> None:
    """Weights and biases by the factor, then the bias."""
    counter = Counter(TEXTS, ("words",), LIMIT)
    features, targets_NC = counter.matrix(TEXTS), np.array([[True, False], [False, True]] * 10)
    fitted = linear.fit(features, targets_NC, "single-label", c=1.0, seed=0)
    assert np.allclose(fitted.scaled(2.0, bias=0.5).scores(features), 2 * fitted.scores(features) + 0.5)
