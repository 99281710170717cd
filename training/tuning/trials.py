"""The trials of a search, in a file of their own: what was tried, what came of it, and what comes next.

Optuna's journal is a line an event, added and synced: what a killed search had done is there. SQLite would bring
SQLAlchemy's half second to every start, and needs no less care.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from training.config import TrainingConfig
from training.errors import TrainingError
from training.tuning import space
from training.tuning.budget import Cost

JOURNAL = "journal.log"
STUDY = "lembra"
# Drawn at random before the sampler has anything to go by; Optuna's ten are most of a short search.
RANDOM_TRIALS = 5
# From this share of its steps on, a trial is compared with the median of those that came to their end. At first that is
# the base recipe alone: where a training takes minutes, waiting for more of them would be most of a search.
PRUNE_FROM_PERCENT = 30
PRUNE_AFTER_TRIALS = 1
CUT_OFF = "cut_off"
AGAIN = "again"
OVER = "over the budget"


class Trials:
    """What comes next depends on the seed and on what came of the trials before, not on when a search was cut off."""

    def __init__(self, folder: Path, base: TrainingConfig, identity: Mapping[str, Any]) -> None:
        """Goes on with what the folder has. Raises: TrainingError if that is another search's."""
        self._folder = folder
        self.base = base
        self._distributions = space.distributions(base)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        _mend(folder / JOURNAL)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
            study_name=STUDY,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(PRUNE_AFTER_TRIALS, PRUNE_FROM_PERCENT),
            load_if_exists=True,
        )
        self._check(json.loads(json.dumps(dict(identity))))
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self.cut_off(trial.number)
        if not self._study.trials:
            self._study.enqueue_trial(space.values(base))

    @property
    def finished(self) -> list[FrozenTrial]:
        """Those that came to something, be it a failure; not those that were cut off and will be run again."""
        waits_again = {number for number in self._cut_off if AGAIN not in self[number].user_attrs}
        return [trial for trial in self._study.trials if trial.state.is_finished() and trial.number not in waits_again]

    @property
    def complete(self) -> list[FrozenTrial]:
        return self._study.get_trials(states=(TrialState.COMPLETE,))

    @property
    def best(self) -> FrozenTrial | None:
        """The first of those with the highest score, and the lowest validation loss among these."""
        return max(self.complete, key=rank, default=None)

    @property
    def baseline(self) -> FrozenTrial | None:
        """The base recipe's trial, if it came to its end."""
        return next((trial for trial in self.complete if trial.params == space.values(self.base)), None)

    @property
    def spent_s(self) -> float:
        """Seconds that the finished trials took, of this and earlier sessions."""
        known = (trial.duration for trial in self.finished if trial.number not in self._cut_off)
        return sum(duration.total_seconds() for duration in known if duration is not None)

    def next(self) -> Trial:
        """The next trial to be run. The first is the base recipe's."""
        entropy = np.random.SeedSequence([self.base.seed, len(self.finished)])
        seed = int(entropy.generate_state(1)[0])
        # A sampler a trial: where one went on drawing, a search that is taken up would draw something else.
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        return self._study.ask(self._distributions)

    def settings(self, trial: Trial | FrozenTrial) -> TrainingConfig:
        return space.settings(self.base, trial.params)

    def tell_complete(self, trial: Trial, *, score: float, loss: float, seconds: float) -> None:
        trial.set_user_attr("loss", loss)
        trial.set_user_attr("seconds", seconds)
        self._study.tell(trial, score)

    def tell_cost(self, trial: Trial, cost: Cost, excess: Mapping[str, float]) -> bool:
        """Whether the trial may go on: over a limit it ends here, and the sampler learns by how much."""
        trial.set_user_attr("mb", cost.mb)
        trial.set_user_attr("us_per_text", cost.us_per_text)
        for name, share in excess.items():
            trial.set_constraint(name, share)
        if feasible := all(share <= 0 for share in excess.values()):
            return feasible
        trial.set_user_attr("why", OVER)
        self._study.tell(trial, state=TrialState.PRUNED)
        return feasible

    def tell_pruned(self, trial: Trial) -> None:
        self._study.tell(trial, state=TrialState.PRUNED)

    def tell_failed(self, trial: Trial, why: str) -> None:
        trial.set_user_attr("why", why)
        self._study.tell(trial, state=TrialState.FAIL)

    def cut_off(self, number: int) -> None:
        """Mark a trial that was stopped as failed, and run it again next; but not one that was cut off twice: it may
        be what ends the process.
        """
        trial = self._study.trials[number]
        self._study.set_user_attr(CUT_OFF, [*self._cut_off, number])
        self._study.tell(number, state=TrialState.FAIL)
        if AGAIN not in trial.user_attrs:
            self._study.enqueue_trial(trial.params, user_attrs={AGAIN: True})

    @property
    def _cut_off(self) -> list[int]:
        numbers: list[int] = self._study.user_attrs.get(CUT_OFF, [])
        return numbers

    @property
    def chosen(self) -> int | None:
        """The trial whose bundle was being made when the search was cut off."""
        number: int | None = self._study.user_attrs.get("chosen")
        return number

    def choose(self, number: int | None) -> None:
        self._study.set_user_attr("chosen", number)

    def __getitem__(self, number: int) -> FrozenTrial:
        return self._study.trials[number]

    def delete(self) -> None:
        """Forget the search."""
        delete(self._folder)

    def _check(self, identity: dict[str, Any]) -> None:
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._study.set_user_attr("identity", identity)
        elif names := sorted(name for name in {*known, *identity} if known.get(name) != identity.get(name)):
            shown = ", ".join(f"{name} was {known.get(name)!r}, is {identity.get(name)!r}" for name in names)
            raise TrainingError(f"{self._folder} is of another search: {shown}; --force starts over")


def exist(folder: Path) -> bool:
    """Whether a search has left its trials there."""
    return (folder / JOURNAL).exists()


def delete(folder: Path) -> None:
    """Forget the search that is there, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def rank(trial: FrozenTrial) -> tuple[float, float]:
    """By which the trials that came to their end are compared: score, then the loss with a minus."""
    return (trial.value if trial.value is not None else -np.inf, -trial.user_attrs["loss"])


def _mend(journal: Path) -> None:
    """After a kill: a last line that was written by half is dropped, and a lock that nobody holds."""
    journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
    if journal.exists():
        data = journal.read_bytes()
        if not data.endswith(b"\n"):
            journal.write_bytes(data[: data.rfind(b"\n") + 1])
