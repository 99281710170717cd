"""Networks of other seeds, where train is small: the one that is served learns from the mean of their answers too.

They differ by their starting values and the order of their rows, and where they differ they are wrong more often; so
their mean is better than each, and one network that learns it keeps some of that at the cost of one (Hinton et al.
2015). What folds are to the linear model, they are to the network: chance counts for less.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training import place
from training.build import Built
from training.checkpoint import Checkpoints
from training.config import TrainingConfig
from training.data import Splits
from training.loop import Keeper
from training.teacher import Lessons, ask

# Seeds of one run's networks and of another's, which are 0, 1, 2 as a rule, shall not meet.
STRIDE = 1_000_003
SEEDS = 2**32


def checkpoints(
    out: Path, config: TrainingConfig, learnt: Splits, identity: Mapping[str, Any], *, overwrite: bool, resume: bool
) -> list[Checkpoints]:
    """Where each network of the run for `out` keeps its state; what is there is taken up, or refused.

    There are none where as many rows as are `learnt` from are no few. `identity` is build.identity's, of the rows that
    they learn from. Raises: TrainingError.
    """
    networks = config.ensemble if len(learnt.train) < config.ensemble_below else 0
    folder = place.beside(out, place.RUN_FOLDER)
    each = [
        Checkpoints(folder, {**identity, "member": number}, name=f"member-{number}.pt")
        for number in range(1, networks + 1)
    ]
    return [place.take_up(out, kept, overwrite=overwrite, resume=resume) for kept in each]


def teach(
    build: Callable[[int, TrainingConfig, Keeper], Built],
    config: TrainingConfig,
    keepers: Sequence[Keeper],
    learnt: Splits,
) -> Lessons:
    """What the networks that `build` makes, given their number, say of all rows that are `learnt` from."""
    members = [
        build(number, config.model_copy(update={"seed": (config.seed + number * STRIDE) % SEEDS}), keeper)
        for number, keeper in enumerate(keepers, start=1)
    ]
    return ask([member.classifier for member in members], learnt.labels, learnt.train.texts)
