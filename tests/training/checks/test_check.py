"""training.checks, repeats, findings and label_errors: what is found in data, and how bad it is said to be."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import cli
from tests.training.files import CSV, write, write_rows
from training import data
from training.checks import check, label_errors, repeats
from training.checks.check import DataCheck
from training.checks.findings import Finding
from training.reading import Columns

GOOD = ["a", "warm", "clever", "story", "told", "with", "great", "charm", "by", "fine", "players"]
BAD = ["a", "dull", "silly", "mess", "that", "wastes", "two", "long", "hours", "of", "life"]


def reviews(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct texts whose words tell their label."""
    rng = random.Random(seed)
    return [
        (f"{seed}.{number} " + " ".join(rng.choices(GOOD if number % 2 else BAD, k=12)), ("down", "up")[number % 2])
        for number in range(count)
    ]


def check_of(folder: Path, **parts: Sequence[tuple[str, Any]]) -> DataCheck:
    for name, rows in parts.items():
        write_rows(folder, f"{name}.jsonl", rows)
    return check.check(data.read(folder, Columns()))


def titles(found: DataCheck, severity: str) -> str:
    return "; ".join(finding.title for finding in found.findings if finding.severity == severity)


def lembra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["check", *map(str, arguments)])


def test_clean_data_has_nothing_serious(tmp_path: Path) -> None:
    """And no warning; every part is described."""
    found = check_of(tmp_path, train=reviews(60), test=reviews(20, seed=1))
    assert (titles(found, "serious"), titles(found, "warning"), found.serious) == ("", "", False)
    assert [(part.name, part.rows, part.labels) for part in found.parts] == [
        ("train", 60, {"down": 30, "up": 30}),
        ("test", 20, {"down": 10, "up": 10}),
    ]


def test_lengths_scripts_and_empty_texts_of_a_part(tmp_path: Path) -> None:
    """Scripts are shares of letters: digits and signs have none."""
    found = check_of(tmp_path, train=[("abc 12!", "x"), ("где", "y"), (" \t", "x"), ("日本", "y")])
    part = found.parts[0]
    assert part.empty == 1
    assert (part.characters.median, part.characters.longest) == (2.5, 7)
    assert part.scripts == {"Latin": 0.375, "Cyrillic": 0.375, "Han": 0.25}
    assert "1 of 4 train texts are empty" in titles(found, "serious")


def test_repeats_across_parts_are_counted_each_way(tmp_path: Path) -> None:
    """To the letter, but for case and white space, and punctuation, nearly; and those that carry another label."""
    long = "the quick brown fox jumps over the lazy dog, and then it sleeps until the sun goes down behind the hills"
    train = [*reviews(40), ("one text", "up"), ("Another text", "up"), (long, "up")]
    test = [("one text", "up"), ("one text", "down"), ("another  TEXT", "up"), ("Another-text!", "down")]
    test += [(long + " there", "down"), ("unseen", "up")]
    found = check_of(tmp_path, train=train, test=test)
    (across,) = (one for one in found.repeats if (one.part, one.among) == ("test", "train"))
    assert across.rows == 6
    assert across.exact == repeats.Copies(rows=2, other_labels=1)
    assert across.folded == repeats.Copies(rows=3, other_labels=1)
    assert across.same == repeats.Copies(rows=4, other_labels=2)
    assert across.near == repeats.Copies(rows=1, other_labels=1)
    assert "4 of 6 test texts are also in train, but for case, white space and punctuation" in titles(found, "serious")


def finding(found: DataCheck, title: str) -> Finding:
    (one,) = (finding for finding in found.findings if finding.title == title)
    return one


def test_copies_but_for_punctuation_are_left_out_and_near_ones_are_not(tmp_path: Path) -> None:
    """Both are serious where they are 1 % of the part, and it is said which of them training keeps."""
    train = reviews(60)
    copies = [(text + " ...", label) for text, label in train[:2]]
    near = [(text + " there", label) for text, label in train[2:4]]
    found = check_of(tmp_path, train=train, test=[*reviews(196, seed=1), *copies, *near])
    left_out = finding(found, "2 of 200 test texts are also in train, but for case, white space and punctuation")
    kept = finding(found, "2 of 200 test texts are nearly in train")
    assert (left_out.severity, kept.severity) == ("serious", "serious")
    assert "Training leaves their copies in train out" in left_out.detail
    assert "Training keeps what they repeat in train, and accuracy may gain as much" in kept.detail


