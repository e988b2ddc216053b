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
_AROUND = 0.75
# No colour hides more of the slice than this; what is near 0 hides nothing.
_STRONG = 0.75
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
    left, top, right, bottom = _around(maps, proposal)
    for place, one in enumerate(maps):
        axes = figure.add_subplot(-(-len(maps) // 2), min(2, len(maps)), place + 1)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), aspect=aspect)
        largest = max(float(np.abs(one.values).max()), 1e-9)
        shades = LinearSegmentedColormap.from_list(
            "region",
            [
                (*to_rgb(SKY), _STRONG),
                (*to_rgb(SKY), 0.0),
                (*to_rgb(ORANGE), 0.0),
                (*to_rgb(ORANGE), _STRONG),
            ],
        )
        scale = Normalize(-largest, largest)
        x1, y1, x2, y2 = one.box
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


def _around(maps: Sequence[RegionMap], proposal: Box) -> tuple[float, float, float, float]:
    """Return what is shown: the proposal and its surroundings, and all cells."""
    left, top, right, bottom = (float(edge) for edge in proposal)
    across, down = _AROUND * (right - left), _AROUND * (bottom - top)
    boxes = [one.box for one in maps if not one.interpolated]
    return (
        min(left - across, *(float(box[0]) for box in boxes)),
        min(top - down, *(float(box[1]) for box in boxes)),
        max(right + across, *(float(box[2]) for box in boxes)),
        max(bottom + down, *(float(box[3]) for box in boxes)),
    )
