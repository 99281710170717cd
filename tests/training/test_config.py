"""training.config: recipes and settings."""

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