def test_near_copies_below_one_percent_are_a_warning(tmp_path: Path) -> None:
    """As exact ones are."""
    train = reviews(60)
    found = check_of(tmp_path, train=train, test=[*reviews(200, seed=1), (train[0][0] + " there", "down")])
    assert finding(found, "1 of 201 test texts are nearly in train").severity == "warning"
    assert not found.serious


@pytest.mark.parametrize(
    ("own", "severity", "said"),
    [
        ((), "serious", "What judges is held out of train at random"),
        (("test",), "warning", "Validation is held out of train at random"),
        (("valid",), "note", ""),
        (("valid", "test"), "note", ""),
    ],
)
def test_near_copies_in_train_are_as_bad_as_what_is_held_out_of_it(
    tmp_path: Path, own: tuple[str, ...], severity: str, said: str
) -> None:
    """At random, all that judges a single file's classifier; parts of its own are untouched by them."""
    near = [(text + " there", label) for text, label in reviews(2)]
    parts = {name: reviews(20, seed=number) for number, name in enumerate(own, start=1)}
    found = check_of(tmp_path, train=[*reviews(198), *near], **parts)
    one = finding(found, "2 of 200 train texts nearly repeat an earlier one")
    assert (one.severity, said in one.detail, "at random" in one.detail) == (severity, True, bool(said))


def test_few_near_copies_in_a_single_file_are_a_warning(tmp_path: Path) -> None:
    """And copies, which are held out together, are no leak at all."""
    rows = reviews(250)
    near, copies = (rows[0][0] + " there", "down"), [(text + "!", label) for text, label in rows[1:9]]
    found = check_of(tmp_path, train=[*rows, near, *copies])
    assert finding(found, "1 of 259 train texts nearly repeat an earlier one").severity == "warning"
    assert finding(found, "8 of 259 train texts repeat an earlier one").severity == "warning"


def test_a_leak_below_one_percent_is_a_warning(tmp_path: Path) -> None:
    """It can't move the figures that much."""
    train = reviews(60)
    found = check_of(tmp_path, train=train, test=[*reviews(200, seed=1), train[0]])
    assert "1 of 201 test texts are also in train" in titles(found, "warning")
    assert not found.serious


def test_empty_texts_are_no_leak(tmp_path: Path) -> None:
    """They are counted among the repeats, and said to be empty."""
    train = [*reviews(300), ("", "up"), ("  ", "down")]
    found = check_of(tmp_path, train=train, test=[*reviews(200, seed=1), ("", "down")])
    (across,) = (one for one in found.repeats if (one.part, one.among) == ("test", "train"))
    assert across.exact == repeats.Copies(rows=1, other_labels=1)
    assert (across.folded.rows, across.same.rows, across.empty) == (1, 1, 1)
    assert found.conflicts.texts == 0
    assert not found.serious


def test_repeats_inside_a_part_and_with_unlabelled(tmp_path: Path) -> None:
    """Rows beyond the first; unlabelled rows have no labels to differ."""
    write(tmp_path, "unlabelled.jsonl", '{"text": "same"}\n{"text": "other"}\n')
    found = check_of(tmp_path, train=[*reviews(40), ("same", "up"), ("same", "up"), ("same", "down")])
    by_pair = {(one.part, one.among): one for one in found.repeats}
    assert by_pair["train", "train"].exact == repeats.Copies(rows=2, other_labels=1)
    assert by_pair["train", "unlabelled"].exact == repeats.Copies(rows=3, other_labels=None)
    assert by_pair["unlabelled", "unlabelled"].exact.rows == 0
    assert found.conflicts == repeats.Conflicts(texts=1, rows=3)
    assert "1 texts of train have different labels" in titles(found, "serious")


def test_near_is_a_jaccard_similarity_of_four_fifths() -> None:
    """Whatever the script; short and unlike texts are near nothing."""
    english = "this is a sentence of some length about nothing in particular, written for a test"
    chinese = "这是一个关于没有什么特别事情的有一定长度的句子，是为测试而写的，没有其他的目的"
    texts = [english, english.replace("sentence", "sentences"), chinese, chinese + "。", "abc", "abd", english[:40]]
    near = repeats.near_texts(texts)
    assert near == {texts[0]: [texts[1]], texts[1]: [texts[0]], texts[2]: [texts[3]], texts[3]: [texts[2]]}


