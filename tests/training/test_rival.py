"""training.rival: the linear model learns what is to be learnt, and the comparison says who is better."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.calibration import Flags
from model.config import ClassifierConfig, Kind, NetworkConfig
from tests.training.files import write_rows
from training import data, linear, mixture, rival
from training.config import TrainingConfig
from training.data import Splits
from training.evaluate import Answers, flags
from training.mixture import Alone
from training.reading import Columns, Examples
from training.teacher import Lessons

SHAPE = NetworkConfig(vocabulary_size=2, embedding_size=1, hidden_size=1, classes=2)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Two words together decide, neither does alone: pairs of words are needed."""
    rng = random.Random(0)
    rows = []
    for number in range(400):
        first, second = rng.choice(["not", "very"]), rng.choice(["good", "bad"])
        up = (first == "very") == (second == "good")
        rows.append((f"{number} it was {first} {second} there", "up" if up else "down"))
    return splits(tmp_path_factory.mktemp("data"), rows)


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Each label has its word; some rows have none."""
    rng = random.Random(0)
    rows = []
    for number in range(400):
        labels = [label for label in ("cold", "late") if rng.random() < 0.4]
        rows.append((f"{number} the food came " + " and ".join(labels), labels))
    return splits(tmp_path_factory.mktemp("data"), rows)


def splits(folder: Path, rows: list[tuple[str, str]] | list[tuple[str, list[str]]]) -> Splits:
    return data.split(data.read(write_rows(folder, "a.jsonl", rows), Columns()), TrainingConfig())


def answers(targets_NC: Flags, decided_NC: Flags, labels: list[str], kind: Kind = "single-label") -> Answers:
    probs_NC = decided_NC.astype(np.float32)
    config = ClassifierConfig(kind=kind, labels=labels, max_tokens=9, network=SHAPE)
    return Answers(config, probs_NC, probs_NC, decided_NC, targets_NC, truncated=0)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_the_rival_learns_what_words_and_pairs_tell(kind: str, request: pytest.FixtureRequest) -> None:
    """In data of either kind: every row of test, by settings that are told."""
    found: Splits = request.getfixturevalue(kind)
    fitted = rival.fit(found, TrainingConfig())
    assert found.test is not None
    assert (fitted.decide(found.test.texts) == flags(found.test.labels, found.labels)).mean() > 0.97
    assert fitted.settings["C"] in rival.CHOICES_OF_C
    assert fitted.settings["features"].startswith("words 1-2")


def test_few_rows_are_judged_in_folds(single: Splits, multi: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each is worth alone is known then. Not where they are many, or folds would take too long."""
    for found in (single, multi):
        fitted = rival.fit(found, TrainingConfig())
        assert fitted.alone is not None
        assert fitted.alone.evidence > 50
    again = [number % len(single.train) for number in range(rival.FEW_HELD_OUT)]
    many = replace(single, validation=single.train.take(again))
    assert rival.fit(many, TrainingConfig()).alone is None
    known = [len(text) for part in (multi.train, multi.validation) for text in part.texts]
    for most, fits in ((2 * sum(known), True), (2 * sum(known) - 1, False)):
        monkeypatch.setattr(rival, "MOST_IN_FOLDS", most)
        assert (rival.fit(multi, TrainingConfig()).alone is not None) is fits


def test_folds_are_not_believed_where_the_datas_own_valid_is_other_text(single: Splits, multi: Splits) -> None:
    """They would say what is right for train's rows. Where `valid` is of the same kind, its rows count beside them."""
    for found, labels in ((single, ("up", "down")), (multi, ("cold", "late"))):
        own = replace(found, own_valid=True)
        assert rival.fit(own, TrainingConfig()).alone is not None
        rng = random.Random(0)
        texts = [f"nothing of train's {number} words" for number in range(60)]
        other = Examples(texts, [(rng.choice(labels),) for _ in texts], found.kind)
        assert rival.fit(replace(own, validation=other), TrainingConfig()).alone is None


def test_a_valid_of_a_row_or_of_copies_is_no_other_text(single: Splits) -> None:
    """One row says little of what the rest is like, and what stands in train already says nothing."""
    for rows in ([0], [1], [2], [3], [4], [5]):
        own = replace(single, own_valid=True, validation=single.validation.take(rows))
        assert rival.fit(own, TrainingConfig()).alone is not None
    copies = Examples([f"{text}!" for text in single.train.texts[:9]], single.train.labels[:9], single.kind)
    assert rival.fit(replace(single, own_valid=True, validation=copies), TrainingConfig()).alone is not None


