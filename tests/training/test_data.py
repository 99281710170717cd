"""training.data: what is refused, what is left out, and how rows are split."""

import json
from pathlib import Path

import pytest

from tests.training.files import CSV, JSONL, ROWS, write
from training import data
from training.config import TrainingConfig
from training.data import Splits
from training.errors import DataError
from training.reading import Columns, Examples

CONFIG = TrainingConfig()


def load(source: Path, config: TrainingConfig = CONFIG) -> Splits:
    return data.split(data.read(source, Columns()), config)


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    """Rows of train whose text is in test or valid, but for case, space and punctuation, are left out; and of the two
    parts that valid is cut into, each text is in one.
    """
    write(tmp_path, "train.csv", CSV + "Seen  TWICE!,a\nseen ...,b\n")
    write(tmp_path, "valid.csv", "text,label\n" + "".join(f"seen,a\nunseen {n},b\n" for n in range(3)))
    write(tmp_path, "test.csv", "text,label\nseen twice,a\ntext 4,b\nnew,a\n")
    splits = load(tmp_path)
    assert splits.dropped == 4
    assert not {"Seen  TWICE!", "seen ...", "text 4"} & set(splits.train.texts)
    assert len(splits.train) == len(ROWS) - 1
    kept = load(tmp_path, TrainingConfig(drop_repeats=False))
    assert (kept.dropped, len(kept.train)) == (0, len(ROWS) + 2)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Don't  STOP", "don’t stop"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("e\u0301te\u0301", "été"),
        ("ﬁve", "five"),
    ],
)
def test_what_the_tokenizer_reads_as_one_is_one_text(tmp_path: Path, text: str, other: str) -> None:
    """Case, white space, forms of a character, apostrophes: such a row of train is a repeat."""
    assert data.folded(text) == data.folded(other)
    write(tmp_path, "train.csv", CSV + f"{text},a\n")
    write(tmp_path, "test.csv", f"text,label\n{other},a\n")
    splits = load(tmp_path)
    assert (splits.dropped, text in splits.train.texts) == (1, False)


def test_what_is_tested_took_no_part_in_choosing(tmp_path: Path) -> None:
    """Rows of valid whose text is in test choose no epoch and fit no temperature."""
    write(tmp_path, "train.csv", CSV)
    rows = "".join(f"new {n},{'ab'[n % 2]}\n" for n in range(20))
    write(tmp_path, "valid.csv", "text,label\n" + rows + "asked,a\nAsked,a\n")
    write(tmp_path, "test.csv", "text,label\nasked,a\nother,b\n")
    splits = load(tmp_path)
    assert splits.dropped == 2
    assert not {"asked", "Asked"} & set(splits.validation.texts + splits.calibration.texts)
    write(tmp_path, "valid.csv", "text,label\nasked,a\nother,b\n")
    with pytest.raises(DataError, match="no row is left for validation"):
        load(tmp_path)


def test_copies_in_a_single_file_end_up_on_one_side(tmp_path: Path) -> None:
    """Every text four times: what is tested was not trained on."""
    splits = load(write(tmp_path, "a.jsonl", JSONL * 4))
    assert splits.test is not None
    assert not set(splits.train.texts) & set(splits.test.texts)


def test_a_class_that_is_wholly_held_out_is_refused(tmp_path: Path) -> None:
    """Its only text is in test: nothing is left to learn it from."""
    write(tmp_path, "train.csv", CSV + "only,c\n" * 4)
    write(tmp_path, "test.csv", "text,label\nonly,c\n")
    with pytest.raises(DataError, match=r"train\.csv: no row of 'c' is left"):
        load(tmp_path)


