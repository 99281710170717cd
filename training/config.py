"""The settings of a training run: a TOML recipe, then `--set key=value`, then `--seed`.

`python -m training.config` prints docs/settings.md.
"""

import difflib
import json
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from training.errors import ConfigError
from training.metrics import Selection

RECIPES = Path(__file__).parent / "recipes"
SIGNS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}
KINDS = {bool: "true or false", int: "integer", float: "number", str: "text"}
PAGE = """\
# Settings

Every setting of a training run, made from `training/config.py` by `make settings`; don't edit it by hand.
A recipe is a TOML file with any of them: `lembra train DATA --out bundles/NAME --recipe mine.toml --set epochs=8`.
What the recipe leaves out has its default, `--set` goes over the recipe, and `--seed` over both.
`--print-recipe` prints all settings of a run as a recipe, and every bundle has the one it was made with: `recipe.toml`.

| setting | type, range | default | meaning |
|---|---|---|---|
"""

Share = Annotated[float, Field(ge=0, lt=0.5)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class TrainingConfig(BaseModel):
    """Every setting, with its default. A recipe repeats none of them: it has what differs, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, lt=2**32, description="fixes the splits, the starting weights and the order")] = 0
    threads: Annotated[
        int,
        Field(ge=0, le=1024, description="CPU threads; 0 takes one a core, and then weights differ between machines"),
    ] = 0

    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(
            description="of the LSTM's products; auto is bfloat16 where a CPU (AMX, AVX512-BF16) or GPU multiplies it"
        ),
    ] = "auto"

    validation_share: Annotated[
        Share, Field(gt=0, description="of train, held out to choose the epoch where there is no `valid`")
    ] = 0.08
    calibration_share: Annotated[
        Share,
        Field(
            gt=0,
            description="of train, held out to fit the temperature; of `valid` its part of both shares",
        ),
    ] = 0.04
    refit_below: Annotated[
        int,
        Field(
            ge=0,
            description="where there is no `valid` and fewer rows to learn from, texts that teachers answer among "
            "them, network and linear model are trained once more, on the held-out rows too, for as many epochs as "
            "were best; 0: never",
        ),
    ] = 20_000
    folds_below: Annotated[
        int,
        Field(
            ge=0,
            description="where network and linear model are trained once more on fewer rows, how they are mixed and "
            "calibrated is chosen by all of these, each answered by a training on two thirds of them, unless most are "
            "copies; 0: never",
        ),
    ] = 6_000
    least_held_out: Annotated[
        int,
        Field(
            ge=0,
            description="rows held out for both at least, up to half of train, where network and linear model are "
            "trained once more on all: a handful can't tell a good epoch, nor what the linear model is worth",
        ),
    ] = 300
    test_share: Annotated[Share, Field(gt=0, description="of a single file, held out to report on")] = 0.1
    drop_repeats: Annotated[
        bool,
        Field(
            description="leave out rows of train whose text is in the data's own valid or test too, and of valid in "
            "test; case, space and punctuation are no difference. What is held out at random needs none of it: copies "
            "of a text stay together"
        ),
    ] = True

    lowercase: Annotated[bool, Field(description="fold case before tokenizing")] = True
    min_count: Annotated[Count, Field(description="rarer words are read as unknown")] = 2
    max_vocabulary: Annotated[int, Field(ge=2, le=1_000_000, description="most frequent words kept")] = 40_000
    max_tokens: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="longer texts are cut here, in training and in serving; n-grams are read in 8 times as "
            "many characters",
        ),
    ] = 512

    embedding_size: Annotated[int, Field(ge=1, le=4096, description="E")] = 192
    hidden_size: Annotated[int, Field(ge=1, le=4096, description="LSTM units a direction, H")] = 192
    bidirectional: Annotated[bool, Field(description="read from both ends")] = True
    forget_bias: Annotated[
        Annotated[float, Field(ge=-100, le=100)] | Literal["default", "chrono"],
        Field(
            description="starting bias of the forget gate; default: PyTorch's small random ones; chrono: drawn so that "
            "the units remember for 1 to `max_tokens` tokens (Tallec and Ollivier 2018)"
        ),
    ] = 1.0

    embedding_dropout: Annotated[Dropout, Field(description="on embedded tokens")] = 0.5
    pooled_dropout: Annotated[Dropout, Field(description="on the pooled vector")] = 0.5
    weight_drop: Annotated[
        Dropout, Field(description="on the recurrent weights of both directions, the same ones at every token")
    ] = 0.0
    word_dropout: Annotated[Dropout, Field(description="share of words read as unknown in training")] = 0.02
    label_smoothing: Annotated[Dropout, Field(description="share of the target spread over all labels")] = 0.0
    class_weight: Annotated[
        Literal["none", "sqrt", "balanced"],
        Field(description="how much more a rare class counts; the probabilities of rare classes come out higher"),
    ] = "none"
    logit_adjustment: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="power, at most, of its frequency in train by which a label's probability is divided where one "
            "label is told, so that rare ones are found: as far as accuracy and macro-F1 together gain on held-out "
            "rows (Menon et al. 2021); 0, or with class_weight: the most probable label is told",
        ),
    ] = 0.5
    normalise_embedding: Annotated[
        bool, Field(description="token vectors of mean 0 and variance 1 over the text; what an adversary needs")
    ] = True
    adversarial_weight: Annotated[
        float, Field(ge=0, description="weight of the loss at adversarially moved embeddings; 0 turns it off")
    ] = 1.0
    adversarial_norm: Annotated[
        float, Field(gt=0, description="length of that move, and of a virtual adversary's, over the whole text")
    ] = 4.0
    virtual_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1000,
            description="weight of how far a virtual adversary moves the answers on text without labels, of train and "
            "`unlabelled`; 0 turns it off",
        ),
    ] = 0.0
    entropy_weight: Annotated[
        float, Field(ge=0, le=1000, description="weight of the entropy of the answers on that text; 0 turns it off")
    ] = 0.0
    unlabelled_tokens: Annotated[
        Count,
        Field(description="padded tokens of that text a step, at most, where one of these two weights is above 0"),
    ] = 1024

    teacher_weight: Annotated[
        float,
        Field(ge=0, le=1, description="in `lembra distil`, the teachers' share in what a labelled row teaches"),
    ] = 0.5

    ngrams: Annotated[
        bool,
        Field(
            description="a linear model of words, pairs and characters beside the network, where it helps or, with few "
            "rows, is good by itself; it hears nothing of class_weight and lowercase"
        ),
    ] = True

    selection: Annotated[
        Selection,
        Field(description="what the best epoch is best in on validation; with one label a text micro_f1 is accuracy"),
    ] = "micro_f1"
    epochs: Annotated[Count, Field(description="passes over train")] = 5
    least_steps: Annotated[Count, Field(description="small data gets more epochs, until this many steps are done")] = (
        3000
    )
    patience: Annotated[
        Count, Field(description="epochs without a better validation score before stopping; the best one is kept")
    ] = 10
    batch_tokens: Annotated[Count, Field(description="padded tokens a step, at most")] = 1024
    epoch_steps: Annotated[Count, Field(description="steps an epoch, at least: small data gets smaller batches")] = 100
    learning_rate: Annotated[float, Field(gt=0, lt=1, description="at its highest, after the warm-up")] = 1e-3
    warmup_share: Annotated[
        Share, Field(description="of all steps, over which the rate rises; then it falls to zero in a line")
    ] = 0.05
    weight_decay: Annotated[float, Field(ge=0, lt=1, description="AdamW's, on matrices other than the embedding")] = (
        0.01
    )
    clip: Annotated[float, Field(gt=0, description="highest norm of the gradient")] = 1.0
    average_decay: Annotated[
        float, Field(ge=0, lt=1, description="of the moving average of the weights, which is what is kept")
    ] = 0.999

    pretrain_epochs: Annotated[
        int,
        Field(ge=0, description="passes over the texts of train and `unlabelled`, to learn words, before training"),
    ] = 0
    pretrain_streams: Annotated[
        Count, Field(description="streams that the text is laid out in, read side by side; short text has fewer")
    ] = 32
    pretrain_chunk: Annotated[Count, Field(description="tokens of a stream a step")] = 70
    pretrain_rate: Annotated[float, Field(gt=0, lt=1, description="learning rate of pretraining at its highest")] = 3e-3
    pretrain_drawn: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="words drawn a step, which the right one is told from; more is slower and closer",
        ),
    ] = 768
    pretrain_dropout: Annotated[Dropout, Field(description="in pretraining, on the LSTM's inputs and outputs")] = 0.1
    pretrain_weight_drop: Annotated[Dropout, Field(description="in pretraining, on the recurrent weights")] = 0.0
    pretrain_activation: Annotated[
        float,
        Field(
            ge=0, le=1000, description="in pretraining, weight of the mean square of the hidden states (AR); 0: none"
        ),
    ] = 0.0
    pretrain_slowness: Annotated[
        float,
        Field(
            ge=0,
            le=1000,
            description="in pretraining, weight of the mean square of their changes from token to token (TAR); 0: none",
        ),
    ] = 0.0
    encoder_rate: Annotated[
        float, Field(ge=0, le=1, description="share of the learning rate that a pretrained embedding and LSTM get")
    ] = 1.0
    encoder_dropout: Annotated[
        Dropout, Field(description="in place of embedding_dropout, where the embedding was pretrained")
    ] = 0.2
    frozen_share: Annotated[
        Share, Field(description="of the steps, in which the head alone learns, over what was pretrained")
    ] = 0.05

    rival: Annotated[
        bool,
        Field(description="say whether the linear model alone is as good; without this and ngrams it isn't fitted"),
    ] = True
    find_label_errors: Annotated[
        bool, Field(description="look for rows of train whose labels look wrong; repeats and the like always are")
    ] = True

    keep_texts: Annotated[
        bool, Field(description="texts of the data in the bundle: probes, and in its report mistakes and suspects")
    ] = True

    @property
    def reads_unlabelled(self) -> bool:
        """Whether a step learns from text without labels too."""
        return self.virtual_weight > 0 or self.entropy_weight > 0

    def to_toml(self) -> str:
        """A recipe of all settings, each with what it means."""
        lines = []
        for name, field in type(self).model_fields.items():
            # Numbers, strings and booleans are written the same in JSON and TOML.
            lines += [f"# {field.description}", f"{name} = {json.dumps(getattr(self, name))}", ""]
        return "\n".join(lines)


def settings_page() -> str:
    """docs/settings.md: a row a setting."""
    rows = (
        f"| `{name}` | {_range(field)} | `{json.dumps(field.default)}` | {field.description} |\n"
        for name, field in TrainingConfig.model_fields.items()
    )
    return PAGE + "".join(rows)


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in get_args(field.annotation))
    if get_origin(field.annotation) is Union:
        number, words = get_args(field.annotation)
        return f"{_range(FieldInfo.from_annotation(number))}, or {_range(FieldInfo.from_annotation(words))}"
    bounds = {type(bound): bound for bound in field.metadata if type(bound) in SIGNS}
    if Gt in bounds:
        bounds.pop(Ge, None)  # the type's own bound, which the setting draws in
    shown = [f"{SIGNS[kind]} {getattr(bounds[kind], kind.__name__.lower()):,}" for kind in SIGNS if kind in bounds]
    return " ".join([str(KINDS[field.annotation]), ", ".join(shown)]).strip()  # type: ignore[index]


def load(recipe: str | Path | None, settings: Iterable[str], *, seed: int | None = None) -> TrainingConfig:
    """The settings of a recipe (a path, or the name of one in `recipes/`), changed by `key=value` strings.

    Raises: ConfigError.
    """
    values = _read(recipe) if recipe is not None else {}
    values |= dict(_parse(setting) for setting in settings)
    if seed is not None:
        values["seed"] = seed
    _refuse_unknown(values)
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        # Where a setting is a number or a word there is a fault by each.
        faults = [first["msg"], *(other["msg"] for other in others if other["loc"][0] == first["loc"][0])]
        raise ConfigError(f"setting {first['loc'][0]} = {first['input']!r}: {' or '.join(faults)}") from None


def _read(recipe: str | Path) -> dict[str, Any]:
    path = Path(recipe)
    if not path.is_file() and path.parent == Path():
        path = RECIPES / f"{path.name.removesuffix('.toml')}.toml"
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        known = ", ".join(sorted(found.stem for found in RECIPES.glob("*.toml")))
        raise ConfigError(f"there is no recipe {str(recipe)!r}; the built-in ones are {known}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"recipe {path} can't be read: {error}") from None


def _parse(setting: str) -> tuple[str, Any]:
    key, equals, value = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set {setting!r} isn't key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _refuse_unknown(values: dict[str, Any]) -> None:
    for key in values:
        if key not in TrainingConfig.model_fields:
            near = difflib.get_close_matches(key, TrainingConfig.model_fields, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"there is no setting {key!r}{hint}")


if __name__ == "__main__":
    sys.stdout.write(settings_page())
