"""Bars of the class probabilities."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from model_core.base.errors import SettingsError
from model_core.base.results import probability_text
from model_core.plots import style
from model_core.plots.margins import Margins
from model_core.scene import image_colour

# Width of a character of the sans-serif font, bold and wide ones on average, as a share of its size.
CHARACTER = 0.64
BAR_HEIGHT = 0.34
BOTTOM, TOP = 0.40, 0.06  # margins in inches


def class_bars(
    figure: Figure,
    names: Sequence[str],
    probabilities: Sequence[float],
    *,
    from_bias: bool = False,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw one horizontal bar per class, in the given order from the top, with its name above it.

    Parameters
    ----------
    names:
        Class names of the card; long ones are broken into two lines and then shortened.
    probabilities:
        0..1 each; they need not sum to 1 (each is the sigmoid of its own logit). One that is no number gets
        a dash instead of a bar.
    from_bias:
        No region was left in the evidence: no class stands out, and the axis says what the bars are.

    Raises
    ------
    SettingsError
        If there are not as many names as probabilities, or the theme is unknown.
    """
    colours = style.theme_named(theme)
    values = [float(value) for value in probabilities]
    if len(names) != len(values):
        raise SettingsError(f"Each class needs one probability: {len(names)} names, {len(values)} values.")
    if not values:
        style.message(figure, colours, "No classes")
        return
    axes = style.start(figure, colours, Margins(left=0.12, right=0.60, bottom=BOTTOM, top=TOP))
    meaning = "the network's bias (0–1)" if from_bias else "class probability (0–1)"
    axes.set_xlabel(meaning, color=colours.text, fontsize=style.TEXT_PT)
    rows = np.arange(len(values))
    lengths = [min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0 for value in values]
    axes.barh(rows, [1.0] * len(rows), BAR_HEIGHT, color=colours.grid, gid="track")
    bars = [image_colour(name, number) for number, name in enumerate(names)]
    axes.barh(rows, lengths, BAR_HEIGHT, color=bars, gid="bars")
    likely = int(np.argmax(lengths))
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        weight = "bold" if row == likely and math.isfinite(value) and not from_bias else "normal"
        axes.annotate(
            _fit(name, figure, len(values)), (0, row - BAR_HEIGHT / 2), (0, 2), "data", "offset points",
            color=colours.text, fontsize=style.TEXT_PT, fontweight=weight, va="bottom", gid="name",
            linespacing=1.05,
        )  # fmt: skip
        text = probability_text(value) if math.isfinite(value) else "–"
        axes.annotate(
            text, (1, row), (6, 0), "data", "offset points",
            color=colours.text, fontsize=style.TEXT_PT + 0.5, fontweight=weight, va="center", gid="value",
        )  # fmt: skip
    style.score_axis(axes)
    axes.set_ylim(len(rows) - 0.7, -0.9)
    style.fix_ticks(axes.yaxis, (), ())
    axes.spines["left"].set_visible(False)


def _fit(name: str, figure: Figure, rows: int) -> str:
    """Break a name into as many lines (one or two) as the figure has room for."""
    width, height = figure.get_size_inches() * 72
    characters = max(int((width - 14) / (style.TEXT_PT * CHARACTER)), 8)
    room = (height - 72 * (BOTTOM + TOP)) / (rows + 0.2) * (1 - BAR_HEIGHT)
    lines = textwrap.wrap(name, characters, max_lines=2 if room > 2.4 * style.TEXT_PT else 1, placeholder="…")
    return "\n".join(lines)
