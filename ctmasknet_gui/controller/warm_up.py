"""What a start leaves for the worker, where a second's wait disturbs nobody."""

from __future__ import annotations

from functools import cache
from typing import Any

from model_core.base.threads import DRAWING


@cache
def warm_up_plots() -> None:
    """Draw one small figure, so that the first plot of the window finds library and fonts ready."""
    import matplotlib.backends.backend_qtagg  # noqa: F401 - what the window draws with
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with DRAWING:
        figure = Figure(figsize=(1, 1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel("score")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()


@cache
def tidy_up() -> None:
    """Remove what a crashed run of the program left in temporary folders: copies of images among it."""
    from model_core.read.sandbox import remove_stale

    remove_stale()
