"""A classifier trained once more, on the rows too by which its epoch, its mixture and its calibration were chosen.

As scikit-learn's `refit`: what was chosen stays, what is learnt is learnt from more rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from training import build, rival
from training.build import Built, Setup
from training.config import TrainingConfig
from training.data import Splits
from training.folds import Chosen
from training.loop import Keeper, Progress
from training.rival import Rival


@dataclass(frozen=True)
class Refitted:
    """The classifier, and the linear model that learnt from the same rows, where there is one."""

    built: Built
    rival: Rival | None
    rows: int
    in_folds: bool = False  # whether mixture and calibration were chosen by all of them

    def document(self) -> dict[str, Any]:
        """For a report."""
        return {"rows": self.rows, "epochs": self.built.fitted.best.epoch, "in_folds": self.in_folds}


def refit(
    first: Built,
    all_rows: Splits,
    config: TrainingConfig,
    progress: Progress,
    setup: Setup,
    *,
    linear: Rival | None = None,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
    chosen: Chosen | None = None,
) -> Refitted:
    """`first` with weights, words and n-grams of all rows of `all_rows.train`, to the end of its best epoch.

    No row is left that its mixture and calibration could be chosen by: they are those that were `chosen` in folds,
    else of `first`. `linear` is fitted again with its settings. Goes on from what `keeper` kept.
    Raises: loop.Interrupted when `stopped` turned true.
    """
    linear = rival.refit(linear, all_rows, config) if linear is not None else None
    # Texts that judged the first classifier are learnt from now.
    unlabelled = list(dict.fromkeys([*setup.unlabelled, *all_rows.train.texts])) if setup.unlabelled else ()
    setup = replace(setup, unlabelled=unlabelled)
    begun = build.refit(all_rows, config, progress, setup, like=first.fitted, keeper=keeper, stopped=stopped)
    its = chosen or Chosen(first.mixture, first.classifier.calibration)
    partner = linear
    if linear is not None and its.mixture is not None and setup.lessons is not None:
        partner = rival.taught(linear, all_rows, config, setup.lessons)
    built = build.assemble(begun, config, first.fitted, partner, its.mixture, its.calibration, stopped=False)
    return Refitted(built, linear, rows=len(all_rows.train), in_folds=chosen is not None)
