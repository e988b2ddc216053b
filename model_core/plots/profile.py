"""Probability of pneumonia and area of lesions along the slices of a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from model_core.base.results import ILL_PROBABILITY, SliceSummary
from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.scene.palette import AMBER, ORANGE, PNEUMONIA


def scan_profile(
    figure: Figure,
    summaries: Sequence[SliceSummary],
    *,
    slices: int,
    deciding: Sequence[int] = (),
    theme: style.ThemeName = "dark",
) -> None:
    """Draw the scan from its first slice at the left to its last.

    Above, the probability that a slice shows pneumonia as points with the limit of one half; slices outside
    the lungs are shaded. Below zero hang bars of the marked area of each slice. Triangles mark the deciding
    slices. Slices that were not analysed are left blank; without any probability there is no upper part.

    Parameters
    ----------
    summaries:
        Of the analysed slices, in any order.
    slices:
        How many slices the scan has.
    deciding:
        Slices, from 0.

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
    axes = style.start(figure, colours, Margins(left=0.66, right=0.62, bottom=0.42, top=0.28))
    axes.set_xlabel("slice", color=colours.text, fontsize=style.TEXT_PT)
    axes.set_xlim(0.4, slices + 0.6)
    axes.set_ylim(-0.55, 1.05)
    numbers = np.array([summary.slice_index + 1 for summary in ordered])
    for number, summary in zip(numbers.tolist(), ordered, strict=True):
        if summary.lung is False:
            axes.axvspan(number - 0.5, number + 0.5, color=colours.grid, linewidth=0, gid="outside")
    known_mm = all(summary.lesion_mm2 is not None for summary in ordered)
    areas = np.array([(s.lesion_mm2 if known_mm else s.lesion_px) or 0 for s in ordered], np.float64)
    if known_mm:
        areas /= 100.0
    largest = float(areas.max())
    if largest > 0:
        axes.bar(numbers, -0.5 * areas / largest, 1.0, color=ORANGE, linewidth=0, gid="areas")
    chances = [(n, s.ill_probability) for n, s in zip(numbers.tolist(), ordered, strict=True)]
    known = [(n, p) for n, p in chances if p is not None]
    axes.axhline(0, color=colours.muted, linewidth=0.8)
    if known:
        axes.axhline(ILL_PROBABILITY, color=colours.muted, linewidth=0.8, linestyle=":")
        x, y = zip(*known, strict=True)
        axes.scatter(x, y, s=9, color=style.legible(PNEUMONIA, colours), linewidths=0, gid="chances")
    by_number = dict(known)
    for index in deciding:
        place = by_number.get(index + 1)
        if place is not None:
            axes.plot([index + 1], [1.03], marker="v", color=style.legible(AMBER, colours), markersize=5)
    unit, most = "cm²" if known_mm else "px", f"{largest:.3g}" if largest else ""
    if known:
        style.fix_ticks(axes.yaxis, (-0.5, 0, 0.5, 1), (most, "0", "0.5", "1"))
        axes.set_ylabel("P(pneumonia)", color=colours.text, fontsize=style.SMALL_PT, y=0.66)
    else:
        axes.set_ylim(-0.55, 0.05)
        style.fix_ticks(axes.yaxis, (-0.5, 0), (most, "0"))
    bars = "bars below" if known else "bars"
    style.headline(axes, colours, f"{bars}: marked area, {unit}; shaded: outside the lung")
    if deciding:
        style.headline(axes, colours, "▼ deciding", right=True, colour=style.legible(AMBER, colours))
