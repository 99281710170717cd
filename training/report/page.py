"""report.html: what report.json says, as one page that a person reads. It fetches nothing and runs nothing.

Labels, texts and settings are a stranger's: the template escapes them all, and the page forbids scripts.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from scipy import stats

from training.printable import printable
from training.report import plots

# A wider confusion table than this doesn't fit a page: it is drawn instead.
MOST_CLASSES_IN_TABLE = 30
# Above this many classes the columns of the confusion table have numbers, and the most confused pairs are listed.
MOST_CLASSES_BY_NAME = 6
MOST_PAIRS = 15
MOST_CHARACTERS = 500  # of a text: enough to judge it by, and fifty fit
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
SEVERITIES = ("serious", "warning", "note")
SPLITS = {"valid": "validation", "test": "test"}
SCORES = {"accuracy": "accuracy", "micro_f1": "micro-F1", "macro_f1": "macro-F1"}

Json = Mapping[str, Any]


def render(report: Json) -> str:
    """The page, byte for byte the same for the same report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "decimals": decimals,
        "points": points,
        "thousands": thousands,
        "duration": duration,
        "excerpt": excerpt,
        "plain": plain,
        "breakable": breakable,
    }
    return environment.get_template("page.html.jinja").render(_view(_printable(report)))


def percent(share: float | None) -> str:
    """As the playground shows shares: nothing is called 0% or 100% that isn't."""
    if share is None or not math.isfinite(share):
        return "–"
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def decimals(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def points(difference: float | None) -> str:
    """Of two shares, in percentage points, with a sign."""
    return "–" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def thousands(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def excerpt(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS].rstrip()} …"


def breakable(label: str) -> Markup:
    """A label, escaped, that may be broken behind its underscores and slashes."""
    return Markup("<wbr>").join(re.split("(?<=[_/])", label))


def plain(value: Any) -> str:
    """A setting as a recipe would have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _printable(value: Any) -> Any:
    """The same, every string in it fit for a page."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value


def _view(report: Json) -> dict[str, Any]:
    """What the template says and where; `contents` decides which of its sections there are."""
    split = "test" if report["metrics"].get("test") else "valid"
    figures = report["metrics"][split]
    checks = report.get("checks") or {}
    counts = figures.get("confusion")
    reliability = figures.get("reliability") or {}
    contents = {
        "data": ("Data", True),
        "learning": ("Learning curves", report.get("history")),
        "confusion": ("Confusion", counts),
        "classes": ("Classes", figures.get("classes")),
        "calibration": ("Calibration", reliability.get("after")),
        "abstention": ("Abstention", figures.get("coverage")),
        "mistakes": ("Confident mistakes", report.get("mistakes")),
        "suspects": ("Likely label errors", checks.get("suspects")),
        "rival": ("Rival", report.get("rival")),
        "run": ("The run", True),
    }
    best = next((epoch for epoch in reversed(report.get("history") or []) if epoch.get("best")), None)
    return {
        "report": report,
        "contents": {name: title for name, (title, there) in contents.items() if there},
        "created": _when(report["created"]),
        "multi_label": report["kind"] == "multi-label",
        "decided_by_thresholds": report["kind"] == "single-label" and bool(_thresholds(report)),
        "split": SPLITS[split],
        "figures": figures,
        "accuracy_interval": _wilson(figures["accuracy"], figures["rows"]),
        "files": [part | {"scripts": _largest(part.get("scripts") or {})} for part in checks.get("parts") or []],
        "splits": _splits(report["data"]["splits"]),
        "findings": sorted(checks.get("findings") or [], key=_severity),
        "suspects": checks.get("suspects") or [],
        "balance": _balance(report),
        "best": best,
        "best_score": _best_score(best, report.get("selection", "")) if best else "",
        "confusion": _confusion(counts, report["labels"]) if counts else None,
        "pairs": _pairs(counts, report["labels"]) if counts and len(counts) > MOST_CLASSES_BY_NAME else [],
        "classes": _classes(report, figures.get("classes") or []),
        "ece_before": _calibration_error(reliability.get("before") or []),
        "answered": _answered(figures.get("coverage") or []),
        "temperatures": _temperatures((report.get("calibration") or {}).get("temperature")),
        "rival": _rival(report),
        "drawings": _drawings(report, figures),
    }


def _drawings(report: Json, figures: Json) -> dict[str, Markup]:
    drawings = {}
    if history := report.get("history"):
        drawings["loss"] = plots.loss(history)
        by_loss = report.get("selection") == "loss"
        name = "score: the loss with a minus" if by_loss else SCORES.get(report.get("selection", ""), "score")
        drawings["score"] = plots.score(history, name, share=not by_loss)
    if (bins := figures.get("reliability")) and bins.get("after"):
        drawings["reliability"] = plots.reliability(bins.get("before") or [], bins["after"])
    if kept := figures.get("coverage"):
        drawings["coverage"] = plots.coverage(kept)
    if (counts := figures.get("confusion")) and len(counts) > MOST_CLASSES_IN_TABLE:
        drawings["confusion"] = plots.confusion(counts)
    return drawings


def _when(created: str) -> str:
    return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _wilson(share: float, rows: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): sound for few rows, and for shares near 1."""
    if not rows:
        return 0.0, 1.0
    interval = stats.binomtest(round(share * rows), rows).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _splits(splits: Json) -> list[dict[str, Any]]:
    """Each with its share of all rows."""
    rows = sum(split["rows"] for split in splits.values())
    return [
        {"name": name, "rows": split["rows"], "share": split["rows"] / max(rows, 1), "sha256": split["sha256"]}
        for name, split in splits.items()
    ]


def _best_score(best: Json, selection: str) -> str:
    """By what the epoch was kept, with its name; where the loss chose, the loss."""
    if selection == "loss":
        return f"loss of {decimals(best.get('validation_loss'))}"
    return f"{SCORES.get(selection, 'score')} of {percent(best.get('score'))}"


def _severity(found: Json) -> int:
    """Of a finding: its place in the list, one that isn't known last. The page of a long run is not lost for a word."""
    return SEVERITIES.index(found["severity"]) if found["severity"] in SEVERITIES else len(SEVERITIES)


def _largest(shares: Mapping[str, float], most: int = 3) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:most]


