"""Histogram of the scores of the RoI batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model_core.base.arrays import DoubleArray
from model_core.base.results import RoiRow, probability_text
from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.plots.ranking import Ranking, rank

BINS = 20


def score_histogram(
    figure: Figure,
    rois: Sequence[RoiRow],
    *,
    top: int | None = None,
    selected: int | None = None,
    log: bool = False,
    copies: bool = False,
    calibrated: bool = False,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw how many RoIs have which score, in 20 bins over 0..1.

    Parameters
    ----------
    rois:
        The distinct RoIs of the evidence. Ones whose score or area is not finite are left out and counted
        in a note. Ones that were excluded from the evidence are left out.
    top:
        Highlight the RoIs of the best ranks, with the others as faint bars behind; None highlights all.
    selected:
        Candidate whose score is marked by a line.
    log:
        Logarithmic counts.
    copies:
        Count the rows of the RoI batch, a replicated RoI as often as it stands there.
    calibrated:
        Whether the scores are calibrated ones; the axis says so.

    Raises
    ------
    SettingsError
        If ``top`` is less than 1 or the theme is unknown.
    """
    colours = style.theme_named(theme)
    ranking = rank([roi for roi in rois if not roi.excluded], top, selected)
    if not ranking.shown:
        style.message(figure, colours, "No regions")
        return
    margins = Margins(left=0.52, right=0.12, bottom=0.40, top=0.26)
    axes = style.start(figure, colours, margins, grid="y", again="score-histogram")
    counted = "rows of the batch" if copies else "regions"
    style.label_axes(axes, colours, style.score_label(calibrated), counted)
    score_bars(axes, ranking, colours, log=log, copies=copies)
    _note(axes, ranking, colours)
    if ranking.selected is not None:
        _mark(axes, ranking.selected, colours)


def score_bars(
    axes: Axes, ranking: Ranking, colours: style.Theme, *, log: bool = False, copies: bool = False
) -> None:
    """Draw the bars of the histogram, without words; see `score_histogram`."""
    edges = np.linspace(0, 1, BINS + 1)
    shown = _counts(ranking.shown, edges, copies=copies)
    every = shown + _counts(ranking.rest, edges, copies=copies)
    if ranking.rest:
        _bars(axes, edges, every, colours.faint, "others")
    _bars(axes, edges, shown, colours.muted, "shown")
    _scale(axes, float(every.max()), log=log)


def _counts(rois: Sequence[RoiRow], edges: DoubleArray, *, copies: bool) -> DoubleArray:
    scores = np.clip([roi.score for roi in rois], 0, 1)
    weights = [float(roi.copies) if copies else 1.0 for roi in rois]
    return np.histogram(scores, edges, weights=weights)[0].astype(np.float64)


def _bars(axes: Axes, edges: DoubleArray, counts: DoubleArray, colour: str, gid: str) -> None:
    # One step patch instead of twenty rectangles: as fast as a line.
    axes.stairs(counts, edges, fill=True, color=colour, gid=gid, linewidth=0)
    axes.vlines(
        edges[1:-1], 0, np.maximum(counts[1:], counts[:-1]), color=axes.get_facecolor(), linewidth=0.8
    )


def _scale(axes: Axes, highest: float, *, log: bool) -> None:
    style.score_axis(axes)
    if log:
        style.value_scale(axes, "log")
        axes.set_ylim(0.7, max(highest, 1) * 1.6)
        decades = [10**power for power in range(int(np.log10(max(highest, 1))) + 1)]
        style.fix_ticks(axes.yaxis, decades, [f"{value:d}" for value in decades])
    else:
        style.value_scale(axes, "linear")
        axes.set_ylim(0, max(highest, 1) * 1.06)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=2))


def _note(axes: Axes, ranking: Ranking, colours: style.Theme) -> None:
    total = len(ranking.shown) + len(ranking.rest)
    noun = "region" if total == 1 else "regions"
    text = f"best {len(ranking.shown)} of {total} {noun}" if ranking.rest else f"{total} {noun}"
    if ranking.dropped:
        text += f", {ranking.dropped} without values"
    style.headline(axes, colours, text)


def _mark(axes: Axes, roi: RoiRow, colours: style.Theme) -> None:
    score = min(max(roi.score, 0.0), 1.0)
    axes.axvline(score, color=colours.selected, linewidth=1.4, linestyle=(0, (3, 2)), gid="selected")
    style.headline(
        axes, colours, f"#{roi.rank}: {probability_text(roi.score)}", colour=colours.selected, right=True
    )