def test_near_texts_are_those_of_a_full_comparison() -> None:
    """MinHash finds what comparing every pair finds."""
    rng = random.Random(0)
    words = [f"w{number}" for number in range(200)]
    texts = [" ".join(rng.choices(words, k=40)) for _ in range(30)]
    for text in list(texts):
        changed = text.split()
        for place in rng.sample(range(40), k=rng.randrange(1, 5)):
            changed[place] = rng.choice(words)
        texts.append(" ".join(changed))
    shingles = [{text[i : i + 5] for i in range(len(text) - 4)} for text in texts]
    expected = {
        (a, b)
        for a, one in enumerate(shingles)
        for b, other in enumerate(shingles)
        if a != b and len(one & other) >= 0.8 * len(one | other)
    }
    assert expected
    near = repeats.near_texts(texts)
    assert {(texts.index(one), texts.index(other)) for one, others in near.items() for other in others} == expected


def test_many_forms_of_one_boilerplate_are_near() -> None:
    """Each is compared with a few others only, and still none is passed over."""
    form = "Dear customer, your order number {} was shipped this morning and should arrive within three working days."
    assert len(repeats.near_texts([form.format(number) for number in range(100, 900)])) == 800


def test_short_texts_are_taken_in_chunks_too() -> None:
    """By their number: half a million short ones have few characters, but as many signatures as long ones."""
    texts = [str(number) for number in range(2 * repeats.CHUNK_TEXTS + 1)]
    assert [len(chunk) for chunk in repeats.chunks(texts)] == [repeats.CHUNK_TEXTS, repeats.CHUNK_TEXTS, 1]
    assert [text for chunk in repeats.chunks(texts) for text in chunk] == texts


def test_labels_that_cannot_be_learnt_are_serious(tmp_path: Path) -> None:
    """Unknown to train, too rare, or the same but for case and spaces."""
    train = [*reviews(60), ("one", "rare"), ("two", "Up "), ("three", "Up "), ("four", "Up ")]
    found = check_of(tmp_path, train=train, test=[("x", "new"), ("y", "up")])
    serious = titles(found, "serious")
    assert "1 labels of test are not in train" in serious
    assert "1 classes have fewer than 3 rows" in serious
    assert "labels that differ in case or spaces only" in serious


def test_skew_is_told(tmp_path: Path) -> None:
    """Nine rows of ten are of one class."""
    found = check_of(tmp_path, train=[row for row in reviews(200) if row[1] == "up"] + reviews(22, seed=1))
    assert "the classes are skewed: 'up' has 111 rows, 'down' 11" in titles(found, "warning")


def test_skew_of_several_labels_is_no_majority(tmp_path: Path) -> None:
    """A label that all rows have leaves the others to be told: how rare the rarest is, and no more."""
    rows = [(text, ["all", label]) for text, label in reviews(60)]
    assert "skewed" not in str(check_of(tmp_path, train=rows).findings)
    found = check_of(tmp_path, train=[*rows, ("one of its own", ["all", "odd"])])
    assert "the labels are skewed: 61 rows have 'all', 1 'odd'" in titles(found, "note")
    assert "always saying" not in str(found.findings)


def test_near_repeats_alone_are_called_so(tmp_path: Path) -> None:
    """And not "0 of 41 train texts repeat an earlier one"."""
    long = "the quick brown fox jumps over the lazy dog, and then it sleeps until the sun goes down behind the hills"
    write(tmp_path, "unlabelled.jsonl", json.dumps({"text": long + " now"}) + "\n")
    found = check_of(tmp_path, train=[*reviews(39), (long, "up"), (long + " there", "up")])
    assert "1 of 41 train texts nearly repeat an earlier one" in titles(found, "serious")
    assert "2 of 41 train texts are nearly in unlabelled" in titles(found, "note")


def test_flipped_labels_are_the_first_suspects(tmp_path: Path) -> None:
    """With the row in the file, the label given and the one suggested; the same every time."""
    rows = reviews(400)
    flipped = range(11, 400, 20)
    for place in flipped:
        rows[place] = (rows[place][0], "down")
    found = check_of(tmp_path, train=rows)
    assert {suspect.row - 1 for suspect in found.suspects[:10]} <= set(flipped)
    assert (found.suspects[0].labels, found.suspects[0].suggested) == (["down"], ["up"])
    assert found == check_of(tmp_path, train=rows)


