"""Themes, text sizes and the empty state that all plots share.

Classes have their colours of `model_core.scene.palette`; no plot says anything by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from model_core.base.arrays import DoubleArray
from model_core.base.errors import SettingsError
from model_core.plots.margins import NOTE, Margins
from model_core.scene import rgb

ThemeName = Literal["dark", "light"]

TEXT_PT, SMALL_PT = 8.5, 8.0
_SHADE = 0.62


@dataclass(frozen=True)
class Theme:
    """Colours of one theme as ``#rrggbb``.

    Attributes
    ----------
    selected:
        Marks of what the user has picked.
    faint:
        Data that is only there for comparison.
    edge:
        Border of filled marks, so that overlapping ones stay countable.
    """

    background: str
    text: str
    muted: str
    grid: str
    faint: str
    selected: str
    edge: str


# The dark one continues the panels of resources/style/dark.qss; the light one is for reports.
THEMES: dict[str, Theme] = {
    "dark": Theme("#1a2028", "#dbe3ec", "#9fb0c2", "#2c3641", "#4d5b6b", "#ffffff", "#1a2028"),
    "light": Theme("#ffffff", "#1b2026", "#4d5965", "#dde2e8", "#b4bec9", "#000000", "#3a3a3a"),
}


def legible(colour: str, theme: Theme) -> str:
    """Return a class colour for text: on white, a darker shade, as most are too pale there."""
    if theme is not THEMES["light"]:
        return colour
    red, green, blue = (round(_SHADE * part) for part in rgb(colour))
    return f"#{red:02x}{green:02x}{blue:02x}"


def theme_named(name: str) -> Theme:
    """Return a theme.

    Raises
    ------
    SettingsError
        If there is none of that name.
    """
    if name not in THEMES:
        raise SettingsError(f"There is no plot theme {name!r}: use {' or '.join(THEMES)}.")
    return THEMES[name]


def start(figure: Figure, theme: Theme, margins: Margins, *, grid: str = "", again: str = "") -> Axes:
    """Return styled axes inside the margins of a figure on which nothing is drawn yet.

    ``grid``: along which axis, "x", "y" or "both". ``again`` names a plot that is drawn over and over: where
    the figure holds that one its axes are kept, with their ticks and names, and only what is drawn in them
    goes. Axes take most of the time of a drawing.
    """
    made = (again, theme.background)
    if again and figure.axes and getattr(figure.axes[0], "made_for", None) == made and not figure.texts:
        axes = figure.axes[0]
        for artist in drawn_in(axes):
            artist.remove()
        if vars(margins) != vars(figure.get_layout_engine()):
            figure.set_layout_engine(margins)
        return axes
    _clear(figure, theme)
    figure.set_layout_engine(margins)
    axes = figure.add_subplot()
    axes.made_for = made  # type: ignore[attr-defined]
    dress(axes, theme)
    if grid:
        axes.grid(visible=True, axis=grid, color=theme.grid, linewidth=0.7)  # type: ignore[arg-type]
    return axes


def dress(axes: Axes, theme: Theme, *, size: float = SMALL_PT) -> None:
    """Give axes the look of a theme, with tick labels of ``size`` points."""
    axes.set_facecolor(theme.background)
    axes.tick_params(colors=theme.muted, labelsize=size, length=3, width=0.8, pad=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.faint)
    axes.set_axisbelow(True)


def drawn_in(axes: Axes) -> list[Artist]:
    """Return what is drawn in axes, without the axes themselves."""
    return [*axes.collections, *axes.lines, *axes.images, *axes.texts, *axes.patches]


def points(
    axes: Axes, name: str, places: DoubleArray, *, size: float, face: str | Sequence[str],
    edge: str | Sequence[str] | None, **look: Any,
) -> PathCollection:  # fmt: skip
    """Draw (n, 2) points as `Axes.scatter` does; those of the same name are moved where axes are kept.

    ``look`` is the same whenever they are drawn; without ``edge``, for markers that are lines, ``face`` too.
    """
    made: dict[str, PathCollection] = axes.__dict__.setdefault("made_points", {})
    if (drawn := made.get(name)) is None:
        x, y = places.T
        drawn = made[name] = axes.scatter(x, y, s=size, facecolors=face, edgecolors=edge, **look)
        return drawn
    drawn.set_offsets(places)
    drawn.set_sizes([size])
    if edge is not None:
        drawn.set_facecolor(face)
        drawn.set_edgecolor(edge)
    axes.add_collection(drawn, autolim=False)
    return drawn


def axes_state(axes: Axes) -> tuple[Hashable, ...]:
    """Return all that axes without contents look like: equal where they look the same."""
    figure = axes.figure
    state: list[Hashable] = [figure.dpi, tuple(figure.bbox.extents), tuple(axes.get_position().extents)]
    for axis in (axes.xaxis, axes.yaxis):
        places = axis.get_majorticklocs().tolist()
        labels = axis.get_major_formatter().format_ticks(places)
        name = axis.label.get_text(), axis.label.get_visible()
        state += [axis.get_scale(), tuple(axis.get_view_interval()), tuple(places), tuple(labels), name]
    return tuple(state)


def _clear(figure: Figure, theme: Theme) -> None:
    # Axes that are taken out first are not reset one by one, which would cost half the drawing time.
    for axes in list(figure.axes):
        figure.delaxes(axes)
    figure.clear()
    figure.set_facecolor(theme.background)


def fix_ticks(axis: Axis, places: Sequence[float], labels: Sequence[str]) -> None:
    """Give an axis these ticks and no other; cheaper than `Axes.set_xticks`, which draws them at once."""
    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    there = getattr(locator, "locs", ()), getattr(formatter, "seq", ())
    if isinstance(locator, FixedLocator) and [*map(list, there)] == [list(places), list(labels)]:
        return
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter(list(labels)))
    axis.set_minor_locator(NullLocator())


def round_step(value: float, *, below: bool = False, steps: Sequence[float] = (1, 2, 5, 10)) -> float:
    """Return the next of 1, 2, 5, 10, 20, ... above a positive number, or the one below; 0 of others.

    ``steps`` within a decade, from 1 to 10.
    """
    if value <= 0:
        return 0.0
    decade = 10.0 ** math.floor(math.log10(value))
    places = [decade * step for step in steps]
    return max(p for p in places if p <= value) if below else min(p for p in places if p >= value)


def value_scale(axes: Axes, name: str, **settings: float) -> None:
    """Give the upright axis a scale, where it has another one."""
    if axes.get_yscale() != name:
        axes.set_yscale(name, **settings)


def score_axis(axes: Axes) -> None:
    """Let x be a score or probability from 0 to 1."""
    axes.set_xlim(0, 1)
    fix_ticks(axes.xaxis, (0, 0.25, 0.5, 0.75, 1), ("0", "0.25", "0.5", "0.75", "1"))


def headline(
    axes: Axes,
    theme: Theme,
    text: str,
    *,
    colour: str = "",
    right: bool = False,
    line: int = 0,
    along: float = 0.0,
    gid: str = NOTE,
) -> Annotation:
    """Write a short note above the axes, at the left edge of the figure or the right edge of the axes.

    ``along`` points further in; lines count from the axes upwards. Returns the note.
    """
    return axes.annotate(
        text,
        (1, 1) if right else (0, 1),
        (-along if right else 7 + along, 5 + line * (SMALL_PT + 3.5)),
        xycoords=("axes fraction" if right else "figure fraction", "axes fraction"),
        textcoords="offset points",
        color=colour or theme.muted,
        fontsize=SMALL_PT,
        ha="right" if right else "left",
        va="bottom",
        gid=gid,
    )


def label_axes(axes: Axes, theme: Theme, x: str, y: str, *, size: float = TEXT_PT) -> None:
    """Name both axes, with units, in letters of ``size`` points."""
    if axes.get_xlabel() != x:
        axes.set_xlabel(x, color=theme.text, fontsize=size, labelpad=2)
    if axes.get_ylabel() != y:
        axes.set_ylabel(y, color=theme.text, fontsize=size, labelpad=3)


def score_label(calibrated: bool) -> str:
    """Return the name of a score axis."""
    return "calibrated score (0–1)" if calibrated else "raw score (0–1)"


def message(figure: Figure, theme: Theme, text: str) -> None:
    """Draw nothing but a line of text in the middle."""
    _clear(figure, theme)
    figure.text(
        0.5, 0.5, text, ha="center", va="center", color=theme.muted, fontsize=TEXT_PT + 1, gid="empty"
    )
