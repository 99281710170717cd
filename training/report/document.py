"""What a run came to, as report.json holds it and report.html shows it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import torch

from training import evaluate, provenance
from training.build import Built
from training.checks.check import DataCheck
from training.config import TrainingConfig
from training.data import Parts, Splits
from training.evaluate import Judged

MISTAKES = 30
# Characters of a text: enough to see why; a whole document would be most of the page.
EXCERPT = 400


@dataclass(frozen=True, slots=True)
class Run:
    """What there is to report on. `judged` is by split, the last of them the one to believe; validation is judged by
    the classifier before its second training, of which `refit` says how many rows and epochs it had.
    """

    name: str
    created: datetime
    config: TrainingConfig
    parts: Parts
    splits: Splits
    checked: DataCheck
    built: Built
    refit: dict[str, Any] | None
    judged: Mapping[str, Judged]
    eight_bits: dict[str, Any] | None  # agreement.eight_bits, by the split to believe
    rival: dict[str, Any] | None
    encoder: dict[str, Any] | None  # what the classifier started from
    teachers: list[dict[str, Any]]  # the bundles whose answers it learnt from
    device: torch.device
    seconds: float


def document(run: Run) -> dict[str, Any]:
    """The report: figures, data, mistakes, and where all of it came from."""
    return {
        "name": run.name,
        "created": run.created.isoformat(timespec="seconds"),
        "kind": run.splits.kind,
        "labels": run.splits.labels,
        "metrics": {name: judged.report.model_dump() for name, judged in run.judged.items()},
        "calibration": run.built.classifier.calibration.model_dump(),
        "eight_bits": run.eight_bits,
        "data": {
            "files": run.parts.hashes,
            "splits": {name: part.fingerprint() for name, part in run.splits.parts.items()},
            "dropped": run.splits.dropped,
        },
        "checks": run.checked.model_dump(),
        "refit": run.refit,
        "mixture": asdict(run.built.mixture) if run.built.mixture else None,
        "rival": run.rival,
        "mistakes": _mistakes(list(run.judged.values())[-1]) if run.config.keep_texts else None,
        "encoder": run.encoder,
        "teachers": run.teachers,
        "history": run.built.fitted.history,
        "selection": run.config.selection,
        "stopped": run.built.stopped,
        "tokens_per_s": round(run.built.fitted.tokens_per_s),
        **provenance.origin(run.config, run.device, run.seconds),
    }


def _mistakes(judged: Judged) -> list[dict[str, Any]]:
    """The rows that were wrong with the most confidence."""
    return [
        {"text": judged.examples.texts[row][:EXCERPT], **mistake}
        for row, mistake in evaluate.mistakes(judged.answers, most=MISTAKES)
    ]
