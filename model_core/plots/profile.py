"""Probability of pneumonia and area of lesions along the slices of a scan."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model_core.base.results import ILL_PROBABILITY, SliceSummary
from model_core.plots import style
from model_core.plots.margins import CHARACTER, Margins
from model_core.scene.bars import bar_scale
from model_core.scene.palette import AMBER, ORANGE, PNEUMONIA

# Where the upright axis ends, and how far below zero the largest bar may hang; deciding slices are marked
# at this height.
_TOP, _BARS, _MARKS = 1.3, 0.5, 1.19
# What the largest bar may stand for, within a decade.
_ENDS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def scan_profile(
    figure: Figure,
    summaries: Sequence[SliceSummary],
    *,
    slices: int,
    deciding: Sequence[int] = (),
    control: bool = False,
    outside: Collection[int] = (),
    visible: int | None = None,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw the scan from its first slice at the left to its last.

    Above, the probability that a slice shows pneumonia as points with the limit of one half; slices outside
    the lungs are shaded. Below zero hang bars of the marked area of each slice, cut where few are far larger
    than the others. Triangles mark the deciding slices, an upright line the visible one. Slices that were not
    analysed are left blank; without any probability there is no upper part.

    Parameters
    ----------
    summaries:
        Of the analysed slices, in any order.
    slices:
        How many slices the scan has.
    deciding, control:
        Slices, from 0, and whether the scan has no clear signs: they are those that look most ill then.
    outside:
        Slices (from 0) that are known to lie outside the lungs, beside those whose summary says so.
    visible:
        Slice, from 0.

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    if not summaries:
        style.message(figure, colours, "No slice analysed")
        return
    ordered = sorted(summaries, key=lambda summary: summary.slice_index)
    axes = style.start(
        figure, colours, Margins(left=0.66, right=0.14, bottom=0.40, top=0.26), again="profile"
    )
    chances = {s.slice_index: s.ill_probability for s in ordered if s.ill_probability is not None}
    style.label_axes(axes, colours, "slice", "P(pneumonia)" if chances else "")
    axes.set_xlim(0.5, slices + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    axes.set_ylim(-_BARS - 0.05, _TOP if chances else 0.05)
    bottom, top = axes.get_ylim()
    without = _runs({*outside, *(s.slice_index for s in ordered if s.lung is False)})
    if without:
        _rectangles(axes, [(*run, bottom, top) for run in without], colours.faint, gid="outside")
    unit, most, cut = _bars(axes, ordered)
    across: dict[str, Any] = {"xmin": 0, "xmax": slices + 1, "colors": colours.muted, "linewidth": 0.8}
    axes.hlines([0.0], **across, zorder=2)
    if chances:
        axes.hlines([ILL_PROBABILITY], **across, linestyles=":", zorder=2)
        places = np.array([(index + 1.0, chance) for index, chance in chances.items()])
        face = style.legible(PNEUMONIA, colours)
        style.points(
            axes, "chances", places, size=9, face=face, edge="none", linewidths=0, zorder=3, gid="chances"
        )
    marked = [index for index in deciding if index in chances]
    if marked:
        places = np.array([(index + 1.0, _MARKS) for index in marked])
        face = style.legible(AMBER, colours)
        style.points(
            axes, "deciding", places, size=26, face=face, edge="none", marker="v", linewidths=0, zorder=4,
            gid="deciding",
        )  # fmt: skip
    if visible is not None:
        here = visible + 1
        axes.vlines([here], bottom, top, colors=colours.selected, linewidth=1.2, zorder=5, gid="visible")
    if chances:
        style.fix_ticks(axes.yaxis, (-_BARS, 0, 0.5, 1), (most, "0", "0.5", "1"))
    else:
        style.fix_ticks(axes.yaxis, (-_BARS, 0), (most, "0"))
    text = f"■ marked area, {unit}" + f" ({cut} cut)" * bool(cut)
    style.headline(axes, colours, text, colour=style.legible(ORANGE, colours))
    if without:
        along = (len(text) + 1) * style.SMALL_PT * CHARACTER
        style.headline(axes, colours, "grey: no lung", along=along)
    if marked:
        what = "look most ill" if control else "deciding"
        style.headline(axes, colours, f"▼ {what}", right=True, colour=style.legible(AMBER, colours))


def _bars(axes: Axes, ordered: Sequence[SliceSummary]) -> tuple[str, str, int]:
    """Hang a bar for each marked area; return the unit, what the longest stands for, and how many are cut.

    It stands for a round number, which stays while thresholds move, and with it the axis.
    """
    known_mm = all(summary.lesion_mm2 is not None for summary in ordered)
    areas = {s.slice_index: (s.lesion_mm2 or 0) / 100 if known_mm else s.lesion_px for s in ordered}
    unit, areas = "cm²" if known_mm else "px", {index: area for index, area in areas.items() if area > 0}
    most = style.round_step(bar_scale([*areas.values()]), steps=_ENDS)
    if not most:
        return unit, "", 0
    bars = [(index + 0.5, index + 1.5, -_BARS * min(1.0, area / most), 0.0) for index, area in areas.items()]
    _rectangles(axes, bars, ORANGE, gid="areas")
    return unit, f"{most:g}", sum(area > most for area in areas.values())


def _rectangles(
    axes: Axes, edges: Sequence[tuple[float, float, float, float]], colour: str, *, gid: str
) -> None:
    """Fill rectangles from left to right and from bottom to top; `Axes.bar` takes ten times as long."""
    corners = np.array(edges)[:, [[0, 2], [1, 2], [1, 3], [0, 3]]]
    axes.add_collection(PolyCollection(list(corners), facecolor=colour, linewidth=0, gid=gid), autolim=False)


def _runs(indices: Collection[int]) -> list[tuple[float, float]]:
    """Return from where to where on the axis neighbouring slices reach."""
    stretches = itertools.groupby(enumerate(sorted(indices)), key=lambda pair: pair[1] - pair[0])
    runs = [[index for _, index in stretch] for _, stretch in stretches]
    return [(run[0] + 0.5, run[-1] + 1.5) for run in runs]