@pytest.mark.parametrize("times", [1, 3])
def test_folds_vouch_for_no_noise(single: Splits, times: int) -> None:
    """Random labels of random words, ten draws; nor where each row comes thrice, which a fold without its copies would
    know by heart.
    """
    found = []
    for seed in range(10):
        rng = random.Random(seed)
        texts = [" ".join(rng.choice(["red", "blue", "cat", "dog", "sun", "sea"]) for _ in range(8)) for _ in range(90)]
        labels = [(rng.choice(["down", "up"]),) for _ in texts]
        train, validation = Examples(texts[:60] * times, labels[:60] * times), Examples(texts[60:], labels[60:])
        fitted = rival.fit(replace(single, train=train, validation=validation), TrainingConfig())
        assert fitted.alone is not None
        found.append(fitted.alone.evidence)
    assert np.mean(found) < mixture.LEAST_EVIDENCE


@pytest.mark.parametrize(("of_words", "with_characters"), [(True, False), (False, True)])
def test_idf_is_asked_again_with_characters(
    single: Splits, monkeypatch: pytest.MonkeyPatch, of_words: bool, with_characters: bool
) -> None:
    """Words say one thing, words and characters the other, which are likelier: that is what is fitted. All C are tried
    of words, and with characters the best of these and the one below it.
    """
    tried = []
    judge = rival._judge

    def judged(counter: linear.Counter, features: object, how: rival.Settings, *rest: Any) -> Any:
        tried.append((len(counter.kinds), counter.idf, how["c"]))
        wanted = counter.idf == (of_words if len(counter.kinds) == 1 else with_characters)
        evidence = 10 * len(counter.kinds) + wanted + (how["c"] == 0.3)
        found = judge(counter, features, how, *rest)
        return replace(found, alone=replace(found.alone, evidence=evidence))

    monkeypatch.setattr(rival, "_judge", judged)
    fitted = rival.fit(single, TrainingConfig())
    expected = {1: rival.CHOICES_OF_C, 2: (0.1, 0.3)}
    assert tried == [(kinds, idf, c) for kinds, choices in expected.items() for idf in (True, False) for c in choices]
    assert (fitted.counter.idf, fitted.settings["idf"], fitted.settings["C"]) == (with_characters, with_characters, 0.3)


@pytest.mark.parametrize("idf", [True, False])
def test_a_later_fit_weighs_words_as_the_first(single: Splits, idf: bool) -> None:
    """With or without IDF, as was chosen, by the words of its own rows; and so it is served."""
    first = rival.fit(single, TrainingConfig())
    counter = rival.count(single.train.texts, ("words",), TrainingConfig(), classes=2)
    later = replace(single, train=single.train.take(range(0, len(single.train), 2)))
    again = rival.refit(replace(first, counter=counter if idf else counter.without_idf()), later, TrainingConfig())
    counted = linear.Counter(later.train.texts, ("words",), counter.characters)
    counted = counted if idf else counted.without_idf()
    assert (again.counter.matrix(later.train.texts) != counted.matrix(later.train.texts)).nnz == 0
    served = again.counter.served(again.linear).logits(single.validation.texts)
    assert np.allclose(served, again.scores(single.validation.texts), atol=1e-5)


