"""training.trials and training.space: what is tried next, and what a search leaves behind."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from training.config import TrainingConfig
from training.tuning import space
from training.tuning.trials import JOURNAL, Trials

BASE = TrainingConfig()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"embedding_size": 1, "hidden_size": 4096, "min_count": 9, "max_vocabulary": 2, "batch_tokens": 1},
        {"adversarial_weight": 0.0, "pooled_dropout": 0.95, "learning_rate": 0.9, "epoch_steps": 1},
        {"embedding_size": 100, "learning_rate": 0.00123456789, "adversarial_norm": 1e-7},
    ],
)
def test_the_base_lies_within_what_is_searched(changed: dict[str, float], tmp_path: Path) -> None:
    """Whatever it is: the first trial is the base to the last digit, and the next ones are valid settings."""
    base = BASE.model_copy(update=changed)
    kept = Trials(tmp_path, base, {})
    first = kept.next()
    assert kept.settings(first) == base
    kept.tell_complete(first, score=0.5, loss=1.0, seconds=1.0)
    for _ in range(5):
        trial = kept.next()
        assert kept.settings(trial) != base
        kept.tell_pruned(trial)


def test_numbers_that_were_drawn_are_short() -> None:
    """Three digits; a base's own number stays as it is."""
    found = space.settings(BASE, {"learning_rate": 0.00123456789, "word_dropout": BASE.word_dropout})
    assert space.changes(BASE, found) == {"learning_rate": 0.00123}


def test_the_best_is_the_first_of_equals_after_the_loss(tmp_path: Path) -> None:
    """A higher score wins, then a lower validation loss, then the earlier trial."""
    kept = Trials(tmp_path, BASE, {})
    for score, loss in [(0.5, 1.0), (0.75, 0.5), (0.75, 0.25), (0.75, 0.25)]:
        kept.tell_complete(kept.next(), score=score, loss=loss, seconds=1.0)
    assert kept.best is not None
    assert kept.best.number == 2


def test_a_trial_that_was_cut_off_is_run_once_more(tmp_path: Path) -> None:
    """The second time it is taken for what ended the process, and something else comes next."""
    kept = Trials(tmp_path, BASE, {})
    kept.tell_pruned(kept.next())
    params = [Trials(tmp_path, BASE, {}).next().params for _ in range(3)]
    assert params[0] == params[1] != params[2]
    states = [trial.state for trial in Trials(tmp_path, BASE, {})._study.trials]
    assert states == [TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL, TrialState.FAIL, TrialState.WAITING]


def test_a_journal_that_was_cut_in_a_line_is_read(tmp_path: Path) -> None:
    """Its last event is lost, and a lock that was left is no hindrance."""
    kept = Trials(tmp_path, BASE, {"seed": 1})
    kept.tell_complete(kept.next(), score=0.5, loss=1.0, seconds=1.0)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"op_code": 4, "wor')
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    again = Trials(tmp_path, BASE, {"seed": 1})
    again.tell_complete(again.next(), score=0.75, loss=1.0, seconds=1.0)
    assert [trial.value for trial in Trials(tmp_path, BASE, {"seed": 1}).finished] == [0.5, 0.75]
