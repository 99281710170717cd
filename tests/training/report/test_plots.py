"""training.plots: figures that lie inside a page."""

import re

import numpy as np
import pytest

from training.report import plots

HISTORY = [
    {"epoch": epoch, "loss": 1 / epoch, "validation_loss": 0.9 / epoch, "score": 0.8, "best": epoch == 2}
    for epoch in range(1, 4)
]


def test_a_figure_has_the_page_s_colours_font_and_width() -> None:
    """So that it turns dark with the page; nothing of matplotlib's own is left to stand out, or to date it."""
    svg = plots.loss(HISTORY)
    assert "var(--accent)" in svg
    assert not re.search(r"#0000|font-family|<style|<metadata|<svg[^>]*width", svg)
    assert ">epoch</text>" in svg


def test_names_of_parts_are_the_figure_s_own() -> None:
    """On one page a clip path of one figure must not cut another."""
    first, second = (set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (plots.loss(HISTORY), plots.score(HISTORY, "")))
    assert first
    assert second
    assert not first & second


def test_the_reader_s_settings_of_matplotlib_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matplotlibrc may hold anything."""
    expected = plots.loss(HISTORY)
    for key, value in {"lines.linewidth": 9.0, "svg.fonttype": "path", "axes.facecolor": "red"}.items():
        monkeypatch.setitem(plots.matplotlib.rcParams, key, value)
    assert plots.loss(HISTORY) == expected


def test_one_mistake_in_a_thousand_is_seen() -> None:
    """Density is a share of the true class, with a floor; nothing is drawn where there is no row."""
    pixels = plots._heat(np.asarray([[999, 1], [0, 0]]))
    assert pixels[0, 0, 3] == 255
    assert 75 <= pixels[0, 1, 3] < 100
    assert pixels[1].max(axis=0)[3] == 0
    assert tuple(pixels[0, 0, :3]) == plots.RIGHT_RGB
    assert tuple(pixels[0, 1, :3]) == plots.WRONG_RGB
