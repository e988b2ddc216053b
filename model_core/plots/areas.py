"""Scatterplot of score and area of the RoIs, whose points can be picked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_core.base.arrays import DoubleArray
from model_core.base.results import RoiRow
from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.plots.ranking import Ranking, rank
from model_core.scene import region_colour
from model_core.scene.palette import ASKED

PICK_RADIUS_PT = 5
GID = "candidate"


def score_area(
    figure: Figure,
    rois: Sequence[RoiRow],
    *,
    top: int | None = None,
    selected: int | None = None,
    calibrated: bool = False,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw each RoI at its score and the area of its box.

    Filled diamonds are RoIs among the shown detections, open circles the others, or all of them where the
    class has regions of its own, crosses those that were excluded from the evidence, stars those that a
    person asked about; the colour is that of the class, a large ring is the selected one. The
    artists with points carry the gid ``"candidate"``, can be picked, and hold in ``artist.candidates`` the
    candidate of each point (see `picked_candidate`).

    Parameters
    ----------
    rois:
        The distinct RoIs of the evidence; ones whose score or area is not finite are left out.
    top:
        Draw the best ranks like this and the others as faint dots that cannot be picked; None: all.
    selected:
        Candidate to ring.
    calibrated:
        Whether the scores are calibrated ones; the axis says so.

    Raises
    ------
    SettingsError
        If ``top`` is less than 1 or the theme is unknown.
    """
    colours = style.theme_named(theme)
    ranking = rank(rois, top, selected)
    if not ranking.shown:
        style.message(figure, colours, "No regions")
        return
    groups: dict[str, list[str]] = {}
    for number, label in sorted({(roi.class_number, roi.label) for roi in ranking.shown}):
        groups.setdefault(region_colour(label, max(0, number - 1)), []).append(label)
    top_margin = 0.26 if len(groups) < 2 else 0.42
    margins = Margins(left=0.66, right=0.14, bottom=0.40, top=top_margin)
    axes = style.start(figure, colours, margins, grid="both", again="score-area")
    style.label_axes(axes, colours, style.score_label(calibrated), "box area (px)")
    score_area_points(axes, ranking, colours)
    _legend(axes, ranking, colours, groups)


def score_area_points(
    axes: Axes, ranking: Ranking, colours: style.Theme, *, size: float | None = None
) -> None:
    """Draw the points, without words, see `score_area`; ``size`` of the circles in square points."""
    _scale(axes, [roi.area_px for roi in (*ranking.shown, *ranking.rest)])
    _points(axes, ranking, colours, size or (16 if len(ranking.shown) <= 300 else 9))


def picked_candidate(event: Any) -> int | None:
    """Return the candidate that a matplotlib pick event means, or None.

    Of several points under the pointer the nearest counts, of equally near ones the best rank.
    """
    candidates = getattr(event.artist, "candidates", None)
    if candidates is None or event.artist.get_gid() != GID or not len(event.ind):
        return None
    indices = np.asarray(event.ind)
    offsets = np.asarray(event.artist.get_offsets(), np.float64)[indices]
    places = event.artist.get_offset_transform().transform(offsets)
    away = np.hypot(places[:, 0] - event.mouseevent.x, places[:, 1] - event.mouseevent.y)
    return int(candidates[indices[int(np.argmin(away))]])


