"""Heat map of the RoI batch as module S reads it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from model_core.base.arrays import FloatArray
from model_core.base.errors import SettingsError
from model_core.base.results import probability_text
from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.scene.palette import DEEP_ORANGE, DEEP_SKY, ORANGE, PALE_ORANGE, PALE_SKY, PAPER, SKY

# What the network does to its proposal: dx, dy, dw and dh of the papers, in words.
COLUMNS = ("score", "right", "down", "wider", "taller")


def roi_batch_image(
    figure: Figure,
    rows: FloatArray,
    *,
    selected: Sequence[int] = (),
    theme: style.ThemeName = "dark",
) -> None:
    """Draw the N x 5 batch, rank 1 on top, blue below zero and orange above.

    Each column is scaled on its own, by its largest magnitude, which stands under its name (§5.2).

    Parameters
    ----------
    rows:
        (N, 5) raw score, as the network gives it, and encoded deltas dx, dy, dw, dh. Values that are not
        finite stay blank.
    selected:
        Row indices (from 0) to point at, such as the copies of one RoI.

    Raises
    ------
    SettingsError
        If ``rows`` is not N x 5 or the theme is unknown.
    """
    colours = style.theme_named(theme)
    values = np.asarray(rows, np.float32)
    if values.ndim != 2 or values.shape[1] != len(COLUMNS):
        shape = " x ".join(map(str, values.shape))
        raise SettingsError(f"The RoI batch is a table of N x {len(COLUMNS)} numbers, not {shape}.")
    if not (np.isfinite(values) & (values != 0)).any():
        style.message(figure, colours, "No regions")
        return
    margins = Margins(left=0.60, right=0.46, bottom=0.10, top=0.42)
    axes = style.start(figure, colours, margins, again="roi-batch")
    count, columns = len(values), len(COLUMNS)
    scales = batch_rows(axes, values, colours)
    _scale_bar(axes, colours, count)
    axes.set_ylabel("rank", color=colours.text, fontsize=style.TEXT_PT, labelpad=3)
    # Room between the labels and the picture for the marks of selected rows.
    axes.tick_params(axis="y", length=0, pad=7)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0, labelcolor=colours.text, labelsize=_header_pt(figure))
    # Scores have one sign, deltas two.
    highest = probability_text(float(scales[0]))
    labels = [f"raw score\n{highest if highest.startswith('>') else f'≤ {highest}'}"]
    labels += [f"{name}\n± {scale:.2g}" for name, scale in zip(COLUMNS[1:], scales[1:], strict=True)]
    style.fix_ticks(axes.xaxis, range(columns), labels)
    _pointers(axes, colours, sorted({row for row in selected if 0 <= row < count}))


def batch_rows(axes: Axes, rows: FloatArray, colours: style.Theme) -> FloatArray:
    """Draw the (N, 5) rows with their ranks, without other words, see `roi_batch_image`.

    Returns
    -------
    (5,) the magnitude in each column that has the full colour.
    """
    finite, count, columns = np.isfinite(rows), len(rows), len(COLUMNS)
    scales: FloatArray = np.where(finite, np.abs(rows), 0).max(axis=0)
    with np.errstate(invalid="ignore"):
        shares = np.where(finite, rows / np.where(scales > 0, scales, 1), np.nan)
    _picture(axes, colours, np.ma.masked_invalid(shares), (-0.5, columns - 0.5, count + 0.5, 0.5), "batch")
    axes.vlines(np.arange(columns) + 0.5, 0.5, count + 0.5, color=colours.background, linewidth=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    ranks = np.unique(np.rint(np.linspace(1, count, min(5, count)))).astype(int).tolist()
    style.fix_ticks(axes.yaxis, ranks, [str(rank) for rank in ranks])
    return scales


def _header_pt(figure: Figure) -> float:
    """Return the text size at which neighbouring column headers stay apart in a narrow figure."""
    return float(np.clip(style.SMALL_PT * figure.get_size_inches()[0] / 3.0, 5.5, style.SMALL_PT))


def _picture(
    axes: Axes, colours: style.Theme, shares: FloatArray, extent: tuple[float, float, float, float], gid: str
) -> None:
    axes.imshow(
        shares,
        cmap=_colour_map(colours),
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=extent,
        gid=gid,
    )


def _scale_bar(axes: Axes, colours: style.Theme, count: int) -> None:
    """Draw the meaning of the colours as a sixth, narrow column; cheaper than axes of its own."""
    left, right = len(COLUMNS) - 0.32, len(COLUMNS) - 0.12
    shares = np.linspace(1, -1, 65, dtype=np.float32)[:, None]
    _picture(axes, colours, shares, (left, right, count + 0.5, 0.5), "scale")
    axes.set_xlim(-0.5, right)
    axes.set_ylim(count + 0.5, 0.5)
    for share, text in ((0.0, "−max"), (0.5, "0"), (1.0, "+max")):
        axes.annotate(
            text,
            (1, share),
            (3, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colours.muted,
            fontsize=style.SMALL_PT,
            va="bottom" if share == 0 else "top" if share == 1 else "center",
        )


def _pointers(axes: Axes, colours: style.Theme, rows: list[int]) -> None:
    """Mark rows by bars at the left edge, so that their colours stay visible; neighbours join."""
    if not rows:
        return
    starts = [row for row in rows if row - 1 not in rows]
    ends = [row for row in rows if row + 1 not in rows]
    axes.vlines(
        [-0.58] * len(starts),
        [start + 0.5 for start in starts],
        [end + 1.5 for end in ends],
        color=colours.selected,
        linewidth=4,
        capstyle="projecting" if len(rows) < 4 else "butt",
        clip_on=False,
        gid="selected",
        zorder=5,
    )


@cache
def _colour_map(theme: style.Theme) -> Colormap:
    # The middle is a little off the background, so that zero and blank differ.
    stops = [PALE_SKY, SKY, theme.grid, ORANGE, PALE_ORANGE]
    if theme is style.THEMES["light"]:
        stops = [DEEP_SKY, SKY, PAPER, ORANGE, DEEP_ORANGE]
    return LinearSegmentedColormap.from_list("batch", stops).with_extremes(bad=theme.background)
