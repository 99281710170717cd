"""A classifier trained once more, on the rows too by which its epoch, its mixture and its calibration were chosen.

As scikit-learn's `refit`: what was chosen stays, what is learnt is learnt from more rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import build, loop, place, rival
from training.build import Built
from training.checkpoint import Checkpoints
from training.config import TrainingConfig
from training.data import Splits
from training.loop import Keeper, Progress
from training.pretraining.encoder import Encoder
from training.rival import Rival
from training.teacher import Lessons

CHECKPOINT = "refit.pt"


@dataclass(frozen=True)
class Refitted:
    """The classifier, and the linear model that learnt from the same rows, where there is one."""

    built: Built
    rival: Rival | None
    rows: int

    def document(self) -> dict[str, Any]:
        """For a report."""
        return {"rows": self.rows, "epochs": self.built.fitted.best.epoch}


def checkpoints(out: Path, identity: Mapping[str, Any] | None, *, overwrite: bool, resume: bool) -> Checkpoints:
    """Where the second training for `out` keeps its state; what is there is taken up, or refused.

    `identity` is build.identity's, of all rows; None where there is no second training. Raises: TrainingError.
    """
    folder = place.beside(out, place.RUN_FOLDER)
    if identity is None:
        return place.leave(Checkpoints(folder, {}, name=CHECKPOINT), overwrite=overwrite, resume=resume)
    kept = Checkpoints(folder, identity, name=CHECKPOINT)
    return place.take_up(out, kept, overwrite=overwrite, resume=resume)


def refit(
    first: Built,
    whole: Splits,
    config: TrainingConfig,
    progress: Progress,
    *,
    device: torch.device,
    encoder: Encoder | None = None,
    linear: Rival | None = None,
    unlabelled: Sequence[str] = (),
    lessons: Lessons | None = None,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Refitted:
    """`first` with weights, words and n-grams of all rows of `whole.train`, to the end of its best epoch.

    Its mixture and its calibration stay: no row is left that they could be chosen by. `linear` is fitted again with
    its settings. Goes on from what `keeper` kept. Raises: loop.Interrupted when `stopped` turned true.
    """
    linear = rival.refit(linear, whole, config) if linear is not None else None
    # Texts that judged the first classifier are learnt from now.
    unlabelled = list(dict.fromkeys([*unlabelled, *whole.train.texts])) if unlabelled else ()
    begun = build.start(whole, config, device=device, encoder=encoder, unlabelled=unlabelled, lessons=lessons)
    weights = loop.refit(
        begun.network,
        begun.train,
        config,
        progress,
        like=first.fitted,
        pretrained=encoder is not None,
        unlabelled=begun.unlabelled,
        keeper=keeper,
        stopped=stopped,
    )
    begun.network.load_state_dict(weights)
    calibration = first.classifier.calibration
    built = build.assemble(begun, config, first.fitted, linear, first.mixture, calibration, stopped=False)
    return Refitted(built, linear, rows=len(whole.train))
