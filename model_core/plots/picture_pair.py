"""A slice as it is and changed, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from model_core.base.arrays import BoolArray, ByteArray
from model_core.plots import style
from model_core.scene.palette import ASKED, LETTER, ORANGE


def picture_pair(
    figure: Figure,
    pictures: tuple[ByteArray, ByteArray],
    marked: tuple[BoolArray, BoolArray],
    area: BoolArray,
    *,
    titles: tuple[str, str],
    notes: Sequence[str],
    letters: tuple[str, str] = ("", ""),
    aspect: float = 1.0,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw two (H, W) pictures with what is marked in each, and the changed area dashed in both.

    Parameters
    ----------
    titles:
        Stand above.
    notes:
        Lines below.
    letters:
        Of orientation, at the left and the right edge.
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
    height, width = pictures[0].shape
    for place, (grey, mask, title) in enumerate(zip(pictures, marked, titles, strict=True)):
        axes = figure.add_subplot(1, 2, place + 1)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), aspect=aspect)
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        for shape, colour, dashed in ((area, ASKED, "dashed"), (mask, ORANGE, "solid")):
            if shape.any():
                axes.contour(x, y, shape, levels=[0.5], colors=[colour], linewidths=1.0, linestyles=dashed)
        axes.set_axis_off()
        for letter, where, side in zip(letters, (0.015, 0.985), ("left", "right"), strict=True):
            axes.text(
                where, 0.5, letter, transform=axes.transAxes, ha=side, va="center", color=LETTER,
                fontsize=style.TEXT_PT + 2, fontweight="bold", gid="letter",
            )  # fmt: skip
        axes.set_title(title, color=colours.text, fontsize=style.TEXT_PT, loc="left", gid="title")
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.17, top=0.93, wspace=0.03)
    legend = "Solid: what the network marks. Dashed: what was changed."
    for line, text in enumerate((*notes, legend)):
        figure.text(
            0.02, 0.125 - 0.033 * line, text, color=colours.text if line < len(notes) else colours.muted,
            fontsize=style.TEXT_PT, gid="note",
        )  # fmt: skip
