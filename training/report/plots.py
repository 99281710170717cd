"""The figures of the page, drawn by matplotlib as SVG that lies inside it: the page's font, the page's colours.

No word of the user's is drawn: a label may hold `$`, which matplotlib reads as mathematics, or letters that its font
lacks. Labels stand in the page's tables; a figure has their numbers.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib.style
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# SVG knows no colour that follows the page: each of these stands for one that the style sheet names, dark or light.
INK, QUIET, LINE, SOFT, ACCENT = "#000001", "#000002", "#000003", "#000004", "#000005"
VARIABLES = {INK: "--ink", QUIET: "--quiet", LINE: "--line", SOFT: "--soft", ACCENT: "--accent"}
# An image can't follow the page: --accent and --wrong between their light and dark shades, seen on either paper.
RIGHT_RGB, WRONG_RGB = (61, 127, 214), (214, 96, 52)

STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lembra",  # else the names of parts differ from run to run
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, and is wide: the reader's own font will fit
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.xmargin": 0.03,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": SOFT,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "legend.frameon": False,
    "legend.handlelength": 1.5,
    "lines.linewidth": 1.75,
    "lines.markersize": 4.5,
    "lines.solid_capstyle": "round",
}
# Inches of 72 SVG units: a phone shows them 1.15 times that size, a wide page 1.5 times: 9-unit text is 10 to 14 px.
WIDTH, HEIGHT = 4.2, 2.7
MOST_MARKED_EPOCHS = 25  # beyond, dots would run into a line

Records = Sequence[Mapping[str, Any]]


def loss(history: Records) -> Markup:
    """Training and validation loss by epoch, and the epoch that was kept."""
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _figure("epoch", "loss")
        epochs, marker = _column(history, "epoch"), _marker(history)
        axes.plot(epochs, _column(history, "loss"), color=QUIET, linestyle="--", marker=marker, label="training")
        axes.plot(epochs, _column(history, "validation_loss"), color=ACCENT, marker=marker, label="validation")
        _mark_best(axes, history)
        return _svg(figure, "loss", "Training and validation loss by epoch")


def score(history: Records, name: str, *, share: bool = True) -> Markup:
    """The validation score that chooses the epoch, by epoch: a share, or else a plain number."""
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _figure("epoch", name)
        axes.plot(
            _column(history, "epoch"),
            _column(history, "score"),
            color=ACCENT,
            marker=_marker(history),
            label="validation",
        )
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        _mark_best(axes, history)
        return _svg(figure, "score", f"Validation {name} by epoch")


def reliability(before: Records, after: Records) -> Markup:
    """Share of right answers by confidence, one point a bin."""
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _figure("confidence", "share right")
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1, label="honest")
        for bins, colour, dashes, label in ((before, QUIET, "--", "before"), (after, ACCENT, "-", "after")):
            if bins:
                points = _column(bins, "confidence"), _column(bins, "accuracy")
                axes.plot(*points, color=colour, linestyle=dashes, marker="o", label=label)
        # Whole tenths around all the points: a sure classifier's are all in one corner.
        shares = [value for line in axes.lines[1:] for value in np.ravel(line.get_xydata()) if math.isfinite(value)]
        least = max(0.0, math.floor(10 * min(shares, default=0)) / 10)
        axes.set(xlim=(least, 1.01), ylim=(least, 1.01))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(axes)
        return _svg(figure, "reliability", "Share of right answers by confidence, before and after calibration")


def coverage(points: Records) -> Markup:
    """Accuracy of the answers that are kept, by the share that is kept."""
    with matplotlib.style.context(["default", STYLE]):
        figure, axes = _figure("share of rows answered, most confident first", "share right")
        x, y = _column(points, "coverage"), _column(points, "accuracy")
        axes.plot(x, y, color=ACCENT)
        axes.plot(x[-1:], y[-1:], color=ACCENT, marker="o")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.0) if np.nanmax(y, initial=0) > 0.9 else None)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        return _svg(figure, "coverage", "Share of right answers by the share of rows that are answered")


def confusion(counts: Sequence[Sequence[int]]) -> Markup:
    """Truths in rows, answers in columns, both by number from 1: for more classes than a table can hold."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure((WIDTH, WIDTH), layout="constrained")
        axes = figure.subplots()
        edge = len(counts) + 0.5
        axes.imshow(_heat(np.asarray(counts)), interpolation="none", extent=(0.5, edge, edge, 0.5))
        axes.set(xlabel="number of the class it was called", ylabel="number of the true class")
        axes.grid(visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=3))
        return _svg(figure, "confusion", "Confusion matrix")


def _heat(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Pixels of red, green, blue and opacity: the more of a true class's rows, the denser; a single row is seen too."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pixels = np.empty((*counts.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(np.eye(len(counts), dtype=bool)[..., None], RIGHT_RGB, WRONG_RGB)
    pixels[..., 3] = np.where(counts, 75 + np.rint(180 * np.sqrt(shares)), 0)
    return pixels


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    return figure, axes


def _column(records: Iterable[Mapping[str, Any]], key: str) -> npt.NDArray[np.float64]:
    """What is absent, null or infinite (a run that diverged) leaves a gap."""
    values = (record.get(key) for record in records)
    return np.asarray([value if value is not None and math.isfinite(value) else math.nan for value in values])


def _marker(history: Records) -> str:
    return "o" if len(history) <= MOST_MARKED_EPOCHS else ""


def _mark_best(axes: Axes, history: Records) -> None:
    if best := [record["epoch"] for record in history if record.get("best")]:
        axes.axvline(best[-1], color=LINE, linewidth=1, linestyle=":", label="kept")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=4, borderpad=0, labelcolor=QUIET)


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """Without a size, a date or a font of its own; its parts are named apart from other figures' on the page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    referenced = {_target(value) for part in root.iter() for value in part.attrib.values() if "#" in value}
    for part in root.iter():
        part.tag, part.text, part.tail = part.tag.rpartition("}")[2], (part.text or "").strip(), None
        part.attrib = {
            key.rpartition("}")[2]: _value(value, name)
            for key, value in part.attrib.items()
            if key != "id" or value in referenced
        }
        if "id" in part.attrib:
            part.set("id", f"{name}-{part.attrib['id']}")
        # matplotlib's own style sheet would be the whole page's; what it says is the default of `svg` in ours.
        for style in part.findall("{*}style"):
            part.remove(style)
    del root.attrib["width"], root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": description}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _target(value: str) -> str:
    """Of `#name` or `url(#name)`."""
    return value.rpartition("#")[2].rstrip(")")


def _value(value: str, name: str) -> str:
    value = "; ".join(rule for rule in value.split("; ") if not rule.startswith("font-family"))
    for colour, variable in VARIABLES.items():
        value = value.replace(colour, f"var({variable})")
    return value if value.startswith("data:") else value.replace("#", f"#{name}-")
