"""training.config: recipes and settings."""

import tomllib
from pathlib import Path

import pytest

from training import config
from training.errors import ConfigError


def test_settings_go_over_the_recipe_and_the_seed_over_both(tmp_path: Path) -> None:
    """The nearest to the command line wins."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epochs = 3\nhidden_size = 8\nseed = 1\n")
    found = config.load(recipe, ["epochs=5", "seed=2"], seed=9)
    assert (found.epochs, found.hidden_size, found.seed) == (5, 8, 9)


@pytest.mark.parametrize("path", sorted(config.RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_built_in_recipe_loads_by_its_name(path: Path) -> None:
    """A recipe that ships is one that works."""
    assert config.load(path.stem, []) == config.load(path, [])


def test_a_printed_recipe_gives_the_same_settings(tmp_path: Path) -> None:
    """Numbers of every size, strings and booleans come back from TOML as they were."""
    settings = ["learning_rate=1e-05", "class_weight=sqrt", "lowercase=false", "average_decay=0.0", "clip=1e6"]
    found = config.load("debug", settings, seed=7)
    recipe = tmp_path / "printed.toml"
    recipe.write_text(found.to_toml())
    assert config.load(recipe, []) == found


def test_the_page_of_settings_is_up_to_date() -> None:
    """`make settings` writes it."""
    page = Path(config.__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text() == config.settings_page()


def test_the_page_says_what_is_allowed() -> None:
    """A row has the name, the type with its range or choices, the default and the meaning."""
    page = config.settings_page()
    assert "| `learning_rate` | number > 0, < 1 | `0.001` | at its highest, after the warm-up |" in page
    assert '| `class_weight` | `"none"`, `"sqrt"`, `"balanced"` | `"none"` |' in page
    assert "| `test_share` | number > 0, < 0.5 |" in page
    assert "| `lowercase` | true or false | `true` |" in page


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["hiden_size=3"], "no setting 'hiden_size'; did you mean hidden_size"),
        (["epochs"], "isn't key=value"),
        (["epochs=0"], "epochs = 0: .*greater than or equal to 1"),
        (["pooled_dropout=1.5"], "pooled_dropout = 1.5: .*less than 1"),
        (["learning_rate=fast"], "learning_rate = 'fast'"),
        (["learning_rate=nan"], "learning_rate = nan"),
    ],
)
def test_a_wrong_setting_is_named(settings: list[str], message: str) -> None:
    """The error has the setting, the value and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        config.load(None, settings)


def test_a_missing_or_broken_recipe_is_named(tmp_path: Path) -> None:
    """With the built-in names, or the line of the fault."""
    with pytest.raises(ConfigError, match=r"no recipe 'fast'; the built-in ones are .*default"):
        config.load("fast", [])
    broken = tmp_path / "broken.toml"
    broken.write_text("epochs = \n")
    with pytest.raises(ConfigError, match="line 1"):
        config.load(broken, [])


@pytest.mark.parametrize(("given", "expected"), [("2", 2.0), ("chrono", "chrono"), ("default", "default")])
def test_the_forget_bias_is_a_number_or_one_of_two_words(given: str, expected: object) -> None:
    """As --set has it, and through a recipe of all settings and back."""
    found = config.load(None, [f"forget_bias={given}"])
    assert found.forget_bias == expected
    assert config.TrainingConfig(**tomllib.loads(found.to_toml())) == found


@pytest.mark.parametrize("given", ["101", "crono"])
def test_another_forget_bias_is_refused(given: str) -> None:
    """With the setting and the value."""
    with pytest.raises(ConfigError, match="forget_bias"):
        config.load(None, [f"forget_bias={given}"])
