"""training.data: what is refused, what is left out, and how rows are split."""

import itertools
import json
from pathlib import Path

import pytest

from tests.training.files import CSV, JSONL, ROWS, write, write_rows
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
    assert splits.dropped == 3
    assert not {"Seen  TWICE!", "seen ...", "text 4"} & set(splits.train.texts)
    assert len(splits.train) == len(ROWS) - 1
    kept = load(tmp_path, TrainingConfig(drop_repeats=False))
    assert (kept.dropped, len(kept.train)) == (0, len(ROWS) + 2)


def test_labels_of_a_part_are_written_as_those_of_train(tmp_path: Path) -> None:
    """Versions stay as they are where train has one that is no number, and numbers are those of any format."""
    for train, expected in (("1.0", "1.0"), ("1", "1")):
        write(tmp_path, "train.csv", f"text,label\nx,{train}\ny,beta\n")
        write(tmp_path, "test.csv", "text,label\nz,1.0\n")
        test = data.read(tmp_path, Columns()).test
        assert test is not None
        assert test.labels == [(expected,)]


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


ENDINGS = ("", "!", " ...", "?")


def words(part: Examples) -> set[str]:
    return set(map(data.words_of, part.texts))


def test_copies_in_a_single_file_end_up_in_one_part(tmp_path: Path) -> None:
    """Every text four times, with an ending of its own: what is judged was not learnt from, none of them is lost, and
    each class has its share.
    """
    path = write_rows(tmp_path, "a.jsonl", [(text + ending, label) for text, label in ROWS for ending in ENDINGS])
    splits = load(path)
    for one, other in itertools.combinations(splits.parts.values(), 2):
        assert not words(one) & words(other)
    assert (splits.dropped, sum(map(len, splits.parts.values()))) == (0, 4 * len(ROWS))
    assert splits.test is not None
    assert splits.test.rows_a_label == {"a": 8, "b": 8}
    assert load(path) == splits


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_text_is_learnt(tmp_path: Path, seed: int) -> None:
    """Its copies stay in train, also where another class has one of them."""
    greetings = [("hi", "greeting"), ("Hi!", "greeting"), ("HI ...", "greeting")] * 10
    path = write_rows(tmp_path, "a.jsonl", [*greetings, *ROWS, ("hi?", "a")])
    splits = load(path, TrainingConfig(seed=seed))
    assert (splits.train.rows_a_label["greeting"], splits.dropped) == (30, 0)
    judging = [part for name, part in splits.parts.items() if name != "train"]
    assert all(set(part.rows_a_label) == {"a", "b"} for part in judging)


@pytest.mark.parametrize("seed", range(5))
def test_a_text_of_half_a_class_is_not_drawn_for_a_tenth(tmp_path: Path, seed: int) -> None:
    """Nor is the class out of test: a tenth of its texts are there."""
    rows = [("hi", "greeting")] * 60 + [(f"hello {number}", "greeting") for number in range(60)]
    splits = load(write_rows(tmp_path, "a.jsonl", [*rows, *ROWS]), TrainingConfig(seed=seed, least_held_out=0))
    assert splits.train.texts.count("hi") == 60
    assert splits.test is not None
    assert splits.test.rows_a_label == {"greeting": 6, "a": 2, "b": 2}


@pytest.mark.parametrize("copies", [60, 240, 540])
def test_train_keeps_its_share_of_the_texts_where_most_rows_are_copies(tmp_path: Path, copies: int) -> None:
    """What is held out in place of a text of most rows would else be all others."""
    rows = [
        (text, label)
        for label in "ab"
        for text in [f"all {label}"] * copies + [f"{label} {number}" for number in range(60)]
    ]
    splits = load(write_rows(tmp_path, "a.jsonl", rows), TrainingConfig(least_held_out=0))
    assert len(set(splits.train.texts)) >= 80
    assert all(set(part.rows_a_label) == {"a", "b"} for part in splits.parts.values())


