"""What dialogs ask with and return, and controllers take: plain values, checked where they are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model_core.base.errors import SettingsError

ExportKind = Literal[
    "png", "csv", "plots", "lesions", "slice_page", "scan_page", "figure", "nms_figure"
]  # fmt: skip
ExportSlices = Literal["current", "range", "findings", "keys"]
PlotFormat = Literal["png", "svg"]
PaperPlot = Literal["scores", "area", "batch"]
PaperMaps = Literal["logits", "probability"]


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export, and where to.

    Attributes
    ----------
    target:
        A file; for pictures of several slices and for plots a folder. Pages are written as HTML, too, figures
        as PNG.
    slices:
        For pictures and figures: the current slice, the range ``first`` to ``last``, every slice with
        findings, or the key images.
    first, last:
        Half-open range of slice indices from 0.
    slice_index:
        From 0, the slice that "this slice" meant when it was asked for; None for the one shown when the
        request is carried out.
    series_id:
        The series that was open when it was asked for; another one is not exported in its place. Empty takes
        whatever is open.
    scale:
        Picture pixels per slice pixel.
    plots:
        Whether the plots stand beside each picture.
    identity:
        Whether patient text may be in pictures.
    nms:
        The two thresholds that a figure compares.
    paper_plot, paper_maps:
        What a figure shows beside the slices, see `model_core.export.paper.PaperLook`.
    """

    kind: ExportKind
    target: Path
    slices: ExportSlices = "current"
    first: int = 0
    last: int = 1
    slice_index: int | None = None
    series_id: str = ""
    scale: float = 2.0
    plots: bool = False
    identity: bool = False
    plot_format: PlotFormat = "png"
    nms: tuple[float, float] = (0.25, 0.75)
    paper_plot: PaperPlot = "scores"
    paper_maps: PaperMaps = "logits"

    def __post_init__(self) -> None:
        if self.slices == "range" and not 0 <= self.first < self.last:
            raise SettingsError(
                f"The range {self.first + 1} to {self.last} holds no slice: "
                "the first must not exceed the last."
            )
        if self.slice_index is not None and self.slice_index < 0:
            raise SettingsError(f"Slices are counted from 0, so there is no slice {self.slice_index}.")
        if not all(0.0 <= iou <= 1.0 for iou in self.nms) or self.nms[0] == self.nms[1]:
            raise SettingsError("Compare two different NMS thresholds of 0 to 1.")
        if not 0.0 < self.scale <= 16.0:
            raise SettingsError(f"A picture scale lies in 0..16, not {self.scale}.")


@dataclass(frozen=True, kw_only=True)
class MaskFound:
    """What is to be opened looks like a mask, while a series is open.

    Attributes
    ----------
    name:
        Of the file or folder.
    why_not:
        Why it cannot be shown over the open series; empty where it fits.
    """

    name: str
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class FewerSlices:
    """A series that does not fit into memory, and how it would.

    Attributes
    ----------
    needed, free:
        Bytes that all its slices take, and that there are for them.
    steps:
        Numbers n, at least one, such that every n-th slice fits; ascending.
    distance_mm:
        Between neighbouring slices; None where it is unknown.
    """

    series_id: str
    title: str
    slices: int
    needed: int
    free: int
    steps: tuple[int, ...]
    distance_mm: float | None = None

    def __post_init__(self) -> None:
        if not self.steps:
            raise SettingsError("No number of slices fits into memory, so there is nothing to choose from.")