def test_a_taught_model_knows_words_that_no_label_tells_of(single: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what teachers say of texts without labels, in place of train's labels too where these have no share; where
    there is much text, without characters. Folds have said nothing of it.
    """
    counter = rival.count(single.train.texts, ("words", "characters"), TrainingConfig(), classes=2)
    fitted = replace(rival.fit(single, TrainingConfig()), counter=counter, alone=Alone(1.0, 9.0))
    told = {"splendid": "up", "awful": "down"}
    texts = [f"{number} {word}" for number in range(20) for word in told]
    answers_NC = np.concatenate(
        [~flags(single.train.labels, fitted.labels), flags([(told[text.split()[1]],) for text in texts], fitted.labels)]
    )
    row_of = {text: row for row, text in enumerate([*single.train.texts, *texts])}
    lessons = Lessons(texts, row_of, answers_NC.astype(np.float32))
    for share, most, kinds in ((0.0, 1_000_000, ("words", "characters")), (1.0, 1, ("words",))):
        monkeypatch.setattr(linear, "MOST_CHARACTERS", most)
        found = rival.taught(fitted, single, TrainingConfig(teacher_weight=share), lessons)
        assert (found.decide(list(told)) == flags([(label,) for label in told.values()], found.labels)).all()
        right_NC = found.decide(single.train.texts) == flags(single.train.labels, found.labels)
        assert (right_NC.all(), right_NC.any()) == (share == 0, share == 0)
        assert (found.alone, found.counter.kinds) == (None, kinds)


def test_the_seed_fixes_the_rival(single: Splits) -> None:
    """The same weights, to the bit."""
    first, again = (rival.fit(single, TrainingConfig(seed=3)).linear for _ in range(2))
    assert (first.weights_KC == again.weights_KC).all()


@pytest.mark.parametrize(
    ("right", "sign", "verdict"),
    [(1.0, 0, "The linear model alone is as good"), (0.3, -1, "The linear model alone is better")],
)
def test_the_verdict_follows_the_interval(single: Splits, right: float, sign: int, verdict: str) -> None:
    """Against an LSTM that is always right, and one that mostly is wrong."""
    fitted = rival.fit(single, TrainingConfig())
    assert single.test is not None
    targets_NC = flags(single.test.labels, single.labels)
    wrong_N1 = np.arange(len(targets_NC))[:, None] >= right * len(targets_NC)
    found = rival.compare(
        fitted, answers(targets_NC, targets_NC ^ wrong_N1, single.labels), single.test.texts, split="test", seed=0
    )
    assert found["verdict"].startswith(verdict)
    assert "it costs" in found["verdict"]
    assert np.sign(round(found["difference"], 1)) == sign
    assert found["low"] <= found["difference"] <= found["high"]
    assert (found["metric"], found["split"]) == ("accuracy", "test")


def test_an_lstm_that_is_better_is_said_to_be(single: Splits) -> None:
    """The rival was fitted to labels that mean nothing."""
    targets_NC = flags(single.train.labels, single.labels)
    noise = single.train.take(random.Random(0).sample(range(len(single.train)), k=len(single.train)))
    shuffled = Splits(
        train=type(noise)(single.train.texts, noise.labels),
        validation=single.validation,
        calibration=single.calibration,
        test=None,
        labels=single.labels,
        dropped=0,
    )
    found = rival.compare(
        rival.fit(shuffled, TrainingConfig()),
        answers(targets_NC, targets_NC, single.labels),
        [text.replace(" ", "  ") + "?" for text in reversed(single.train.texts)],
        split="valid",
        seed=0,
    )
    assert found["verdict"].startswith("The LSTM is better than the linear model: accuracy on valid")
    assert found["low"] > 0


def test_the_verdict_names_rare_labels_that_only_one_tells(single: Splits) -> None:
    """As good by accuracy alone isn't as good: here it tells one label alone, and 8 of 2,000 rows have the other."""
    fitted = rival.fit(single, TrainingConfig())
    one = replace(fitted, linear=fitted.linear.scaled(0.0, bias=0.0))  # all scores alike: the first label
    row_N1 = np.arange(2000)[:, None]
    frequent_NC = np.tile(np.array([[True, False]]), (2000, 1))
    targets_NC, told_NC = frequent_NC ^ (row_N1 < 8), frequent_NC ^ (row_N1 < 14)

    def verdict(decided_NC: Flags) -> str:
        ours = answers(targets_NC, decided_NC, single.labels)
        return str(rival.compare(one, ours, ["a"] * 2000, split="test", seed=0)["verdict"])

    assert verdict(told_NC).startswith("The linear model alone is as good by accuracy, and worse by macro-F1: ")
    assert verdict(frequent_NC).startswith("The linear model alone is as good: ")


def test_a_label_that_one_row_is_told_by_mistake_decides_nothing() -> None:
    """Macro-F1 of a label that doesn't occur is 0: no reason to call the other better."""
    targets_NC = np.tile(np.array([[True, False]]), (1000, 1))
    mistaken_NC = targets_NC ^ (np.arange(1000)[:, None] < 1)
    _, (low, high) = rival._intervals(targets_NC, mistaken_NC, targets_NC, seed=0)
    assert -0.002 < low <= high <= 0


def test_several_labels_are_compared_by_micro_f1(multi: Splits) -> None:
    """A row without labels, and one of both, count by their labels."""
    fitted = rival.fit(multi, TrainingConfig())
    assert multi.test is not None
    targets_NC = flags(multi.test.labels, multi.labels)
    ours = answers(targets_NC, targets_NC, multi.labels, kind="multi-label")
    found = rival.compare(fitted, ours, multi.test.texts, split="test", seed=0)
    assert found["metric"] == "micro_f1"
    assert found["difference"] == pytest.approx(1 - found["micro_f1"])


def test_the_interval_is_that_of_a_paired_difference() -> None:
    """Both wrong on the same rows: no resampling tells them apart, however few the rows."""
    targets_NC = np.tile(np.array([[True, False]]), (50, 1))
    decided_NC = targets_NC ^ (np.arange(50)[:, None] < 20)
    assert rival._intervals(targets_NC, decided_NC, decided_NC, seed=0) == ((0.0, 0.0), (0.0, 0.0))


def test_a_class_that_train_lacks_or_fills_is_no_fault() -> None:
    """A label of every row is always a yes, one of none a no."""
    texts = ["one two", "two three", "three four"]
    features = linear.Counter(texts, ("words",), 100).matrix(texts)
    targets_NC = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1]], dtype=np.bool_)
    fitted = linear.fit(features, targets_NC, "multi-label", c=1.0, seed=0)
    assert ((fitted.scores(features) > 0)[:, :2] == [True, False]).all()
