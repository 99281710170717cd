"""training.recipe: which recipe a data set gets, by its shape alone."""

from pathlib import Path

import pytest

from tests.training.files import write_rows
from training import config, recipe
from training.data import Parts, read
from training.errors import ConfigError
from training.reading import Columns

MIDDLING = "neither long nor short " * 4


def parts(folder: Path, text: str, label: str | list[str] = "a", *, rows: int = recipe.FEW_ROWS) -> Parts:
    other = ["b"] if isinstance(label, list) else "b"
    return read(write_rows(folder, "a.jsonl", [(text, label), (text, other)] * (rows // 2)), Columns())


def numbered(text: str, rows: int) -> list[tuple[str, str]]:
    """So many texts of the same length, no two alike."""
    return [(f"{text} {number:06}", "ab"[number % 2]) for number in range(rows)]


def test_the_shape_of_the_data_chooses(tmp_path: Path) -> None:
    """Several labels, long texts, few, short ones, or none of these: the first that holds."""
    enough = recipe.LITTLE_TEXT // 10
    assert recipe.choose(read(write_rows(tmp_path, "a.jsonl", numbered(MIDDLING, enough)), Columns())) == "default"
    assert recipe.choose(read(write_rows(tmp_path, "a.jsonl", numbered("short", enough)), Columns())) == "short"
    assert recipe.choose(parts(tmp_path, "short", rows=recipe.FEW_ROWS - 2)) == "few"
    assert recipe.choose(parts(tmp_path, "long " * 200, rows=20)) == "long"
    assert recipe.choose(parts(tmp_path, "long " * 200)) == "long"
    assert recipe.choose(parts(tmp_path, "long " * 200, ["a", "b"])) == "multi-label"


def test_little_text_gets_no_language_model(tmp_path: Path) -> None:
    """Text without labels counts too, and what comes twice counts once."""
    rows = numbered(MIDDLING, recipe.FEW_ROWS)
    left = recipe.LITTLE_TEXT - sum(len(text) for text, _ in rows)
    write_rows(tmp_path, "train.jsonl", rows)
    for texts, expected in (
        ([text for text, _ in rows] * 10, "short"),
        (["x" * (left - 1)], "short"),
        (["x" * left], "default"),
    ):
        (tmp_path / "unlabelled.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
        assert recipe.choose(read(tmp_path, Columns())) == expected, len(texts)
    (tmp_path / "unlabelled.csv").unlink()
    assert recipe.choose(read(tmp_path, Columns())) == "short"


def test_half_of_the_texts_decide_what_is_long(tmp_path: Path) -> None:
    """One book among messages makes no long data."""
    rows = [("short", "a"), ("long " * 5000, "b"), ("short", "b")] * 5
    assert recipe.choose(read(write_rows(tmp_path, "a.jsonl", rows), Columns())) == "few"


def test_what_is_named_goes_over_the_rule(tmp_path: Path) -> None:
    """And `--set` over the recipe that the rule chose."""
    found = parts(tmp_path, "long " * 200)
    assert recipe.load("debug", [], found, seed=None)[0] == "debug"
    name, settings = recipe.load("auto", ["batch_tokens=77"], found, seed=5)
    assert (name, settings.batch_tokens, settings.seed) == ("long", 77, 5)


@pytest.mark.parametrize("name", sorted(path.stem for path in config.RECIPES.glob("*.toml")))
def test_every_recipe_of_the_repo_can_be_read(name: str) -> None:
    """A setting that was renamed would be refused."""
    config.load(name, [])


def test_a_wrong_setting_is_refused_before_the_data_is_read() -> None:
    """Whatever the recipe."""
    with pytest.raises(ConfigError, match="epoch"):
        recipe.check("auto", ["epoch=3"], seed=None)
