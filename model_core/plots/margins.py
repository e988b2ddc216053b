"""A layout that keeps the axes inside margins given in inches.

matplotlib's constrained layout measures every text twice per drawing, moves the axes whenever a tick label
changes its width (they would jump while a slider is dragged) and warns when a figure is tiny. Here the
margins are reserved once; text sizes are in points, so they fit at every dpi.
"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.text import Text

# Of a figure smaller than its margins this share is left for the axes.
SMALLEST_SHARE = 0.2
# Of a character's width to the size of the text, on average.
CHARACTER = 0.58
# Between the names of both axes, where one line holds them.
_UPWARDS = "   ↑ "
# A legend above the axes takes this many inches, of figures that are at least so high. Lower ones have a
# short one in the line of the notes, in place of those that can be missed, and of all that would touch it.
LEGEND, SHORT_LEGEND, NOTE, MINOR_NOTE = "legend", "short legend", "note", "minor note"
_LEGEND, _ROOMY = 0.16, 1.6


class Margins(LayoutEngine):
    """Reserve ``left``, ``right``, ``bottom`` and ``top`` inches around the axes of a figure."""

    _adjust_compatible = True
    _colorbar_gridspec = True

    def __init__(self, *, left: float, right: float, bottom: float, top: float) -> None:
        super().__init__()
        self.left, self.right, self.bottom, self.top = left, right, bottom, top

    def execute(self, fig: Figure) -> None:
        """Place the axes; matplotlib calls this before each drawing.

        The name of the upright axis goes beside that of the other where it is longer than the axis and would
        reach into what is above. Texts with the gid `LEGEND` show where there is room for them, else those
        with `SHORT_LEGEND`.
        """
        width, height = fig.get_size_inches()
        left, right = _shares(self.left, self.right, float(width))
        roomy = bool(height >= _ROOMY)
        above = _LEGEND if _show_legend(fig, roomy=roomy) and roomy else 0.0
        bottom, top = _shares(self.bottom, self.top + above, float(height))
        fig.subplots_adjust(left=left, right=1 - right, bottom=bottom, top=1 - top)
        room = 72 * float(height) * (1 - bottom - top)
        for axes in fig.axes:
            name = axes.yaxis.label
            fits = len(name.get_text()) * float(name.get_fontsize()) * CHARACTER <= room + 8
            name.set_visible(fits)
            below = axes.xaxis.label.get_text().split(_UPWARDS)[0]
            axes.xaxis.label.set_text(below if fits or not below else f"{below}{_UPWARDS}{name.get_text()}")


def _show_legend(fig: Figure, *, roomy: bool) -> bool:
    """Show the legend that there is room for and the notes beside it; return whether there is a legend."""
    named: dict[str | None, list[Text]] = {}
    for text in (text for axes in fig.axes for text in axes.texts):
        named.setdefault(text.get_gid(), []).append(text)
    legend, short = named.get(LEGEND, []), named.get(SHORT_LEGEND, [])
    for text in legend:
        text.set_visible(roomy)
    if short:
        length = sum(
            (len(text.get_text()) + 1) * float(text.get_fontsize()) * CHARACTER
            for text in [*short, *named.get(NOTE, [])]
        )
        for text in short:
            text.set_visible(not roomy)
        for text in named.get(MINOR_NOTE, []):
            text.set_visible(roomy)
        for text in named.get(NOTE, []):
            text.set_visible(roomy or length <= 72 * float(fig.get_size_inches()[0]))
    return bool(legend)


def _shares(first: float, second: float, length: float) -> tuple[float, float]:
    """Two opposite margins as shares of the figure, scaled down where they would leave no room."""
    scale = min(1.0, (1 - SMALLEST_SHARE) * length / max(first + second, 1e-9)) / max(length, 1e-9)
    return first * scale, second * scale
