"""What the logit of one region hangs on, as colour on the slice: one panel for each way of asking."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model_core.base.arrays import ByteArray
from model_core.plots import style
from model_core.scene.maps import Box, RegionMap

# So much of the slice is shown around the proposal, in its sizes.
_AROUND = 0.4
# Side of what an empty box is drawn as, in slice pixels.
_LEAST = 0.1


def region_maps(
    figure: Figure,
    grey: ByteArray,
    maps: Sequence[RegionMap],
    *,
    proposal: Box,
    box: Box,
    name: str,
    note: str = "",
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
    name, note:
        Stand above, one below the other.
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
        colours_of = ListedColormap(one.colours / 255.0, "region")
        scale = Normalize(-one.largest, one.largest)
        # Proposals may be empty: then there is a line to see, of less than a pixel.
        x1, y1, x2, y2 = one.box
        x2, y2 = max(x2, x1 + _LEAST), max(y2, y1 + _LEAST)
        axes.imshow(
            one.values, cmap=colours_of, norm=scale, extent=(x1, x2, y2, y1), aspect=aspect,
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
        bar = figure.colorbar(ScalarMappable(scale, colours_of), ax=axes, fraction=0.046, pad=0.03)
        bar.ax.tick_params(colors=colours.muted, labelsize=style.SMALL_PT)
        bar.ax.set_facecolor(colours.background)
        bar.outline.set_visible(False)
    figure.subplots_adjust(left=0.03, right=0.93, bottom=0.03, top=0.87, hspace=0.2, wspace=0.25)
    figure.text(
        0.03, 0.968, f"{name}: orange for, blue against; dashed the proposal, solid the region\n{note}",
        color=colours.text, fontsize=style.TEXT_PT, gid="note", va="top", linespacing=1.6,
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
