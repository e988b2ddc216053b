"""A layout that keeps the axes inside margins given in inches.

matplotlib's constrained layout measures every text twice per drawing, moves the axes whenever a tick label
changes its width (they would jump while a slider is dragged) and warns when a figure is tiny. Here the
margins are reserved once; text sizes are in points, so they fit at every dpi.
"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine

# Of a figure smaller than its margins this share is left for the axes.
SMALLEST_SHARE = 0.2
# Of a character's width to the size of the text, on average.
_CHARACTER = 0.58


class Margins(LayoutEngine):
    """Reserve ``left``, ``right``, ``bottom`` and ``top`` inches around the axes of a figure."""

    _adjust_compatible = True
    _colorbar_gridspec = True

    def __init__(self, *, left: float, right: float, bottom: float, top: float) -> None:
        super().__init__()
        self.left, self.right, self.bottom, self.top = left, right, bottom, top

    def execute(self, fig: Figure) -> None:
        """Place the axes; matplotlib calls this before each drawing.

        The name of the upright axis goes where it is longer than the axis and would reach into what is above.
        """
        width, height = fig.get_size_inches()
        left, right = _shares(self.left, self.right, float(width))
        bottom, top = _shares(self.bottom, self.top, float(height))
        fig.subplots_adjust(left=left, right=1 - right, bottom=bottom, top=1 - top)
        room = 72 * float(height) * (1 - bottom - top)
        for axes in fig.axes:
            name = axes.yaxis.label
            name.set_visible(len(name.get_text()) * float(name.get_fontsize()) * _CHARACTER <= room + 8)


def _shares(first: float, second: float, length: float) -> tuple[float, float]:
    """Two opposite margins as shares of the figure, scaled down where they would leave no room."""
    scale = min(1.0, (1 - SMALLEST_SHARE) * length / max(first + second, 1e-9)) / max(length, 1e-9)
    return first * scale, second * scale
