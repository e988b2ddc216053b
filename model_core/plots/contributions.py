"""What each region contributes to a logit: as bars, and as colour on the slice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model_core.base.arrays import ByteArray, DoubleArray
from model_core.base.errors import SettingsError
from model_core.base.results import RoiRow
from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.scene.palette import ORANGE, PALE_ORANGE, PALE_SKY, SKY
from model_core.scene.reasons import signed_logit

# Bars of single regions; all others are one bar.
MOST_BARS = 14
# Regions with their number on the slice.
_MOST_NUMBERS = 12
# So far apart, as a share of the width.
_APART = 0.04
_BAR = 0.66
# Where all contribute less (logits), none has a strong colour: nothing hangs on them.
_LEAST = 0.25
# The least and the most that a region hides of the slice.
_FAINT, _STRONG = 0.04, 0.5


def contribution_bars(
    figure: Figure,
    ranks: Sequence[int],
    contributions: Sequence[float] | DoubleArray,
    *,
    baseline: float | None,
    logit: float | None,
    name: str,
    largest_first: bool = True,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw the first contributions as bars, the first on top, and the sums of all others.

    Parameters
    ----------
    ranks:
        Of each region, from 1.
    contributions:
        In logits of ``name``; orange speaks for it, blue against it.
    baseline, logit:
        Where contributions add up from and to; None where they do not: then no sum is drawn.
    largest_first:
        Otherwise regions are in the order given.

    Raises
    ------
    SettingsError
        If there are not as many contributions as ranks, or the theme is unknown.
    """
    colours = style.theme_named(theme)
    values = np.asarray(contributions, np.float64)
    if len(ranks) != len(values):
        raise SettingsError(f"Each region needs one contribution: {len(ranks)} and {len(values)}.")
    if not len(values) or not np.isfinite(values).all():
        style.message(figure, colours, "No contributions")
        return
    order = np.argsort(-np.abs(values), kind="stable") if largest_first else np.arange(len(values))
    # Signs stay apart, so that no large ones hide in a small sum.
    first, rest = order[:MOST_BARS], values[order[MOST_BARS:]]
    bars = [(f"region {ranks[k]}", float(values[k])) for k in first.tolist()]
    if len(rest) and baseline is not None:
        others = f"{len(rest)} others"
        bars += [
            (f"{others}, for", float(rest[rest > 0].sum())),
            (f"{others}, against", float(rest[rest < 0].sum())),
        ]
    axes = style.start(figure, colours, Margins(left=1.3, right=0.62, bottom=0.42, top=0.28))
    axes.set_xlabel(f"contribution to the logit of {name}", color=colours.text, fontsize=style.TEXT_PT)
    rows = np.arange(len(bars))
    lengths = [value for _, value in bars]
    axes.barh(rows, lengths, _BAR, color=[ORANGE if value > 0 else SKY for value in lengths], gid="bars")
    axes.axvline(0, color=colours.faint, linewidth=0.8)
    span = max(max(map(abs, lengths)), 1e-9)
    low, high = min(*lengths, 0.0), max(*lengths, 0.0)
    axes.set_xlim(low - 0.22 * span, high + 0.06 * span)
    for row, value in enumerate(lengths):
        axes.annotate(
            signed_logit(value), (1, row), (6, 0), ("axes fraction", "data"), "offset points",
            color=colours.text, fontsize=style.SMALL_PT, va="center", gid="value",
        )  # fmt: skip
    axes.set_ylim(len(bars) - 0.4, -0.6)
    style.fix_ticks(axes.yaxis, rows.tolist(), [text for text, _ in bars])
    axes.spines["left"].set_visible(False)
    if baseline is not None and logit is not None:
        parts = map(signed_logit, (baseline, float(values.sum()), logit))
        line = "controls {}, regions {}: slice {}".format(*parts)
        style.headline(axes, colours, line, colour=colours.text)
    else:
        those = "largest" if largest_first else "first"
        line = f"the {those} of {len(values)}; they do not add up"
        style.headline(axes, colours, line, colour=colours.text)


def contribution_map(
    figure: Figure,
    grey: ByteArray,
    rois: Sequence[RoiRow],
    contributions: Sequence[float] | DoubleArray,
    *,
    name: str,
    aspect: float = 1.0,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw the slice with each region's box in the colour of its contribution, the largest on top.

    Parameters
    ----------
    grey:
        (H, W) the slice as shown.
    contributions:
        One for each of ``rois``, in logits of ``name``; orange speaks for it, blue against it.
    aspect:
        Height of a pixel to its width.

    Raises
    ------
    SettingsError
        If there are not as many contributions as regions, or the theme is unknown.
    """
    colours = style.theme_named(theme)
    values = np.asarray(contributions, np.float64)
    if len(rois) != len(values):
        raise SettingsError(f"Each region needs one contribution: {len(rois)} and {len(values)}.")
    axes = style.start(figure, colours, Margins(left=0.1, right=0.55, bottom=0.1, top=0.3))
    height, width = grey.shape
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), aspect=aspect)
    axes.set_axis_off()
    largest = max((abs(value) for value in values.tolist() if math.isfinite(value)), default=0.0)
    largest = max(largest, _LEAST)
    scale = Normalize(-largest, largest)
    shades = LinearSegmentedColormap.from_list(
        "contribution", [SKY, PALE_SKY, colours.faint, PALE_ORANGE, ORANGE]
    )
    order = np.argsort(np.abs(values), kind="stable").tolist()
    for k in order:
        share = abs(values[k]) / largest
        colour = SKY if values[k] < 0 else ORANGE
        left, top, right, bottom = rois[k].box
        place = ((left, top), right - left, bottom - top)
        axes.add_patch(
            Rectangle(*place, facecolor=colour, alpha=_FAINT + (_STRONG - _FAINT) * share, linewidth=0)
        )
        axes.add_patch(
            Rectangle(
                *place, fill=False, edgecolor=shades(scale(values[k])), alpha=0.25 + 0.75 * share,
                linewidth=0.5 + 1.5 * share, gid="region",
            )
        )  # fmt: skip
    placed: list[tuple[float, float]] = []
    for k in order[::-1][:_MOST_NUMBERS]:
        left, top, _, _ = rois[k].box
        # Of numbers that would lie on each other the first is of the largest contribution.
        if any(max(abs(left - x), abs(top - y)) < _APART * width for x, y in placed):
            continue
        placed.append((left, top))
        axes.annotate(
            f"{rois[k].rank}", (left, top), (1, 1.5), textcoords="offset points", color="white",
            fontsize=style.SMALL_PT, va="bottom", gid="number",
            bbox={"boxstyle": "square,pad=0.12", "facecolor": "black", "alpha": 0.55, "linewidth": 0},
        )  # fmt: skip
    bar = figure.colorbar(ScalarMappable(scale, shades), ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(colors=colours.muted, labelsize=style.SMALL_PT)
    bar.outline.set_visible(False)
    style.headline(
        axes, colours, f"contribution to the logit of {name}: orange for, blue against", colour=colours.text
    )
