"""training.recipe: which recipe a data set gets, by its shape alone."""

from pathlib import Path

import pytest

from tests.training.files import write_rows
from training import config, recipe
from training.data import Parts, read
from training.errors import ConfigError
from training.reading import Columns


def parts(folder: Path, text: str, label: str | list[str] = "a", *, rows: int = recipe.FEW_ROWS) -> Parts:
    other = ["b"] if isinstance(label, list) else "b"
    return read(write_rows(folder, "a.jsonl", [(text, label), (text, other)] * (rows // 2)), Columns())


def test_the_shape_of_the_data_chooses(tmp_path: Path) -> None:
    """Several labels, long texts, few, short ones, little text, or none of these: the first that holds."""
    middling = "neither long nor short " * 4
    enough = recipe.LITTLE_TEXT // len(middling) + 2
    assert recipe.choose(parts(tmp_path, middling, rows=enough)) == "default"
    assert recipe.choose(parts(tmp_path, middling, rows=enough // 3 * 2)) == "short"
    assert recipe.choose(parts(tmp_path, "short")) == "short"
    assert recipe.choose(parts(tmp_path, "short", rows=recipe.FEW_ROWS - 2)) == "few"
    assert recipe.choose(parts(tmp_path, "long " * 200, rows=20)) == "long"
    assert recipe.choose(parts(tmp_path, "long " * 200)) == "long"
    assert recipe.choose(parts(tmp_path, "long " * 200, ["a", "b"])) == "multi-label"


def test_text_without_labels_counts_as_text(tmp_path: Path) -> None:
    """There is then enough of it to learn words from."""
    middling = "neither long nor short " * 4
    write_rows(tmp_path, "train.jsonl", [(middling, "a"), (middling, "b")] * (recipe.FEW_ROWS // 2))
    assert recipe.choose(read(tmp_path, Columns())) == "short"
    more = recipe.LITTLE_TEXT // len(middling)
    (tmp_path / "unlabelled.csv").write_text("text\n" + f"{middling}\n" * more)
    assert recipe.choose(read(tmp_path, Columns())) == "default"


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
