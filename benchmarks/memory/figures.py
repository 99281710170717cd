"""The two figures of docs/lstm.md: who remembers over which gap, and how much of a cell is left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter

Found = Mapping[str, Any]

# Okabe and Ito's colours, told apart by colour-blind readers; a marker each, for those who print in grey.
LOOKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "LSTM, chrono": ("#0072B2", "o"),
        "LSTM, bias 1": ("#56B4E9", "s"),
        "LSTM, default bias": ("#009E73", "^"),
        "LSTM, no forget gate": ("#CC79A7", "D"),
        "GRU": ("#E69F00", "v"),
        "tanh RNN": ("#D55E00", "X"),
    }
)
OUTSIDER = ("#777777", "P")
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "lembra", "font.size": 10, "font.sans-serif": ["DejaVu Sans"]}
FLOOR = 1e-12  # of what is left: below it nothing is drawn


def draw(found: Sequence[Found], folder: Path) -> None:
    """memory.svg and, where there are LSTMs, forgetting.svg: from runs that learnt one gap each, by the last state."""
    single = [one for one in found if len(one["gaps"]) == 1 and one.get("head", "last") == "last"]
    with matplotlib.style.context(["default", STYLE]):
        _save(memory(single), folder / "memory.svg")
        if keeping := [one for one in single if one.get("kept")]:
            _save(forgetting(keeping), folder / "forgetting.svg")


def memory(found: Sequence[Found]) -> Figure:
    """Accuracy by gap, a panel a task, a line a network: means over the seeds."""
    tasks = list(dict.fromkeys(one["task"] for one in found))
    figure = Figure((4 * len(tasks) + 0.5, 4.4), layout="constrained")
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        of_task = [one for one in found if one["task"] == task]
        for name in dict.fromkeys(one["network"] for one in of_task):
            _line(axes, name, [one for one in of_task if one["network"] == name])
        axes.axhline(0.5, color="#999999", linestyle=":", zorder=0)
        axes.set(title=task, xlabel="words between cue and question", xscale="log", ylim=(0.4, 1.03))
        axes.set_xticks(sorted({one["gaps"][0] for one in of_task}))
        _plain(axes)
    panels[0].set_ylabel("right answers")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].annotate("guessing", (0.02, 0.5), xycoords=("axes fraction", "data"), va="top", color="#777777")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _line(axes: Axes, name: str, found: Sequence[Found]) -> None:
    gaps = sorted({one["gaps"][0] for one in found})
    means = []
    for gap in gaps:
        shares = [one["accuracy"][str(gap)] for one in found if one["gaps"][0] == gap]
        means.append(sum(shares) / len(shares))
    colour, marker = LOOKS.get(name, OUTSIDER)
    axes.plot(gaps, means, color=colour, marker=marker, label=name, linestyle="-" if name in LOOKS else "--")


def forgetting(found: Sequence[Found]) -> Figure:
    """What is left of the cell over the gap's words, of the task and gap that most of the LSTMs were trained on."""
    figure = Figure((6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    task, gap = _shared_by_most(found)
    alike = [one for one in found if (one["task"], one["gaps"][0]) == (task, gap)]
    for name in [name for name in LOOKS if any(one["network"] == name for one in alike)]:
        one = max((one for one in alike if one["network"] == name), key=lambda one: bool(one.get("success")))
        words, shares = zip(*(pair for pair in one["kept"] if pair[1] > FLOOR), strict=True)
        label = f"{name}, {'solved' if one['success'] else 'not solved'}"
        axes.plot(words, shares, color=LOOKS[name][0], marker=LOOKS[name][1], markersize=3, label=label)
    axes.set(title=f"{task}, learnt from gaps of {gap:,}", xscale="log", yscale="log", ylim=(FLOOR, 3))
    axes.set(xlabel="words since the cue", ylabel="share of the memory that is left")
    _plain(axes)
    axes.legend(frameon=False, loc="lower left")
    return figure


def _shared_by_most(found: Sequence[Found]) -> tuple[str, int]:
    """The task and gap that has the most networks; of several, the longest gap, then what most of them solved."""
    groups: dict[tuple[str, int], list[Found]] = {}
    for one in found:
        groups.setdefault((one["task"], one["gaps"][0]), []).append(one)

    def rank(key: tuple[str, int]) -> tuple[int, int, int]:
        networks = {one["network"] for one in groups[key]}
        return len(networks), key[1], sum(bool(one.get("success")) for one in groups[key])

    return max(sorted(groups), key=rank)


def _plain(axes: Axes) -> None:
    """Numbers of words as people write them."""
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
