"""Plots of how a data set is distributed, in light _COLOURS: they are for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.scene import image_colour

# Distinct whole numbers that still get a bar each; bars of other numbers.
_MOST_STEPS, _BINS = 40, 24
_COLOURS = style.THEMES["light"]


def whole_numbers(figure: Figure, values: Sequence[int], *, x: str) -> None:
    """Draw how many pictures have each whole number (not negative), one bar per number from 0.

    Of a wide range, several numbers share a bar. ``x`` says what is counted.
    """
    if not values:
        style.message(figure, _COLOURS, "No values")
        return
    most = max(values)
    step = max(1, -(-(most + 1) // _MOST_STEPS))
    edges = np.arange(0, most + 1 + step, step) - 0.5
    _bars(figure, np.asarray(values, np.float64), edges, x=x, y="pictures")


def histogram(
    figure: Figure, values: Sequence[float], *, x: str, y: str = "pictures", log: bool = False
) -> None:
    """Draw a histogram of numbers, with ``log`` over a logarithmic axis (all values above 0)."""
    if not values:
        style.message(figure, _COLOURS, "No values")
        return
    numbers = np.asarray(values, np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if log:
        edges = np.geomspace(low * 0.95, high * 1.05, _BINS + 1)
    else:
        edges = np.linspace(0, high * 1.02 or 1.0, _BINS + 1)
    _bars(figure, numbers, edges, x=x, y=y, log=log)


def class_counts(figure: Figure, names: Sequence[str], counts: Sequence[int]) -> None:
    """Draw one horizontal bar per image class with its number of pictures, in the order given."""
    if not names:
        style.message(figure, _COLOURS, "No classes")
        return
    # A character is some 0.075 inches wide at this text size.
    left = 0.2 + 0.075 * max(len(name) for name in names)
    axes = style.start(figure, _COLOURS, Margins(left=left, right=0.6, bottom=0.45, top=0.15))
    rows = np.arange(len(names))
    fill = [image_colour(name, number) for number, name in enumerate(names)]
    axes.barh(rows, counts, 0.62, color=fill, edgecolor=_COLOURS.edge, linewidth=0.6, gid="bars")
    for row, count in zip(rows, counts, strict=True):
        axes.annotate(
            f"{count:,}", (count, row), (4, 0), "data", "offset points",
            color=_COLOURS.text, fontsize=style.SMALL_PT, va="center", gid="value",
        )  # fmt: skip
    axes.set_xlabel("pictures", color=_COLOURS.text, fontsize=style.TEXT_PT, labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(len(names) - 0.4, -0.6)
    style.fix_ticks(axes.yaxis, rows.tolist(), names)


def picture_sizes(figure: Figure, sizes: Mapping[tuple[int, int], int]) -> None:
    """Draw a dot per picture size (rows, columns), its area growing with the number of pictures."""
    if not sizes:
        style.message(figure, _COLOURS, "No values")
        return
    axes = style.start(figure, _COLOURS, Margins(left=0.6, right=0.15, bottom=0.45, top=0.3))
    rows, columns = np.asarray(list(sizes), np.float64).T
    counts = np.asarray(list(sizes.values()), np.float64)
    axes.scatter(
        columns, rows, 18 + 260 * (counts - 1) / max(float(counts.max()), 2.0),
        color=_COLOURS.muted, edgecolor=_COLOURS.edge, linewidth=0.6, alpha=0.8, gid="sizes",
    )  # fmt: skip
    side = 1.12 * max(float(rows.max()), float(columns.max()))
    axes.set_xlim(0, side)
    axes.set_ylim(0, side)
    style.label_axes(axes, _COLOURS, "width (pixels)", "height (pixels)")
    most, count = max(sizes.items(), key=lambda item: item[1])
    text = f"{len(sizes)} sizes, most often {most[1]} x {most[0]} ({count:,})"
    style.headline(axes, _COLOURS, text if len(sizes) > 1 else f"all {most[1]} x {most[0]}", right=True)


def _bars(
    figure: Figure,
    numbers: np.ndarray,
    edges: np.ndarray,
    *,
    x: str,
    y: str,
    log: bool = False,
) -> None:
    axes = style.start(figure, _COLOURS, Margins(left=0.6, right=0.15, bottom=0.45, top=0.3))
    counts, _ = np.histogram(numbers, edges)
    axes.bar(
        edges[:-1], counts, np.diff(edges), align="edge",
        color=_COLOURS.muted, edgecolor=_COLOURS.edge, linewidth=0.6, gid="bars",
    )  # fmt: skip
    if log:
        axes.set_xscale("log")
    style.label_axes(axes, _COLOURS, x, y)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    middle = float(np.median(numbers))
    axes.axvline(middle, color=_COLOURS.text, linewidth=1, linestyle="--", gid="median")
    style.headline(axes, _COLOURS, f"n = {len(numbers):,}, median {middle:.3g} (dashed)", right=True)
