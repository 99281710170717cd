"""training.page: the report as one page."""

import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from training.report import page

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>'
VOID = {"meta", "br", "wbr"}
WORDS = ["the", "parcel", "came", "late", "nobody", "answered", "my", "messages", "so", "I", "want", "money", "back"]
KINDS = [("single-label", 2), ("single-label", 6), ("single-label", 77), ("single-label", 150), ("multi-label", 28)]


def a_report(kind: str = "single-label", classes: int = 2, *, seed: int = 0) -> dict[str, Any]:
    """What a run with everything switched on writes; the figures agree with each other where a reader might check."""
    rng = np.random.default_rng(seed)
    labels = ["negative", "positive"] if classes == 2 else [f"{_name(rng)}_{number}" for number in range(classes)]
    rows = {"train": 400 * classes, "validation": 30 * classes, "calibration": 15 * classes, "test": 40 * classes}
    measured = {
        name: _figures(rng, kind, labels, rows[part]) for name, part in (("valid", "validation"), ("test", "test"))
    }
    return {
        "name": "sentiment-en",
        "created": "2026-11-23T12:00:00+00:00",
        "kind": kind,
        "labels": labels,
        "metrics": measured,
        "calibration": {
            "temperature": 1.31 if kind == "single-label" else [1 + 0.02 * i for i in range(classes)],
            **({"thresholds": rng.uniform(0.2, 0.6, classes).tolist()} if kind == "multi-label" else {}),
            "rows": rows["calibration"],
            "ece_before": 0.0713,
            "ece_after": 0.0214,
        },
        "data": {
            "files": {"train.jsonl.gz": "e3dca5a5" * 8, "test.jsonl.gz": "f293f3b6" * 8},
            "splits": {
                name: {"rows": count, "sha256": "9659ff8d" * 8, "labels": dict.fromkeys(labels, count // classes)}
                for name, count in rows.items()
            },
            "dropped": 12,
        },
        "checks": _checks(rng, rows, labels),
        "mixture": None,
        "rival": {
            "name": "TF-IDF + logistic regression",
            "settings": {"C": 4.0, "ngrams": [1, 2], "min_df": 2, "sublinear": True},
            "seconds": 7.4,
            "split": "test",
            **{key: measured["test"][key] - 0.0158 for key in ("accuracy", "micro_f1", "macro_f1")},
            "metric": "accuracy",
            "difference": 0.0158,
            "low": 0.0016,
            "high": 0.0301,
            "verdict": "The LSTM is better: by 1.6 points, and the whole interval is above zero.",
        },
        "mistakes": [
            {"text": _text(rng), "labels": [labels[0]], "predicted": [labels[1]], "score": 0.99 - 0.005 * i}
            for i in range(20)
        ],
        "history": [
            {
                "epoch": epoch,
                "loss": 0.15 + 0.6 / epoch,
                "validation_loss": 0.3 + 0.25 / epoch + 0.012 * epoch,
                "score": 0.86 - 0.1 / epoch - 0.001 * epoch,
                "tokens_per_s": 6425.2,
                "best": epoch <= 8,
            }
            for epoch in range(1, 13)
        ],
        "selection": "micro_f1",
        "seed": 0,
        "seconds": 525.5,
        "tokens_per_s": 6425,
        "device": "cpu",
        "threads": 1,
        "settings": {
            "epochs": 5,
            "learning_rate": 1e-3,
            "lowercase": True,
            "class_weights": None,
            "rivals": ["linear"],
        },
        "command": "lembra train ../shared/data/sst2 --out bundles/sentiment-en --recipe default --seed 0 --force",
        "environment": {
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64-with-glibc2.36",
            "cpu": "Intel(R) Xeon(R) Platinum 8481C, 2 cores",
            "libraries": {"torch": "2.13.0", "onnxruntime": "1.32.0", "numpy": "2.4.6", "tokenizers": "0.23.3"},
        },
    }


def _figures(rng: np.random.Generator, kind: str, labels: list[str], rows: int) -> dict[str, Any]:
    confusion = rng.poisson(rows / len(labels) * 0.12 / max(len(labels) - 1, 1), (len(labels), len(labels)))
    np.fill_diagonal(confusion, rng.integers(rows // len(labels) // 2, rows // len(labels), len(labels)))
    confusion[-1, 0] += rows // len(labels) // 3
    right, truths, answers = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    recall, precision = right / np.maximum(truths, 1), right / np.maximum(answers, 1)
    f1 = 2 * right / np.maximum(truths + answers, 1)
    accuracy = float(right.sum() / confusion.sum())
    confidence = np.linspace(1 / len(labels) + 0.1, 0.997, 15)
    covered = np.linspace(0.02, 1, 50)
    return {
        "rows": int(confusion.sum()),
        "accuracy": accuracy,
        "micro_f1": accuracy,
        "macro_f1": float(f1.mean()),
        "ece": 0.0307,
        "ece_floor": 0.012,
        "ece_interval": [0.0214, 0.0455],
        "truncated": 3,
        "classes": [
            {"label": label, "precision": p, "recall": r, "f1": f, "rows": n}
            for label, p, r, f, n in zip(
                labels, precision.tolist(), recall.tolist(), f1.tolist(), truths.tolist(), strict=True
            )
        ],
        **({"confusion": confusion.tolist()} if kind == "single-label" else {}),
        "reliability": {
            "before": _bins(confidence, confidence - 0.09 * np.sin(3 * confidence), rows),
            "after": _bins(confidence, np.clip(confidence + rng.normal(0, 0.02, 15), 0, 1), rows),
        },
        "coverage": [
            {"coverage": c, "accuracy": 1 - (1 - accuracy) * c**1.5, "confidence": 0.999 - 0.45 * c**2}
            for c in covered.tolist()
        ],
    }


def _bins(confidence: Any, accuracy: Any, rows: int) -> list[dict[str, Any]]:
    return [
        {"confidence": c, "accuracy": a, "rows": rows // 15}
        for c, a in zip(confidence.tolist(), accuracy.tolist(), strict=True)
    ]


def _checks(rng: np.random.Generator, rows: dict[str, int], labels: list[str]) -> dict[str, Any]:
    return {
        "parts": [
            {
                "name": name,
                "rows": count,
                "empty": 2,
                "characters": {"median": 104.0, "p95": 231, "longest": 1812},
                "scripts": {"Latin": 0.9712, "Cyrillic": 0.0211, "Han": 0.0004, "Greek": 0.0001},
            }
            for name, count in {"train": 3 * rows["train"], "test": rows["test"], "unlabelled": 70_707}.items()
        ],
        "findings": [
            {"severity": "note", "title": "14 texts occur twice in train", "detail": "With the same label each time."},
            {
                "severity": "serious",
                "title": "31 test texts are also in train",
                "detail": "To the letter. Figures on test flatter by at most 1.7 points.",
            },
            {"severity": "warning", "title": "4 texts have two labels", "detail": "Rows 12, 408, 911 and 2,044."},
        ],
        "suspects": [
            {
                "row": 17 * (i + 1),
                "text": _text(rng),
                "labels": [labels[0]],
                "suggested": [labels[1]],
                "score": 0.01 + i / 99,
            }
            for i in range(12)
        ],
    }


def _name(rng: np.random.Generator) -> str:
    return "_".join(rng.choice(["card", "payment", "refund", "top_up", "transfer", "identity", "fee", "pending"], 3))


def _text(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(4, 60)))


@cache
def a_page(kind: str, classes: int) -> str:
    return page.render(a_report(kind, classes))


class Page(HTMLParser):
    """What a browser would see: the elements, and whether every one is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self._open[-1:] != ["style"] else ""


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_every_element_is_closed_and_every_id_is_one_element_s(kind: str, classes: int) -> None:
    """And what the page points at within itself, from its contents to its clip paths, is there."""
    html = a_page(kind, classes)
    ids = [found["id"] for _, found in Page(html).elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', html)) <= set(ids)


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_the_page_fetches_nothing_and_runs_nothing(kind: str, classes: int) -> None:
    """No script, no address but its own anchors and images within, and a policy that forbids the rest."""
    html = a_page(kind, classes)
    assert not re.search(r"https?:|@import|url\((?!#)", html)
    for tag, found in Page(html).elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        assert not [name for name in found if name.startswith("on")]
        for name in ("src", "href", "action"):
            assert (found.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "default-src 'none'" in html


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_the_same_report_gives_the_same_bytes(kind: str, classes: int) -> None:
    """No date, no random name, no order of a set."""
    assert page.render(a_report(kind, classes)) == a_page(kind, classes)


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_the_page_is_small(kind: str, classes: int) -> None:
    """It counts against a bundle's 16 MB."""
    assert len(a_page(kind, classes).encode()) < 400_000


def test_what_a_stranger_wrote_is_text() -> None:
    """Every string of the report may be hostile, keys too: none becomes an element or an attribute."""

    def spoil(value: Any, kept: set[str]) -> Any:
        if isinstance(value, str):
            return value if value in kept else value + HOSTILE
        if isinstance(value, dict):
            return {key: spoil(item, kept) for key, item in value.items()}
        return [spoil(item, kept) for item in value] if isinstance(value, list) else value

    # What the code itself decides on.
    kept = {"2026-11-23T12:00:00+00:00", "single-label", "test", "serious", "warning", "note", "micro_f1", "accuracy"}
    kept |= {"train", "validation", "calibration"}
    report = spoil(a_report(classes=6), kept)
    report["settings"][HOSTILE] = HOSTILE
    report["data"]["files"][HOSTILE] = "0"
    report["environment"]["libraries"][HOSTILE] = "1"
    report["checks"]["parts"][0]["scripts"][HOSTILE] = 0.5
    found = Page(page.render(report))
    assert not {"script", "img"} & {tag for tag, _ in found.elements}
    assert found.text.count(HOSTILE) > 100


def test_what_utf_8_or_html_can_t_hold_is_replaced() -> None:
    """Half a surrogate pair, NUL and the like come out of broken data sets, and must not break the page."""
    report = a_report()
    report["mistakes"][0]["text"] = "a\ud800b\x00c\x1bd\r\ne\tf"
    html = page.render(report)
    assert "a\ufffdb\ufffdc\ufffdd\ne\tf" in html
    html.encode()


def test_labels_of_any_script_are_not_drawn_but_written() -> None:
    """No font of a figure lacks them, and `$` begins no formula."""
    report = a_report()
    report["labels"] = ["$x_$", "否定 🙂"]
    for split in report["data"]["splits"].values():
        split["labels"] = dict.fromkeys(report["labels"], 1)
    for figures in report["metrics"].values():
        for score, label in zip(figures["classes"], report["labels"], strict=True):
            score["label"] = label
    assert "否定 🙂" in Page(page.render(report)).text


def test_figures_are_of_test_where_there_is_one() -> None:
    """And the page says on which split they were taken."""
    report = a_report()
    report["metrics"]["test"] |= {"accuracy": 0.9, "rows": 1000}
    text = Page(page.render(report)).text
    assert "Measured on 1,000 test rows" in text
    assert "90.0%" in text
    assert "88.0% to 91.7%" in text  # Wilson's interval of 900 in 1,000


def test_files_and_splits_are_two_tables() -> None:
    """Train as it was read isn't train as it was learnt from: each has its own rows."""
    text = " ".join(re.sub("<[^>]*>", " ", page.render(a_report())).split())
    assert "train 2,400 2 104 231 1,812" in text
    assert "unlabelled 70,707 2" in text
    assert "train 800 " in text
    assert "12 rows were left out, as their texts, but for case, space and punctuation, are in valid or test" in text


def test_a_score_by_loss_is_no_share() -> None:
    """The loss is named as it is, and its axis has no percent."""
    report = a_report()
    report["selection"] = "loss"
    report["history"] = [
        {**epoch, "score": -epoch["validation_loss"], "validation_loss": 2.5} for epoch in report["history"]
    ]
    html = page.render(report)
    assert "was kept, at a validation loss of 2.500." in Page(html).text
    figure = html[html.index('aria-label="Validation score: the loss with a minus by epoch"') :]
    assert "%" not in re.sub("<[^>]*>", "", figure[: figure.index("</svg>")])


def test_a_run_that_was_stopped_says_so_first() -> None:
    """Its figures are of the best it had come to; no other page says that."""
    said = "stopped by hand before its end"
    text = Page(page.render(a_report() | {"stopped": True})).text
    assert text.index(said) < text.index("Measured on")
    assert said not in Page(page.render(a_report())).text


def test_without_a_test_split_the_page_says_so() -> None:
    """The epoch was chosen on validation: a reader must know."""
    report = a_report()
    del report["metrics"]["test"], report["data"]["splits"]["test"]
    report["rival"]["split"] = "valid"
    assert "There was no test split." in Page(page.render(report)).text


def test_thresholds_that_decide_for_one_label_are_said() -> None:
    """And what they do; without any nothing is."""
    report = a_report()
    assert "multiple of its threshold" not in Page(page.render(report)).text
    report["calibration"]["thresholds"] = [0.5] * len(report["labels"])
    text = Page(page.render(report)).text
    assert "multiple of its threshold" in text
    assert "0.50" in text


def test_multi_label_has_thresholds_and_no_confusion() -> None:
    """A row of several labels has no place in a confusion matrix."""
    found = Page(page.render(a_report("multi-label", 28)))
    assert "confusion" not in [attributes.get("id") for _, attributes in found.elements]
    assert "Exact match" in found.text
    assert "threshold" in found.text


@pytest.mark.parametrize("classes", [77, 150])
def test_many_classes_are_drawn_and_their_most_confused_pairs_named(classes: int) -> None:
    """A table of 77 columns is read by nobody; the worst pair leads a list."""
    report = a_report(classes=classes)
    text = Page(page.render(report)).text
    assert "Most confused" in text
    assert "number of the true class" in text
    assert all(label in text for label in report["labels"])


def test_nothing_optional_is_needed() -> None:
    """No checks, rival, texts, environment, intervals or history of a score: the sections are left out."""
    report = a_report()
    for key in ("checks", "rival", "mistakes", "environment"):
        del report[key]
    for figures in report["metrics"].values():
        del figures["ece_interval"], figures["confusion"]
    found = Page(page.render(report))
    ids = [attributes.get("id") for _, attributes in found.elements]
    assert not {"rival", "mistakes", "suspects", "confusion"} & set(ids)
    assert {"data", "learning", "classes", "calibration", "abstention", "run"} <= set(ids)


def test_null_is_as_good_as_absent() -> None:
    """As pydantic writes an optional field that isn't set."""
    report = a_report()
    report |= dict.fromkeys(("checks", "rival", "mistakes", "environment"))
    for figures in report["metrics"].values():
        figures.update(ece_interval=None, confusion=None)
    report["metrics"] |= {"test": None}
    page.render(report)


def test_an_unknown_severity_comes_last() -> None:
    """Rather than losing the page of hours of training."""
    report = a_report()
    report["checks"]["findings"][0]["severity"] = "hint"
    text = Page(page.render(report)).text
    assert text.index("31 test texts") < text.index("4 texts have") < text.index("14 texts occur")


def test_rows_without_texts_are_still_listed() -> None:
    """With --no-texts, or where the checks may not show them."""
    report = a_report()
    for found in (*report["mistakes"], *report["checks"]["suspects"]):
        found["text"] = None
    for found in report["checks"]["suspects"]:
        del found["text"]
    text = Page(page.render(report)).text
    assert "row 17 ·" in text


def test_a_run_that_diverged_has_a_page() -> None:
    """Losses that are no numbers leave gaps."""
    report = a_report()
    for epoch in report["history"][3:]:
        epoch |= {"loss": float("nan"), "validation_loss": float("inf"), "score": None}
    page.render(report)


def test_one_epoch_one_class_with_rows_and_one_point_are_enough() -> None:
    """The smallest run that anyone makes."""
    report = a_report()
    report["history"] = report["history"][:1]
    figures = report["metrics"]["test"]
    figures["classes"][1]["rows"] = 0
    figures["confusion"] = [[3, 0], [0, 0]]
    figures["coverage"] = figures["coverage"][-1:]
    figures["reliability"] = {"before": [], "after": figures["reliability"]["after"][:1]}
    page.render(report)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0.0%"), (0.0001, "<0.1%"), (0.5, "50.0%"), (0.9996, ">99.9%"), (1, "100.0%"), (None, "–")],
)
def test_no_share_is_called_nothing_or_all_that_isn_t(share: float | None, shown: str) -> None:
    """As on the playground."""
    assert page.percent(share) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(7.44, "7.4 s"), (525.5, "8 min 46 s"), (7322, "2 h 2 min")])
def test_durations_are_in_units_of_their_size(seconds: float, shown: str) -> None:
    """Nobody divides 525 by 60."""
    assert page.duration(seconds) == shown


def test_a_linear_part_is_told_of_beside_the_curves() -> None:
    """They are the network's alone; without such a part nothing is said."""
    report = a_report("single-label", 6)
    assert "A linear model of words" not in page.render(report)
    report["mixture"] = {"network": 0.536, "linear": 2.909, "bias": 0.0, "gain": 0.101}
    shown = " ".join(page.render(report).split())
    assert "0.54 parts of the one's scores and 2.91 of the other's" in shown
    assert "10.1 % lower" in shown
    report["mixture"]["gain"] = -0.02
    assert "in folds over all rows; the validation loss is lower for the network alone" in " ".join(
        page.render(report).split()
    )


def test_a_second_training_is_told() -> None:
    """On how many rows, for how many epochs, and that validation is of the classifier before; else there is no word."""
    told = page.render(a_report() | {"refit": {"rows": 14_880, "epochs": 8}})
    assert "trained once more, on all 14,880 rows of train, validation and calibration; epochs: 8." in told
    assert "two thirds" not in told
    told = page.render(a_report() | {"refit": {"rows": 4_880, "epochs": 8, "in_folds": True}})
    assert "Its calibration were chosen by all of these rows" not in told
    assert "Its calibration was chosen by all of these rows" in told
    mixed = {"network": 0.5, "linear": 2.9, "bias": 0.0, "gain": 0.101}
    told = page.render(a_report() | {"refit": {"rows": 4_880, "epochs": 8, "in_folds": True}, "mixture": mixed})
    assert "How network and n-grams are mixed, and the calibration, were chosen by all of these rows" in told
    assert "loss over all rows, each answered by what had not learnt from it, is 10.1 % lower" in told
    assert "fit of the calibration" not in told
    assert "trained once more" not in page.render(a_report() | {"refit": None})
    assert "trained once more" not in page.render(a_report())


@pytest.mark.parametrize(("agree", "says"), [(True, "a server computes in them"), (False, "a server won't")])
def test_what_8_bits_change_is_said(agree: bool, says: str) -> None:
    """With the rows that it was measured on; a report of before there were any says nothing."""
    found = {"agree": agree, "rows": 1821, "same_labels": 0.9996, "accuracy_gained": -0.0005, "largest_change": 0.0041}
    told = page.render(a_report() | {"eight_bits": found})
    assert "1,821" in told
    assert says in told
    assert "8 bits" not in page.render(a_report())