def test_rows_of_several_labels_are_split_by_their_rarest(tmp_path: Path) -> None:
    """So that a rare label is in every split."""
    lines = [{"text": f"text {n}", "labels": ["common"] + ["rare"] * (n % 5 == 0)} for n in range(200)]
    splits = load(write(tmp_path, "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines)))
    assert splits.kind == "multi-label"
    assert all(part.rows_a_label["rare"] for part in splits.parts.values())


def test_no_row_is_in_two_splits_and_none_is_lost(tmp_path: Path) -> None:
    """A single file is cut into four, each class in its share."""
    splits = load(write(tmp_path, "a.jsonl", JSONL))
    parts = (splits.train, splits.validation, splits.calibration, splits.test)
    texts = [text for part in parts if part is not None for text in part.texts]
    assert sorted(texts) == sorted(text for text, _ in ROWS)
    assert all(part is not None and set(part.rows_a_label) == {"a", "b"} for part in parts)


@pytest.mark.parametrize(
    ("rows", "changed", "held_out"),
    [
        (100, {}, 50),  # half at most
        (2000, {}, 300),
        (4000, {}, 480),  # the shares of it are more
        (100, {"refit_below": 100}, 12),  # what is held out would never be learnt from
    ],
)
def test_of_few_rows_more_are_held_out(tmp_path: Path, rows: int, changed: dict[str, int], held_out: int) -> None:
    """As they come back in the end; two in three of them choose the epoch."""
    write(tmp_path, "train.csv", "text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(rows)))
    splits = load(tmp_path, TrainingConfig(**changed))
    validation, calibration = len(splits.validation), len(splits.calibration)
    assert validation + calibration == held_out == rows - len(splits.train)
    assert validation == pytest.approx(2 * calibration, abs=3)


def test_the_seed_alone_decides_the_split(tmp_path: Path) -> None:
    """The same seed gives the same rows, another seed others."""
    path = write(tmp_path, "a.jsonl", JSONL)
    first, again, other = (load(path, TrainingConfig(seed=seed)).train for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_texts_without_words_are_the_same_to_the_sign_alone(tmp_path: Path) -> None:
    """A smile in test leaves a frown in train, and no smile."""
    write(tmp_path, "train.csv", CSV + ":),a\n:(,b\n👍,a\n👎,b\n")
    write(tmp_path, "test.csv", "text,label\n : ),a\n:),a\n👎,b\n")
    splits = load(tmp_path)
    held_out = [*splits.train.texts, *splits.validation.texts, *splits.calibration.texts]
    assert {":(", "👍"} <= set(held_out)
    assert not {":)", "👎"} & set(held_out)


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("good 👍", "Good!", True),
        ("well_known", "well-known ❤️", True),
        ("“é bom”", "e\u0301 bom", True),
        ("1\ufe0f\u20e3 ok", "1 ok", True),
        ("कि", "की", False),
        ("ดี", "ดุ", False),
        ("no. way", "noway", False),
        ("a b", "b a", False),
    ],
)
def test_texts_of_the_same_words_are_the_same(text: str, other: str, *, same: bool) -> None:
    """In their order. Signs are in no word; marks, which are vowels in many scripts, are."""
    assert (data.words_of(text) == data.words_of(other)) == same


@pytest.mark.parametrize("folder", [True, False])
def test_all_rows_are_those_of_no_test_text(tmp_path: Path, *, folder: bool) -> None:
    """What was held out of train comes back to it, as the splits have it: no text of test, and no text twice that was
    in two of them.
    """
    if folder:
        write(tmp_path, "train.csv", CSV + "Text  3,b\nasked,a\nAsked,a\n")
        write(tmp_path, "test.csv", "text,label\nASKED,a\ntext 3,b\n")
    splits = load(tmp_path if folder else write(tmp_path, "a.jsonl", JSONL * 4))
    whole = data.whole(splits, CONFIG)
    assert whole is not None
    assert splits.test is not None
    assert not set(map(data.words_of, whole.train.texts)) & set(map(data.words_of, splits.test.texts))
    parts = (splits.train, splits.validation, splits.calibration)
    assert len(whole.train) == sum(map(len, parts)) > len(splits.train)
    pairs = [pair for part in parts for pair in zip(part.texts, part.labels, strict=True)]
    assert list(zip(whole.train.texts, whole.train.labels, strict=True)) == pairs
    assert sum(len(set(part.texts)) for part in parts) == len(set(whole.train.texts))
    assert (len(whole.validation), len(whole.calibration), whole.test) == (0, 0, splits.test)


def test_few_rows_without_a_valid_are_learnt_from_once_more(tmp_path: Path) -> None:
    """Fewer than the setting says, train and what was held out of it together."""
    write(tmp_path, "train.csv", CSV)
    splits = load(tmp_path)
    for limit, there in ((len(ROWS) + 1, True), (len(ROWS), False), (0, False)):
        assert (data.whole(splits, TrainingConfig(refit_below=limit)) is not None) == there
    write(tmp_path, "valid.csv", "text,label\n" + "".join(f"new {n},{'ab'[n % 2]}\n" for n in range(20)))
    assert data.whole(load(tmp_path), CONFIG) is None


def test_copies_of_a_text_are_in_one_fold() -> None:
    """Else a model would have learnt the wrong label from the copy; each label is in every fold."""
    texts = [f"text {number % 30}" for number in range(60)]
    labels = [("ab"[number % 2],) for number in range(60)]
    fold_N = data.folds(Examples(texts, labels), seed=0)
    assert (fold_N[:30] == fold_N[30:]).all()
    assert all(len(set(fold_N[start::2])) == data.FOLDS for start in (0, 1))


def test_a_rare_label_is_spread_over_the_folds() -> None:
    """Of a row's labels the rarest counts, also where it stands with others, or others have none."""
    common: list[tuple[str, ...]] = [("a",)] * 40 + [()] * 30
    rare = [(label, "z") for label in "abcde"]
    fold_N = data.folds(Examples([f"text {number}" for number in range(75)], common + rare, "multi-label"), seed=0)
    assert sorted(fold_N[-5:]) == list(range(data.FOLDS))


def test_texts_that_differ_in_punctuation_are_copies() -> None:
    """Not those that are nothing else."""
    examples = Examples(["Good!", "bad", "good", "good ...", ":-)", ":-("], [("a",)] * 6)
    assert data.first_copies(examples).tolist() == [0, 1, 0, 0, 4, 5]
