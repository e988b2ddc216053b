"""The plots of a slice, as files and as arrays."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from model_core import __version__
from model_core.base.arrays import ByteArray
from model_core.base.errors import ExportError
from model_core.base.files import atomic_path, refuse_existing
from model_core.base.jobs import Progress
from model_core.base.results import ShownSlice
from model_core.base.threads import DRAWING
from model_core.export.png import RESEARCH_USE
from model_core.scene import class_name
from model_core.scene.corners import EDITED
from model_core.scene.palette import AMBER, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PlotKind = Literal["score-histogram", "score-area", "class-bars", "roi-batch"]
PlotFormat = Literal["png", "svg"]
KINDS: tuple[PlotKind, ...] = ("score-histogram", "score-area", "class-bars", "roi-batch")
# What needs no classifier.
REGION_KINDS: tuple[PlotKind, ...] = ("score-histogram", "score-area")

_SIZE_INCHES = (6.4, 4.4)
_DPI = 150
# Beside a picture; width over height of each.
_PANEL: tuple[PlotKind, ...] = ("class-bars", "score-histogram", "score-area")
_ASPECT = 1.5


def available_plots(shown: ShownSlice) -> tuple[PlotKind, ...]:
    """Return which plots a slice has: those of its ranked regions alone without a classifier."""
    return KINDS if shown.verdict is not None else REGION_KINDS


def draw_plot(
    figure: Figure,
    kind: PlotKind,
    shown: ShownSlice,
    *,
    image_classes: Sequence[str] = (),
    top: int | None = None,
    selected: int | None = None,
) -> None:
    """Draw one plot of a slice into an empty figure.

    Parameters
    ----------
    image_classes:
        Names of the class bars.
    top:
        How many of the first RoIs the histogram and the scatterplot show; None shows all.
    selected:
        Candidate to stand out.

    Raises
    ------
    ExportError
        If the slice has no image class, hence no probabilities and no RoI batch.
    """
    from model_core import plots

    if kind == "score-histogram":
        plots.score_histogram(figure, shown.rois, top=top, selected=selected, calibrated=shown.calibrated)
    elif kind == "score-area":
        plots.score_area(figure, shown.rois, top=top, selected=selected, calibrated=shown.calibrated)
    elif shown.verdict is None:
        raise ExportError(
            f"This slice has no plot '{kind}': the weights give no image class. "
            "Choose weights with a classifier."
        )
    elif kind == "class-bars":
        probabilities = [float(p) for p in shown.verdict.probabilities]
        names = [class_name(image_classes, number) for number in range(len(probabilities))]
        plots.class_bars(figure, names, probabilities, from_bias=shown.verdict.from_bias)
    else:
        plots.roi_batch_image(figure, shown.verdict.batch.rows)


def write_plot(
    path: Path,
    kind: PlotKind,
    shown: ShownSlice,
    *,
    image_classes: Sequence[str] = (),
    top: int | None = None,
    selected: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write one plot as PNG or SVG, by the suffix of ``path``.

    Raises
    ------
    ExportError
        If the suffix is another one, the slice has no such plot, or the file exists or cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        raise ExportError(f"'{path.name}' is neither a PNG nor an SVG file name: let it end in .png or .svg.")
    edited = shown.verdict is not None and shown.verdict.basis == "edited"
    title = f"{kind}, slice {shown.slice_index + 1}" + (f", {EDITED}" if edited else "")
    about: dict[str, Any] = {"Title": title}
    program = f"CTMaskNet {__version__}, {RESEARCH_USE.replace('–', '-')}"
    # Without a date, equal results give equal files.
    about |= {"Software": program} if suffix == ".png" else {"Creator": program, "Date": None}
    # Names inside an SVG are random unless salted.
    with (
        DRAWING,
        rc_context({"svg.hashsalt": "ctmasknet"}),
        atomic_path(path, overwrite=overwrite) as temporary,
    ):
        figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI)
        draw_plot(figure, kind, shown, image_classes=image_classes, top=top, selected=selected)
        if edited:
            _mark_edited(figure, above=kind == "roi-batch")
        figure.savefig(temporary, format=suffix[1:], metadata=about)


def _mark_edited(figure: Figure, *, above: bool) -> None:
    """Write "edited evidence" into the right corner: the lower one, or that above the colour bar."""
    side, place = ("top", 0.98) if above else ("bottom", 0.02)
    patch = {"facecolor": AMBER, "edgecolor": "none", "pad": 2.5}
    figure.text(0.99, place, EDITED, ha="right", va=side, size=8, color=INK, bbox=patch, gid="edited")


def export_plots(
    folder: Path,
    shown: ShownSlice,
    *,
    image_classes: Sequence[str] = (),
    plot_format: PlotFormat = "png",
    top: int | None = None,
    selected: int | None = None,
    overwrite: bool = False,
) -> Generator[Progress | Path, None, None]:
    """Write plots of a slice as ``slice-0088-score-area.png`` (numbered from 1, as on screen).

    Yields `Progress` before and the path after each file;
    nothing is written where one of the files exists and may not be replaced.

    Raises
    ------
    ExportError
        As `write_plot` does.
    """
    stem = f"slice-{shown.slice_index + 1:04d}"
    targets = [(kind, folder / f"{stem}-{kind}.{plot_format}") for kind in available_plots(shown)]
    for _, path in targets:
        refuse_existing(path, overwrite=overwrite)
    for done, (kind, path) in enumerate(targets):
        yield Progress(done, len(targets), path.name)
        write_plot(
            path, kind, shown, image_classes=image_classes, top=top, selected=selected, overwrite=overwrite
        )
        yield path
    yield Progress(len(targets), len(targets), "Done")


def plot_panel(
    shown: ShownSlice,
    *,
    height: int,
    image_classes: Sequence[str] = (),
    selected: int | None = None,
) -> ByteArray:
    """Return (height, w, 3) uint8: class bars, score histogram and score/area plot below each other.

    Without an image class there are no bars; the two plots keep their width and share the height.
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


def plot_picture(
    kind: PlotKind,
    shown: ShownSlice,
    *,
    size: tuple[int, int],
    dpi: float,
    image_classes: Sequence[str] = (),
    selected: int | None = None,
) -> ByteArray:
    """Draw one plot as an RGB array of exactly ``size`` (h, w)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = size
    with DRAWING:
        # Half a pixel more, so that rounding in the canvas never leaves one missing.
        figure = Figure(figsize=((width + 0.5) / dpi, (height + 0.5) / dpi), dpi=dpi)
        canvas: Any = FigureCanvasAgg(figure)
        draw_plot(figure, kind, shown, image_classes=image_classes, selected=selected)
        canvas.draw()
    picture: ByteArray = np.array(canvas.buffer_rgba())[:height, :width, :3]
    return picture
