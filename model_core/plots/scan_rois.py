"""Scores and box areas of all regions of a scan beside those of controls."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_core.explain.distribution import Compared, RoiDistribution
from model_core.plots import style
from model_core.plots.margins import NOTE, Margins
from model_core.scene.palette import GREEN

# Shares below are drawn at the lower edge.
_LEAST = 1e-4
_BAND = 0.28
# Inches around the axes, and between them for the numbers of the right ones.
_LEFT, _RIGHT, _BOTTOM, _TOP, _BETWEEN = 0.62, 0.14, 0.40, 0.26, 0.60
# Where the second name begins, in points after the first.
_SECOND = 38
# Axes of fewer inches have no room for the limit of the controls, nor for what is what.
_WIDE = 1.5
# Ticks of box areas, in pixels.
_AREAS = {16: "16", 256: "256", 4096: "4 k", 65536: "64 k"}


def scan_rois(figure: Figure, found: RoiDistribution, *, theme: style.ThemeName = "dark") -> None:
    """Draw which share of the regions has which score and, at the right, which box area.

    Bars are the mean over the slices of the scan, lines that over the control patients; the band goes from
    5 to 95 % of these, each bin for itself. The upright axis of scores is logarithmic. Above stands how far
    the scan lies from the controls, and within what 95 % of these do. Cards without areas of controls have
    the scores alone.

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    margins = Margins(left=_LEFT, right=_RIGHT, bottom=_BOTTOM, top=_TOP)
    axes = style.start(figure, colours, margins, grid="y")
    room, beside = float(figure.get_figwidth()) - _LEFT - _RIGHT, None
    if found.areas is not None:
        room = max(0.2, (room - _BETWEEN) / 2)
        figure.delaxes(axes)
        grid = figure.add_gridspec(1, 2, wspace=_BETWEEN / room)
        axes, beside = (figure.add_subplot(grid[0, column]) for column in range(2))
        for one in (axes, beside):
            style.dress(one, colours)
            one.grid(visible=True, axis="y", color=colours.grid, linewidth=0.7)
        _histogram(beside, found.areas, colours, least=0.0)
        beside.set_xscale("log", base=2)
        beside.set_xlim(found.areas.edges[0], found.areas.edges[-1])
        style.fix_ticks(beside.xaxis, tuple(_AREAS), tuple(_AREAS.values()))
        style.label_axes(beside, colours, "box area (px)", "")
        _percent(beside, found.areas)
        text = f"areas {found.areas.wasserstein:.1f} doublings off"
        style.headline(beside, colours, text + _limit(found.areas, room, digits=1), right=True)
    _histogram(axes, found.scores, colours, least=_LEAST)
    style.label_axes(axes, colours, "raw score", "share of regions")
    axes.set_yscale("log")
    axes.set_ylim(_LEAST, 1.0)
    style.fix_ticks(axes.yaxis, (1e-4, 1e-2, 1), ("0.01 %", "1 %", "100 %"))
    style.score_axis(axes)
    text = f"scores {found.scores.wasserstein:.3f} off"
    style.headline(axes, colours, text + _limit(found.scores, room, digits=3), right=True)
    if room >= _WIDE:
        _legend(beside, axes, colours)


def _legend(beside: Axes | None, axes: Axes, colours: style.Theme) -> None:
    """Write what is what: into the upper right of the areas, where few regions are, or above the scores."""
    line = style.legible(GREEN, colours)
    names = {"■ scan": colours.text, "— controls": line}
    if beside is None:
        for along, (name, colour) in zip((0, _SECOND), names.items(), strict=True):
            style.headline(axes, colours, name, colour=colour, along=along)
        return
    for number, (name, colour) in enumerate(names.items()):
        beside.annotate(
            name,
            (1, 1),
            (0, -2 - number * (style.SMALL_PT + 2.5)),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colour,
            fontsize=style.SMALL_PT,
            ha="right",
            va="top",
            gid=NOTE,
        )


def _histogram(axes: Axes, one: Compared, colours: style.Theme, *, least: float) -> None:
    """Draw bars of the scan, line and band of the controls."""
    line, known = style.legible(GREEN, colours), one.controls
    axes.stairs(
        np.maximum(one.shares, least), one.edges, baseline=least, fill=True, color=colours.muted, gid="scan"
    )
    if known.low:
        low, high = (np.maximum(np.array(ends), least) for ends in (known.low, known.high))
        axes.stairs(
            high, one.edges, baseline=low, fill=True, color=line, alpha=_BAND, linewidth=0, gid="band"
        )
    mean = np.maximum(np.array(known.mean), least)
    axes.stairs(mean, one.edges, baseline=None, color=line, linewidth=1.6, gid="controls")


def _percent(axes: Axes, one: Compared) -> None:
    most = max(float(one.shares.max()), *one.controls.mean, *one.controls.high, 0.05)
    top = 0.1 * np.ceil(10 * most)
    axes.set_ylim(0.0, top)
    style.fix_ticks(axes.yaxis, (0, top / 2, top), ("0", f"{50 * top:.0f} %", f"{100 * top:.0f} %"))


def _limit(one: Compared, room: float, *, digits: int) -> str:
    """Say within what 95 % of the controls lie, where axes of ``room`` inches leave space for it."""
    known = one.controls.wasserstein
    return f" (95 %: {known[1]:.{digits}f})" if known and room >= _WIDE else ""
