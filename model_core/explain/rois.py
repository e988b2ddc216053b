"""The RoI batch as a table: one row per distinct RoI, in rank order (spec §5.2, §7)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from model_core.base.results import Candidates, Placement, RoiBatch, RoiRow
from model_core.engine.select import calibrated


def roi_table(
    batch: RoiBatch,
    candidates: Candidates,
    *,
    placement: Placement,
    names: Sequence[str],
    pixel_area_mm2: float | None,
    detected: AbstractSet[int] | None = frozenset(),
    temperature: float = 1.0,
) -> tuple[RoiRow, ...]:
    """Return the distinct RoIs of a batch, best first, with decoded boxes in slice pixels.

    Parameters
    ----------
    names:
        Names of the positive region classes, label 1 first.
    pixel_area_mm2:
        Area of a slice pixel; None where the spacing is unknown, then areas in mm² are None too.
    detected:
        Indices of the candidates that are among the shown detections; None where those are not of these
        candidates at all.
    temperature:
        Calibrates the scores listed; the batch itself holds the network's own.
    """
    if not len(batch.kept):
        return ()
    _, first = np.unique(batch.source, return_index=True)
    shown = calibrated(batch.rows[first, 0], temperature)
    scores = dict(zip(batch.source[first].tolist(), shown.tolist(), strict=True))
    copies = dict(zip(*(a.tolist() for a in np.unique(batch.source, return_counts=True)), strict=True))
    boxes = placement.in_slice(candidates.boxes[batch.kept])
    rows = []
    for rank, (candidate, box) in enumerate(zip(batch.kept.tolist(), boxes.tolist(), strict=True), start=1):
        left, top, right, bottom = box
        area = (right - left) * (bottom - top)
        rows.append(
            RoiRow(
                rank=rank,
                candidate=candidate,
                score=scores[candidate],
                label=names[int(candidates.labels[candidate]) - 1],
                box=(left, top, right, bottom),
                area_px=area,
                area_mm2=None if pixel_area_mm2 is None else area * pixel_area_mm2,
                copies=copies[candidate],
                detected=None if detected is None else candidate in detected,
                class_number=int(candidates.labels[candidate]),
            )
        )
    return tuple(rows)
