"""Scores of all regions of a scan beside those of controls."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from model_core.base.arrays import DoubleArray
from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.scene.palette import GREEN

# Shares below are drawn at the lower edge.
_LEAST = 1e-4
# Where the second name begins, in points after the first.
_SECOND = 38
# Narrower figures (inches) have the distances in a line of their own.
_WIDE = 4.1


def scan_rois(
    figure: Figure,
    scan: DoubleArray,
    controls: DoubleArray,
    *,
    slices: tuple[int, int],
    distances: tuple[float, float],
    theme: style.ThemeName = "dark",
) -> None:
    """Draw which share of the regions has which score: bars of the scan, a line of the controls.

    Parameters
    ----------
    scan, controls:
        (B,) shares in equal bins over 0..1; the upright axis is logarithmic.
    slices:
        Of how many slices of the scan and of controls.
    distances:
        Wasserstein and Jensen-Shannon.

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    above = int(figure.get_figwidth() < _WIDE)
    margins = Margins(left=0.66, right=0.14, bottom=0.40, top=0.26 + 0.17 * above)
    axes = style.start(figure, colours, margins, grid="y")
    own, others = slices
    named = f"raw score (0–1); {own} slices, controls {others}"
    style.label_axes(axes, colours, named, "share of regions")
    edges = np.linspace(0, 1, len(scan) + 1)
    axes.stairs(np.maximum(scan, _LEAST), edges, baseline=_LEAST, fill=True, color=colours.muted, gid="scan")
    line = style.legible(GREEN, colours)
    axes.stairs(np.maximum(controls, _LEAST), edges, baseline=None, color=line, linewidth=1.8, gid="controls")
    axes.set_yscale("log")
    axes.set_ylim(_LEAST, 1.0)
    style.fix_ticks(axes.yaxis, (1e-4, 1e-2, 1), ("0.01 %", "1 %", "100 %"))
    style.score_axis(axes)
    style.headline(axes, colours, "■ scan", line=above)
    style.headline(axes, colours, "— controls", colour=line, along=_SECOND, line=above)
    style.headline(axes, colours, "Wasserstein {:.3f}, Jensen–Shannon {:.2f}".format(*distances), right=True)
