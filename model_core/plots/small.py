"""Plots of a slice in small axes, for figures in print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from model_core.base.results import ShownSlice
from model_core.plots import style
from model_core.plots.areas import score_area_points
from model_core.plots.batch import COLUMNS, batch_rows
from model_core.plots.ranking import rank
from model_core.plots.scores import score_bars

SmallPlot = Literal["scores", "area", "batch"]
# Of the circles, in square points.
_MARK = 7


def small_plot(
    axes: Axes, shown: ShownSlice, kind: SmallPlot, *, top: int, size: float, line: float, named: bool = True
) -> None:
    """Draw scores, scores against areas, or the RoI batch, in the light theme and without a headline.

    Parameters
    ----------
    top:
        How many of the best ranks stand out.
    size, line:
        Of letters and lines, in points.
    named:
        Whether the upright axis has its name.
    """
    theme = style.THEMES["light"]
    style.dress(axes, theme, size=size)
    for spine in axes.spines.values():
        spine.set_linewidth(line)
    ranking = rank([roi for roi in shown.rois if not roi.excluded and roi.asked is None], top, None)
    if not ranking.shown or (kind == "batch" and shown.verdict is None):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no regions", ha="center", va="center", fontsize=size, color=theme.muted)
        return
    name, upright = style.score_label(shown.calibrated), "regions"
    if kind == "batch":
        assert shown.verdict is not None
        batch_rows(axes, np.asarray(shown.verdict.batch.rows, np.float32), theme)
        style.fix_ticks(axes.xaxis, range(len(COLUMNS)), COLUMNS)
        name, upright = "", "rank"
    elif kind == "area":
        score_area_points(axes, ranking, theme, size=_MARK)
        upright = "box area (px)"
    else:
        score_bars(axes, ranking, theme)
    style.label_axes(axes, theme, name, upright if named else "", size=size)
    axes.tick_params(length=0 if kind == "batch" else 2, width=line, pad=1.5)


def share_heights(plots: Sequence[Axes]) -> None:
    """Give plots beside each other the same upright axis, with the ticks of the tallest."""
    ends = [axes.get_ylim() for axes in plots if axes.axison]
    if not ends or plots[0].yaxis_inverted():
        return  # ranks are the same everywhere
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    # Not those of all: numbers of different steps would cover each other.
    tallest = max((axes for axes in plots if axes.axison), key=lambda axes: axes.get_ylim()[1])
    shown = [float(tick) for tick in tallest.get_yticks() if low <= tick <= high]
    for axes in plots:
        axes.set_ylim(low, high)
        axes.set_yticks(shown, [f"{tick:,.0f}".replace(",", "\u2009") for tick in shown])
        axes.minorticks_off()
