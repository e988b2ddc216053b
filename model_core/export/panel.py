"""The plots of a slice as a panel beside its picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.results import ShownSlice
from model_core.export.plots import PlotKind, available_plots, plot_picture

_PANEL: tuple[PlotKind, ...] = ("class-bars", "score-histogram", "score-area")
_ASPECT = 1.5


def plot_panel(
    shown: ShownSlice,
    *,
    height: int,
    image_classes: Sequence[str] = (),
    selected: int | None = None,
) -> ByteArray:
    """Draw class bars, score histogram and score/area plot below each other.

    Without an image class there are no bars; the two plots keep their width and share the height.

    Returns
    -------
    (height, w, 3) uint8.
    """
    kinds = [kind for kind in _PANEL if kind in available_plots(shown)]
    edges = np.linspace(0, height, len(kinds) + 1).round().astype(int)
    width = round(_ASPECT * height / len(_PANEL))
    # Text grows with the picture: the figure is always about 3.5 inches wide.
    dpi = width / 3.5
    rows = [
        plot_picture(
            kind,
            shown,
            size=(high - low, width),
            dpi=dpi,
            image_classes=image_classes,
            selected=selected,
        )
        for kind, (low, high) in zip(kinds, itertools.pairwise(edges.tolist()), strict=True)
    ]
    return np.vstack(rows)
