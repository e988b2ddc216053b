"""What the logit of one region hangs on, as colour on the slice: one panel for each way of asking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model_core.base.arrays import ByteArray, DoubleArray, FloatArray
from model_core.plots import style
from model_core.scene.palette import ORANGE, SKY

# So much of the slice is shown around the proposal, in its sizes.
_AROUND = 0.4
# No colour hides more of the slice than this; what is near 0 hides nothing.
_STRONG = 0.75
# Of the pixels of a map that are not 0, those beyond have the strongest colour.
_MOST = 0.99
# Side of what an empty box is drawn as, in slice pixels.
_LEAST = 0.1
Box = Sequence[float] | FloatArray


@dataclass(frozen=True, eq=False)
class RegionMap:
    """A map of one panel: its title, its numbers, and the box in slice pixels that it fills.

    ``interpolated`` maps are pixels; others are drawn as the cells that they are.
    """

    title: str
    values: FloatArray | DoubleArray
    box: Box
    interpolated: bool = False


def region_maps(
    figure: Figure,
    grey: ByteArray,
    maps: Sequence[RegionMap],
    *,
    proposal: Box,
    box: Box,
    name: str,
    aspect: float = 1.0,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw the maps side by side in two columns, each on the slice around the region.

    Parameters
    ----------
    grey:
        (H, W) the slice as shown.
    proposal, box:
        The box that is held fixed, dashed, and the region's own, in slice pixels.
    name:
        Stands above.
    aspect:
        Height of a pixel to its width.

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    figure.clear()
    figure.set_facecolor(colours.background)
    height, width = grey.shape
    left, top, right, bottom = _around(maps, proposal, aspect)
    for place, one in enumerate(maps):
        axes = figure.add_subplot(-(-len(maps) // 2), min(2, len(maps)), place + 1)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), aspect=aspect)
        sizes = np.abs(one.values)
        # A few pixels would take the colours of all others.
        largest = max(float(np.quantile(sizes[sizes > 0], _MOST) if one.interpolated and sizes.any()
                            else sizes.max()), 1e-9)  # fmt: skip
        shades = LinearSegmentedColormap.from_list(
            "region",
            [
                (0.0, (*to_rgb(SKY), _STRONG)),
                (0.5, (*to_rgb(SKY), 0.0)),
                (0.5, (*to_rgb(ORANGE), 0.0)),
                (1.0, (*to_rgb(ORANGE), _STRONG)),
            ],
        )
        scale = Normalize(-largest, largest)
        # Proposals may be empty: then there is a line to see, of less than a pixel.
        x1, y1, x2, y2 = one.box
        x2, y2 = max(x2, x1 + _LEAST), max(y2, y1 + _LEAST)
        axes.imshow(
            one.values, cmap=shades, norm=scale, extent=(x1, x2, y2, y1), aspect=aspect,
            interpolation="bilinear" if one.interpolated else "nearest", gid="map",
        )  # fmt: skip
        for edges, dashed in ((proposal, True), (box, False)):
            x1, y1, x2, y2 = edges
            axes.add_patch(
                Rectangle(
                    (x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=1.0,
                    linestyle="--" if dashed else "-", gid="proposal" if dashed else "region",
                )
            )  # fmt: skip
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_axis_off()
        axes.set_title(one.title, color=colours.text, fontsize=style.TEXT_PT, loc="left")
        bar = figure.colorbar(ScalarMappable(scale, shades), ax=axes, fraction=0.046, pad=0.03)
        bar.ax.tick_params(colors=colours.muted, labelsize=style.SMALL_PT)
        bar.ax.set_facecolor(colours.background)
        bar.outline.set_visible(False)
    figure.subplots_adjust(left=0.03, right=0.93, bottom=0.03, top=0.87, hspace=0.2, wspace=0.25)
    figure.text(
        0.03, 0.955, f"{name}: orange for, blue against; dashed the proposal, solid the region",
        color=colours.text, fontsize=style.TEXT_PT, gid="note",
    )  # fmt: skip


def _around(maps: Sequence[RegionMap], proposal: Box, aspect: float) -> tuple[float, float, float, float]:
    """Return what is shown: a square that holds the proposal with its surroundings, and all cells."""
    left, top, right, bottom = (float(edge) for edge in proposal)
    across, down = _AROUND * (right - left), _AROUND * (bottom - top)
    boxes = [one.box for one in maps if not one.interpolated]
    left, top = (min(edge, *(float(box[k]) for box in boxes))
                 for k, edge in ((0, left - across), (1, top - down)))  # fmt: skip
    right, bottom = (max(edge, *(float(box[k]) for box in boxes))
                     for k, edge in ((2, right + across), (3, bottom + down)))  # fmt: skip
    half = max(right - left, (bottom - top) * aspect) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half / aspect, x + half, y + half / aspect