def test_labels_of_several_are_suspected_one_by_one(tmp_path: Path) -> None:
    """A missing label is added, the other one stays."""
    rng = random.Random(0)
    rows = []
    for number in range(300):
        labels = [label for label in ("food", "service") if rng.random() < 0.5]
        rows.append((f"{number} " + " ".join(f"{label} {label}s" for label in labels) + " and so on", labels))
    wrong = next(place for place, (_, labels) in enumerate(rows) if labels == ["food", "service"])
    rows[wrong] = (rows[wrong][0], ["food"])
    worst = check_of(tmp_path, train=rows).suspects[0]
    assert (worst.row, worst.labels, worst.suggested) == (wrong + 1, ["food"], ["food", "service"])


def test_a_row_is_suspect_only_above_the_other_labels_own_confidence() -> None:
    """By hand: the mean probability of b among its own rows is 0.6."""
    probs_NC = np.array([[0.3, 0.7], [0.45, 0.55], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], dtype=np.float32)
    given_NC = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.bool_)
    found = label_errors.suspects(probs_NC, given_NC, ["a", "b"], "single-label")
    assert (found.rows, found.suggested) == ([0], [["b"]])
    assert found.scores == pytest.approx([0.4])


def test_texts_are_left_out_where_they_must_be(tmp_path: Path) -> None:
    """No text of the data is anywhere in what goes into the report."""
    rows = reviews(100)
    for place in range(3, 43, 10):
        rows[place] = (rows[place][0], "down")
    path = write_rows(tmp_path, "a.jsonl", rows)
    found = check.check(data.read(path, Columns()), keep_texts=False)
    assert found.suspects
    assert not any(text in found.model_dump_json() for text, _ in rows)


@pytest.mark.parametrize("rows", [[("x", "a")], [("", "a"), ("", "b")], [("x", "a"), ("y", "b")] * 3])
def test_too_little_to_tell_is_no_fault(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    """One row, empty ones, a handful: nothing is suspected, and nothing fails."""
    assert check_of(tmp_path, train=rows).suspects == []


def test_the_command_shows_and_exits_by_what_it_found(tmp_path: Path) -> None:
    """0 where nothing is serious, 1 where something is, 2 where the data can't be read."""
    clean = write_rows(tmp_path, "clean.jsonl", reviews(60))
    assert lembra(clean).exit_code == 0
    leaky = tmp_path / "leaky"
    leaky.mkdir()
    write_rows(leaky, "train.jsonl", reviews(60))
    write_rows(leaky, "test.jsonl", reviews(10))
    shown = lembra(leaky)
    assert shown.exit_code == 1
    assert "10 of 10 test texts are also in train" in " ".join(shown.stdout.split())
    found = json.loads(lembra(leaky, "--json").stdout)
    assert found["findings"][0]["severity"] == "serious"
    refused = lembra(write(tmp_path, "a.csv", CSV), "--label-column", "class")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("train", "valid", "message"),
    [
        ([(text, "up") for text, _ in reviews(40)], None, "one class only ('up')"),
        ([*reviews(40), *[("only", "odd")] * 4], [*reviews(300, seed=1), ("Only", "odd")], "no row of 'odd' is left"),
    ],
)
def test_what_train_refuses_is_serious(
    tmp_path: Path, train: list[tuple[str, str]], valid: list[tuple[str, str]] | None, message: str
) -> None:
    """Of a file that is yet to be cut, and of a folder; with the words of the refusal."""
    path = write_rows(tmp_path, "train.jsonl", train)
    if valid is not None:
        write_rows(tmp_path, "valid.jsonl", valid)
        path = tmp_path
    shown = lembra(path, "--json")
    assert shown.exit_code == 1
    worst = json.loads(shown.stdout)["findings"][0]
    assert (worst["severity"], worst["title"], message in worst["detail"]) == ("serious", "training refuses this", True)
    refused = CliRunner().invoke(cli.app, ["train", str(path), "--out", str(tmp_path / "new"), "--no-track"])
    assert (refused.exit_code, message in refused.stderr) == (2, True)
