"""Search for better settings than the base recipe's, within a time, a size and a speed; ends in a bundle.

`lembra autotune DATA --minutes 30 --out bundles/NAME`. What is best is chosen on validation rows alone. The bundle is
not a trial's network kept, but the best settings run again as `lembra train` would: they must come to the same figure.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console

from model.bundle import Bundle
from model.ngrams import Ngrams
from training import build, data, place, precision, run, telling
from training.checkpoint import Checkpoints
from training.checks import check
from training.config import TrainingConfig
from training.data import Parts, Splits
from training.errors import ConfigError, TrainingError
from training.tuning import space, trials
from training.tuning.budget import Budget, cost, largest_ngrams
from training.tuning.search import Builder, Clock, Limits, Search
from training.tuning.trials import Trials


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search made, as its closing JSON line says it. `validation` is the score that the base recipe selects
    by, of the network alone, as n-grams come after it; `baseline_validation` the base recipe's, None where that had
    no trial to its end.
    """

    bundle: str
    version: str
    metrics: dict[str, dict[str, Any]]
    trials: int
    best_trial: int
    validation: float
    baseline_validation: float | None
    seconds: float


@place.claims("bundle")
def autotune(
    parts: Parts,
    out: Path,
    base: TrainingConfig,
    *,
    device: str,
    console: Console,
    limits: Limits,
    overwrite: bool = False,
    resume: bool = False,
    track: bool = True,
    offer: Callable[[], bool] = lambda: False,
    clock: Clock = time.monotonic,
    builder: Builder = build.build,
) -> Outcome:
    """Search around `base`, and write the bundle `out` by the best settings, with their recipe in it.

    The search's folder, `.<name>.tune` beside the bundle, has all trials, and stays; `resume` goes on with them, and
    the time that they took counts. `track` is the final run's, as in run.run. On Ctrl-C the search ends; `offer` then
    decides whether the best so far is made.
    Raises: TrainingError or BundleError; place.Stopped if it was stopped and the offer declined.
    """
    started = clock()
    base = _searchable(base, console)
    folder = _begun(out, overwrite=overwrite, resume=resume)
    torch_device = build.choose_device(device)
    base = precision.resolved(base, torch_device)
    splits = data.split(parts, base)
    # The final run does it again; but who has to mend the data wants to know it now, and how long it takes counts.
    checked = check.check(parts, seed=base.seed, find_label_errors=base.find_label_errors, keep_texts=base.keep_texts)
    telling.show_check(console, checked)
    base, ngrams = _within(limits.budget, splits, base, console)
    kept = _trials(folder, base, splits, limits, resume=resume)
    taken_up = kept.chosen is not None
    _refuse_other_run(out, overwrite=overwrite, taken_up=taken_up)

    if not taken_up:
        search = Search(
            splits, kept, limits, ngrams=ngrams, device=torch_device, console=console, clock=clock, builder=builder
        )
        search.run(deadline=started + 60 * limits.minutes - kept.spent_s, reading_s=clock() - started, offer=offer)
    best, settings = _choose(kept, base, console)
    made = run.run(
        parts,
        out,
        settings,
        device=device,
        console=console,
        overwrite=overwrite,
        resume=taken_up,
        track=track,
        offer=offer,
    )
    kept.choose(None)
    _check_size(out, limits.budget, console)
    return Outcome(
        bundle=made.bundle,
        version=made.version,
        metrics=made.metrics,
        trials=len(kept.finished),
        best_trial=best.number,
        validation=_check_replay(out, best, console),
        baseline_validation=kept.baseline.value if kept.baseline is not None else None,
        seconds=round(clock() - started, 1),
    )


def _searchable(base: TrainingConfig, console: Console) -> TrainingConfig:
    """What trials can be made around. Raises: ConfigError where it reads text without labels."""
    if base.reads_unlabelled:
        raise ConfigError("a search reads no text without labels: virtual_weight and entropy_weight must be 0")
    if base.pretrain_epochs:
        telling.say(console, "a search doesn't pretrain, as every trial would: pretrain_epochs is 0 in it")
    return base.model_copy(update={"pretrain_epochs": 0})


def _choose(kept: Trials, base: TrainingConfig, console: Console) -> tuple[FrozenTrial, TrainingConfig]:
    """The trial whose settings are run again, noted until that is done, and these settings."""
    best = kept[kept.chosen] if kept.chosen is not None else kept.best
    assert best is not None, "a search without a result has raised"
    kept.choose(best.number)
    settings = kept.settings(best)
    changes = space.shown(base, settings)
    telling.say(console, f"the best is trial {best.number}, {changes}; it is run again for the bundle")
    return best, settings


def _within(
    budget: Budget, splits: Splits, base: TrainingConfig, console: Console
) -> tuple[TrainingConfig, Ngrams | None]:
    """The base recipe, and the largest n-gram part that its classifier may get: none, and a recipe without, if with it
    the base recipe's bundle would be larger than one may be.
    """
    if not base.ngrams:
        return base, None
    ngrams = largest_ngrams(splits, base)
    if budget.max_mb is None or (mb := cost(splits, base, ngrams).mb) <= budget.max_mb:
        return base, ngrams
    telling.say(console, f"with n-grams a bundle may come to {mb:.1f} MB; as {budget} is the limit, it goes without")
    return base.model_copy(update={"ngrams": False}), None


def _begun(out: Path, *, overwrite: bool, resume: bool) -> Path:
    """The search's folder. Raises: TrainingError, before the data is read."""
    folder = place.beside(out, place.TUNE_FOLDER)
    if trials.exist(folder) and not (resume or overwrite):
        raise TrainingError(f"a search for {out} was begun: --resume goes on with it, --force starts over")
    if not trials.exist(folder):
        _refuse_other_run(out, overwrite=overwrite, taken_up=False)
    return folder


def _refuse_other_run(out: Path, *, overwrite: bool, taken_up: bool) -> None:
    """Before the search rather than after it. Raises: TrainingError where a run that isn't the search's was cut off."""
    if Checkpoints(place.beside(out, place.RUN_FOLDER), {}).exists and not (overwrite or taken_up):
        raise TrainingError(f"a run of {out} was cut off: `lembra train --resume` goes on with it, --force drops it")


def _trials(folder: Path, base: TrainingConfig, splits: Splits, limits: Limits, *, resume: bool) -> Trials:
    identity = {
        **build.identity(base, splits),
        "budget": str(limits.budget),
        "space": {name: str(found) for name, found in space.distributions(base).items()},
    }
    if not resume:
        trials.delete(folder)
    return Trials(folder, base, identity)


def _check_replay(out: Path, best: FrozenTrial, console: Console) -> float:
    """The bundle's validation score, which must be the trial's to the last digit."""
    history = Bundle.open(out).report["history"]
    found = [(epoch["score"], epoch["validation_loss"]) for epoch in history if epoch["best"]][-1]
    expected = (best.value, best.user_attrs["loss"])
    if found != expected:
        telling.say(
            console,
            f"warning: run again, trial {best.number} came to score and loss {found}, not to {expected}: "
            "this machine, or its load, doesn't repeat sums exactly; the bundle's own figures hold",
        )
    return float(found[0])


def _check_size(out: Path, limit: Budget, console: Console) -> None:
    mb = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    if limit.max_mb is not None and mb > limit.max_mb:
        telling.warn(console, f"{out} has {mb:.2f} MB; {limit.max_mb:g} were allowed")
