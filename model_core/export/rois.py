"""The ranked RoIs of any number of slices as one CSV table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from model_core.base.files import atomic_path
from model_core.base.results import ShownSlice
from model_core.base.volume import Volume

COLUMNS = (
    "slice_index",
    "slice_number",
    "position_mm",
    "rank",
    "candidate",
    "label",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
    "area_px",
    "area_mm2",
    "copies",
    "detected",
    "evidence",
    "edit",
)


def write_rois_csv(
    path: Path, volume: Volume, shown: Iterable[ShownSlice], *, overwrite: bool = False
) -> None:
    """Write every ranked RoI of these slices, one a row, in the order given.

    ``slice_index`` counts from 0, ``slice_number`` from 1 as on screen; boxes are pixel edges of the slice
    as displayed; ``copies`` is how often the RoI stands in the RoI batch; ``detected`` is yes or no;
    ``evidence`` is that of the class: "published" (as one of the papers computes it, to the last setting),
    "trained" (as these weights were trained), "edited" (the thresholds of the RoI batch were changed, or
    regions excluded or asked about) or "none" (the weights give no class, so the regions are ranked and
    nothing reads them).
    ``edit`` is "excluded" of regions that a person took out of the evidence, "asked" of those that answer a
    box that a person drew (with 0 copies where the score is too low for the evidence), else empty.
    Unknown numbers are empty.
    ``shown`` is read one by one, so a generator keeps memory low.

    Raises
    ------
    ExportError
        If the file exists and may not be replaced, or cannot be written.
    """
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for slice_ in shown:
            writer.writerows(_rows(volume, slice_))


def _rows(volume: Volume, shown: ShownSlice) -> Iterator[tuple[object, ...]]:
    positions = volume.slice_positions_mm
    position = "" if positions is None else f"{positions[shown.slice_index]:.3f}"
    evidence = "none" if shown.verdict is None else shown.verdict.basis
    for roi in shown.rois:
        yield (
            shown.slice_index,
            shown.slice_index + 1,
            position,
            roi.rank,
            roi.candidate,
            roi.label,
            f"{roi.score:.6f}",
            *(f"{edge:.2f}" for edge in roi.box),
            f"{roi.area_px:.2f}",
            "" if roi.area_mm2 is None else f"{roi.area_mm2:.2f}",
            roi.copies,
            "n/a" if roi.detected is None else "yes" if roi.detected else "no",
            evidence,
            "excluded" if roi.excluded else "asked" if roi.asked is not None else "",
        )