def _balance(report: Json) -> list[tuple[str, int, float]]:
    """The classes with most and with fewest training rows: label, rows, share of all rows."""
    train = report["data"]["splits"]["train"]
    counts = sorted(train["labels"].items(), key=lambda item: -item[1])
    return [(label, rows, rows / max(train["rows"], 1)) for label, rows in (counts[:1] + counts[1:][-1:])]


def _confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, Any] | None:
    """A table where it isn't too wide for one. A cell: rows, their share of the true class's, density, whether right.

    The root makes a few mistakes among many right answers visible.
    """
    if len(counts) > MOST_CLASSES_IN_TABLE:
        return None
    rows = []
    for truth, (label, row) in enumerate(zip(labels, counts, strict=True)):
        total = max(sum(row), 1)
        cells = [
            (count, count / total, round(60 * math.sqrt(count / total)), truth == answer)
            for answer, count in enumerate(row)
        ]
        rows.append({"number": truth + 1, "label": label, "cells": cells})
    return {"rows": rows, "by_name": len(labels) <= MOST_CLASSES_BY_NAME}


def _pairs(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """What is most often called something else, and how many of the true class's rows. One row alone is chance."""
    pairs: list[dict[str, Any]] = [
        {"truth": labels[i], "called": labels[j], "rows": count, "share": count / sum(row)}
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
        if i != j and count > 1
    ]
    return sorted(pairs, key=lambda pair: (-pair["rows"], -pair["share"]))[:MOST_PAIRS]


def _classes(report: Json, scores: Sequence[Json]) -> list[dict[str, Any]]:
    """Weakest first; classes without a row, of which nothing is known, last."""
    trained = report["data"]["splits"]["train"]["labels"]
    classes: list[dict[str, Any]] = [
        {**score, "number": number, "trained": trained.get(score["label"], 0), "threshold": threshold}
        for number, (score, threshold) in enumerate(zip_longest(scores, _thresholds(report)), start=1)
    ]
    return sorted(classes, key=lambda row: (not row["rows"], row["f1"]))


def _thresholds(report: Json) -> list[float]:
    """One a label, where labels are decided by them."""
    return (report.get("calibration") or {}).get("thresholds") or []


def _calibration_error(bins: Iterable[Json]) -> float | None:
    """The mean distance of confidence and accuracy, over bins weighted by their rows."""
    weighed = [(abs(found["confidence"] - found["accuracy"]), found["rows"]) for found in bins]
    rows = sum(count for _, count in weighed)
    return sum(gap * count for gap, count in weighed) / rows if rows else None


def _answered(kept: Sequence[Json]) -> list[Json]:
    """The points nearest to a few round shares."""
    nearest = [min(kept, key=lambda point: abs(point["coverage"] - wanted)) for wanted in COVERAGES if kept]
    return [point for index, point in enumerate(nearest) if point not in nearest[:index]]


def _temperatures(temperature: float | Sequence[float] | None) -> str:
    match temperature:
        case None | []:
            return ""
        case [*values]:
            return f"one temperature a label, {min(values):.2f} to {max(values):.2f}"
        case value:
            return f"temperature {value:.3f}"


def _rival(report: Json) -> dict[str, Any] | None:
    """With ours on the same split, and where its interval stands on a scale around zero, in percent of its width."""
    if not (rival := report.get("rival")):
        return None
    reach = 1.15 * max(abs(rival["low"]), abs(rival["high"]), 0.01)
    low, middle, high = (50 + 50 * rival[key] / reach for key in ("low", "difference", "high"))
    return {
        "classifier": "LSTM",  # of reports from before there were n-grams
        **rival,
        "ours": report["metrics"].get(rival["split"]) or {},
        "split": SPLITS.get(rival["split"], rival["split"]),
        "metric": SCORES.get(rival["metric"], rival["metric"]),
        "scores": {key: title for key, title in SCORES.items() if rival.get(key) is not None},
        "scale": {"low": low, "middle": middle, "high": high},
    }
