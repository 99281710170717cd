"""What a run made, to its bundle: the classifier, its probes, its settings, its report for programs and for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from model import bundle
from model.classifier import Classifier
from model.files import Manifest
from training import data, provenance
from training.pretraining.encoder import RECIPE
from training.reading import Columns
from training.report import document, page
from training.report.document import Run
from training.telling import warn

PROBES = 8
PAGE = "report.html"


def write(out: Path, facts: Run, console: Console, *, overwrite: bool) -> Manifest:
    """Write the bundle `out`, whose probes are replayed before it gets its name. Raises: BundleError."""
    built, report = facts.built, document.document(facts)
    texts = facts.splits.validation.texts if facts.config.keep_texts else data.read(data.SAMPLE, Columns()).train.texts
    parts = bundle.Parts(
        config=built.classifier.config,
        weights=built.weights,
        graph=built.graph,
        ngrams=built.ngrams.to_bytes() if built.ngrams is not None else None,
        tokenizer=built.tokenizer,
        calibration=built.classifier.calibration,
        probes=_probes(built.classifier, texts),
        report=report,
        extra={RECIPE: facts.config.to_toml().encode(), **_page(report, console)},
    )
    return bundle.write(out, parts, created=facts.created, commit=provenance.commit(), overwrite=overwrite)


def _probes(classifier: Classifier, texts: Sequence[str]) -> bundle.Probes:
    """A few short ones of the texts, so that a replay at load is quick."""
    texts = sorted({text for text in texts if text.strip()}, key=lambda text: (len(text), text))
    chosen = texts[:: max(1, len(texts) // PROBES)][:PROBES]
    predictions = classifier.predict(chosen)
    return bundle.Probes(
        probes=[bundle.Probe(text=text, probs=found.probs) for text, found in zip(chosen, predictions, strict=True)]
    )


def _page(report: Mapping[str, Any], console: Console) -> dict[str, bytes]:
    """The report for people, by its name; none where it can't be drawn, as a trained network isn't lost for a page."""
    try:
        return {PAGE: page.render(report).encode()}
    except Exception as error:  # a plotting library's, of any kind
        warn(console, f"no {PAGE}: {error!r}")
        return {}
