"""Plots of how a data set is distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.scene import image_colour

# Distinct whole numbers that still get a bar each.
_MOST_STEPS = 40


def whole_numbers(
    figure: Figure, values: Sequence[int], *, x: str, y: str = "pictures", theme: style.ThemeName = "light"
) -> None:
    """Draw how often each whole number occurs (instances per picture), one bar per number from 0.

    Parameters
    ----------
    values:
        Not negative. Of a wide range, several numbers share a bar.
    x, y:
        What is counted, and of what.

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    if not values:
        style.message(figure, colours, "No values")
        return
    most = max(values)
    step = max(1, -(-(most + 1) // _MOST_STEPS))
    edges = np.arange(0, most + 1 + step, step) - 0.5
    _bars(figure, np.asarray(values, np.float64), edges, x=x, y=y, theme=theme)


def histogram(
    figure: Figure,
    values: Sequence[float],
    *,
    x: str,
    y: str = "pictures",
    log: bool = False,
    bins: int = 24,
    theme: style.ThemeName = "light",
) -> None:
    """Draw a histogram of numbers, with ``log`` over a logarithmic axis (all values above 0).

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    if not values:
        style.message(figure, colours, "No values")
        return
    numbers = np.asarray(values, np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if log:
        edges = np.geomspace(low * 0.95, high * 1.05, bins + 1)
    else:
        edges = np.linspace(0, high * 1.02 or 1.0, bins + 1)
    _bars(figure, numbers, edges, x=x, y=y, theme=theme, log=log)


def class_counts(
    figure: Figure, names: Sequence[str], counts: Sequence[int], *, theme: style.ThemeName = "light"
) -> None:
    """Draw one horizontal bar per image class with its number of pictures, in the given order from the top.

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    if not names:
        style.message(figure, colours, "No classes")
        return
    # A character is some 0.075 inches wide at this text size.
    left = 0.2 + 0.075 * max(len(name) for name in names)
    axes = style.start(figure, colours, Margins(left=left, right=0.6, bottom=0.45, top=0.15))
    rows = np.arange(len(names))
    fill = [image_colour(name, number) for number, name in enumerate(names)]
    axes.barh(rows, counts, 0.62, color=fill, edgecolor=colours.edge, linewidth=0.6, gid="bars")
    for row, count in zip(rows, counts, strict=True):
        axes.annotate(
            f"{count:,}", (count, row), (4, 0), "data", "offset points",
            color=colours.text, fontsize=style.SMALL_PT, va="center", gid="value",
        )  # fmt: skip
    axes.set_xlabel("pictures", color=colours.text, fontsize=style.TEXT_PT, labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylim(len(names) - 0.4, -0.6)
    style.fix_ticks(axes.yaxis, rows.tolist(), names)


def picture_sizes(
    figure: Figure, sizes: Mapping[tuple[int, int], int], *, theme: style.ThemeName = "light"
) -> None:
    """Draw a dot per picture size, its area growing with the number of pictures.

    Parameters
    ----------
    sizes:
        Number of pictures by (rows, columns).

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    if not sizes:
        style.message(figure, colours, "No values")
        return
    axes = style.start(figure, colours, Margins(left=0.6, right=0.15, bottom=0.45, top=0.3))
    rows, columns = np.asarray(list(sizes), np.float64).T
    counts = np.asarray(list(sizes.values()), np.float64)
    axes.scatter(
        columns, rows, 18 + 260 * (counts - 1) / max(float(counts.max()), 2.0),
        color=colours.muted, edgecolor=colours.edge, linewidth=0.6, alpha=0.8, gid="sizes",
    )  # fmt: skip
    side = 1.12 * max(float(rows.max()), float(columns.max()))
    axes.set_xlim(0, side)
    axes.set_ylim(0, side)
    style.label_axes(axes, colours, "width (pixels)", "height (pixels)")
    most, count = max(sizes.items(), key=lambda item: item[1])
    text = f"{len(sizes)} sizes, most often {most[1]} x {most[0]} ({count:,})"
    style.headline(axes, colours, text if len(sizes) > 1 else f"all {most[1]} x {most[0]}", right=True)


def _bars(
    figure: Figure,
    numbers: np.ndarray,
    edges: np.ndarray,
    *,
    x: str,
    y: str,
    theme: style.ThemeName,
    log: bool = False,
) -> None:
    colours = style.theme_named(theme)
    axes = style.start(figure, colours, Margins(left=0.6, right=0.15, bottom=0.45, top=0.3))
    counts, _ = np.histogram(numbers, edges)
    axes.bar(
        edges[:-1], counts, np.diff(edges), align="edge",
        color=colours.muted, edgecolor=colours.edge, linewidth=0.6, gid="bars",
    )  # fmt: skip
    if log:
        axes.set_xscale("log")
    style.label_axes(axes, colours, x, y)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    middle = float(np.median(numbers))
    axes.axvline(middle, color=colours.text, linewidth=1, linestyle="--", gid="median")
    style.headline(axes, colours, f"n = {len(numbers):,}, median {middle:.3g} (dashed)", right=True)