def test_of_two_texts_of_a_class_the_rarer_is_held_out(tmp_path: Path) -> None:
    """As one of them must be, for the class to be judged."""
    rows = [("hi", "greeting")] * 30 + [("Hello", "greeting"), ("hello!", "greeting")] * 10
    splits = load(write_rows(tmp_path, "a.jsonl", [*rows, *ROWS]))
    assert splits.test is not None
    assert (splits.test.rows_a_label["greeting"], splits.train.rows_a_label["greeting"]) == (20, 30)


@pytest.mark.parametrize(("texts", "part"), [((1, 1), "test"), ((2, 1), "validation")])
def test_too_few_texts_to_hold_one_out_are_refused(tmp_path: Path, texts: tuple[int, int], part: str) -> None:
    """However often they come: one a class, and another for test alone."""
    distinct = [
        (f"{label} {number}", label) for label, count in zip("ab", texts, strict=True) for number in range(count)
    ]
    path = write_rows(tmp_path, "a.jsonl", distinct * 10)
    with pytest.raises(
        DataError, match=rf"a\.jsonl: no row can be held out for {part}: no class has 2 different texts"
    ):
        load(path)


@pytest.mark.parametrize(
    ("labels", "seed", "held_out"),
    [
        ("abac", 0, ([18, 26, 31, 32, 33], [5, 6, 8, 11], [3, 20, 29, 36])),
        ("abac", 1, ([3, 4, 18, 26, 37], [1, 2, 7, 38], [5, 10, 22, 31])),
        (None, 0, ([6, 8, 12, 20, 22, 32], [0, 14, 24, 38], [5, 19, 27, 37])),
        (None, 1, ([3, 6, 16, 25, 26, 28], [4, 17, 24, 30], [9, 32, 35, 38])),
    ],
)
def test_rows_of_distinct_texts_are_split_as_they_always_were(
    tmp_path: Path, labels: str | None, seed: int, held_out: tuple[list[int], ...]
) -> None:
    """Figures are published of such splits, which were recorded before copies were kept together: single-label, and
    multi-label.
    """
    several = [["a"] + ["b"] * (number % 3 == 0) + ["c"] * (number % 5 == 0) for number in range(40)]
    rows = [(f"text {number}", labels[number % 4] if labels else several[number]) for number in range(40)]
    splits = load(write_rows(tmp_path, "a.jsonl", rows), TrainingConfig(seed=seed, least_held_out=10))
    assert splits.test is not None
    judging = (splits.validation, splits.calibration, splits.test)
    assert tuple([int(text.split()[1]) for text in part.texts] for part in judging) == held_out


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
        ("good", "Good!", True),
        ("good 😀", "good 😡", False),
        ("C", "C++", False),
        ("well_known ❤️", "well-known ❤", True),
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
    all_rows = data.all_rows(splits, CONFIG)
    assert all_rows is not None
    assert splits.test is not None
    assert not set(map(data.words_of, all_rows.train.texts)) & set(map(data.words_of, splits.test.texts))
    parts = (splits.train, splits.validation, splits.calibration)
    assert len(all_rows.train) == sum(map(len, parts)) > len(splits.train)
    pairs = [pair for part in parts for pair in zip(part.texts, part.labels, strict=True)]
    assert list(zip(all_rows.train.texts, all_rows.train.labels, strict=True)) == pairs
    assert sum(len(set(part.texts)) for part in parts) == len(set(all_rows.train.texts))
    assert (len(all_rows.validation), len(all_rows.calibration), all_rows.test) == (0, 0, splits.test)


def test_few_rows_without_a_valid_are_learnt_from_once_more(tmp_path: Path) -> None:
    """Fewer than the setting says, train and what was held out of it together."""
    write(tmp_path, "train.csv", CSV)
    splits = load(tmp_path)
    for limit, there in ((len(ROWS) + 1, True), (len(ROWS), False), (0, False)):
        assert (data.all_rows(splits, TrainingConfig(refit_below=limit)) is not None) == there
    roomy = TrainingConfig(refit_below=len(ROWS) + 11)  # texts that are learnt from beside count too
    for more, there in ((10, True), (11, False)):
        assert (data.all_rows(splits, roomy, more=more) is not None) == there
    write(tmp_path, "valid.csv", "text,label\n" + "".join(f"new {n},{'ab'[n % 2]}\n" for n in range(20)))
    assert data.all_rows(load(tmp_path), CONFIG) is None


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