def _points(axes: Axes, ranking: Ranking, colours: style.Theme, size: float) -> None:
    if ranking.rest:
        style.points(
            axes, "rest", _places(ranking.rest), size=size * 0.4, face=colours.faint, edge="none",
            linewidths=0, gid="others",
        )  # fmt: skip
    picked: dict[str, Any] = {"clip_on": False, "picker": PICK_RADIUS_PT, "gid": GID}
    found = [roi for roi in ranking.shown if not roi.excluded and roi.asked is None]
    detected, others = [roi for roi in found if roi.detected], [roi for roi in found if not roi.detected]
    excluded = [roi for roi in ranking.shown if roi.excluded]
    asked = [roi for roi in ranking.shown if roi.asked is not None]
    looks: dict[str, tuple[list[RoiRow], dict[str, Any]]] = {
        "excluded": (excluded, {"size": size * 1.6, "face": colours.muted, "edge": None, "marker": "x",
                                "linewidths": 1.2, "zorder": 4}),
        "asked": (asked, {"size": size * 5, "face": ASKED, "edge": colours.edge, "marker": "*",
                          "linewidths": 0.7, "zorder": 5}),
        "others": (others, {"size": size, "face": "none", "edge": _class_colours(others),
                            "marker": "o", "linewidths": 1.0, "zorder": 3}),
        "detected": (detected, {"size": size * 2.2, "face": _class_colours(detected), "edge": colours.edge,
                                "marker": "D", "linewidths": 0.7, "zorder": 4}),
    }  # fmt: skip
    for name, (rois, look) in looks.items():
        if rois:
            artist = style.points(axes, name, _places(rois), **look, **picked)
            artist.candidates = np.array([roi.candidate for roi in rois])  # type: ignore[attr-defined]
    if ranking.selected is not None:
        style.points(
            axes, "selected", _places([ranking.selected]), size=110, face="none", edge=colours.selected,
            marker="o", linewidths=1.8, clip_on=False, gid="selected", zorder=5,
        )  # fmt: skip


def _class_colours(rois: Sequence[RoiRow]) -> str | list[str]:
    """Return the colour of each region's class; one where all have it."""
    colours = [region_colour(roi.label, max(0, roi.class_number - 1)) for roi in rois]
    return colours[0] if len(set(colours)) == 1 else colours


def _places(rois: Sequence[RoiRow]) -> DoubleArray:
    return np.array([(min(max(roi.score, 0.0), 1.0), max(roi.area_px, 0.0)) for roi in rois], np.float64)


def _scale(axes: Axes, areas: Sequence[float]) -> None:
    style.score_axis(axes)
    axes.set_xlim(-0.02, 1.02)
    low, high = max(min(areas), 0.0), max(*areas, 1.0)
    if low < 1:
        # Boxes without area exist (the released code keeps them); a logarithm has no place for them.
        style.value_scale(axes, "symlog", linthresh=1, linscale=0.4)
        bottom, ticks = -0.15, [0.0]
    else:
        style.value_scale(axes, "log")
        bottom, ticks = style.round_step(low / 1.3, below=True), []
    # Round ends stay while thresholds move, and with them the axes.
    ceiling = max(style.round_step(high * 1.3), style.round_step(bottom * 20), 10.0)
    axes.set_ylim(bottom, ceiling)
    ticks += [10.0**power for power in range(math.ceil(math.log10(ceiling)) + 1)]
    ticks = [tick for tick in ticks if bottom <= tick <= ceiling]
    style.fix_ticks(axes.yaxis, ticks, [_pixels(tick) for tick in ticks])


def _pixels(area: float) -> str:
    if area >= 1e6:
        return f"{area / 1e6:,.0f} M"
    return f"{area:,.0f}".replace(",", "\u2009")


def _legend(axes: Axes, ranking: Ranking, colours: style.Theme, groups: dict[str, list[str]]) -> None:
    """Say what shape and colour mean, above the axes where no point can lie."""
    out = sum(roi.excluded for roi in ranking.shown)
    detected = sum(bool(roi.detected) and not roi.excluded for roi in ranking.shown)
    asked = sum(roi.asked is not None for roi in ranking.shown)
    listed, every = len(ranking.shown), len(ranking.shown) + len(ranking.rest)
    which = f"best {listed} of {every} regions" if ranking.rest else f"all {every} regions"
    text = f"{which}:   ◆ {detected} shown   ○ {listed - detected - out - asked} not shown"
    if out:
        text += f"   × {out} excluded"
    if asked:
        text += f"   ★ {asked} asked"
    if all(roi.detected is None for roi in ranking.shown):
        text = f"○ {len(ranking.shown)} regions of the class, apart from the detections"
    if len(groups) < 2:
        style.headline(axes, colours, text, colour=style.legible(next(iter(groups)), colours))
        return
    style.headline(axes, colours, text)
    for column, (colour, labels) in enumerate(groups.items()):
        text, shade = "■ " + ", ".join(labels), style.legible(colour, colours)
        style.headline(axes, colours, text, colour=shade, right=column > 0, line=1)
