"""The RoI batch as a table: one row per distinct RoI, in rank order (spec §5.2, §7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from model_core.base.arrays import IntArray
from model_core.base.results import Candidates, Placement, RoiBatch, RoiRow
from model_core.base.settings import Scoring
from model_core.engine.select import Unshown, calibrated, network_scores


def roi_table(
    batch: RoiBatch,
    candidates: Candidates,
    *,
    placement: Placement,
    names: Sequence[str],
    pixel_area_mm2: float | None,
    detected: AbstractSet[int] | None = frozenset(),
    temperature: float = 1.0,
    scoring: Scoring = "softmax",
    listed: IntArray | None = None,
    asked: Mapping[int, tuple[int, int]] | None = None,
    unshown: Mapping[int, Unshown] | None = None,
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
    scoring:
        Of the scores listed.
    temperature:
        Calibrates the scores listed; the batch itself holds the network's own.
    listed:
        Candidates of the rows, by score; those that are not in the batch are excluded ones, with no copies.
        None: those of the batch.
    asked:
        The candidates that answer what was asked about, and what of it (`engine.evidence.asked_numbers`).
    unshown:
        Why candidates are no detections, where that is known.
    """
    listed = batch.kept if listed is None else listed
    if not len(listed):
        return ()
    copies = dict(zip(*(a.tolist() for a in np.unique(batch.source, return_counts=True)), strict=True))
    boxes = placement.in_slice(candidates.boxes[listed])
    shown = calibrated(network_scores(candidates, scoring)[listed], temperature)
    answers, reasons = asked or {}, unshown or {}
    # Regions are called by their rank in the table.
    ranks = {candidate: rank for rank, candidate in enumerate(listed.tolist(), start=1)}
    rows = []
    for rank, (candidate, box, score) in enumerate(
        zip(listed.tolist(), boxes.tolist(), shown.tolist(), strict=True), start=1
    ):
        left, top, right, bottom = box
        area = (right - left) * (bottom - top)
        why = reasons.get(candidate)
        rows.append(
            RoiRow(
                rank=rank,
                candidate=candidate,
                score=score,
                label=names[int(candidates.labels[candidate]) - 1],
                box=(left, top, right, bottom),
                area_px=area,
                area_mm2=None if pixel_area_mm2 is None else area * pixel_area_mm2,
                copies=copies.get(candidate, 0),
                detected=None if detected is None else candidate in detected,
                class_number=int(candidates.labels[candidate]),
                excluded=candidate not in copies and candidate not in answers,
                unshown="asked" if candidate in answers else None if why is None else why.reason,
                suppressor=None if why is None or why.suppressor is None else ranks.get(why.suppressor),
                asked=answers[candidate][0] if candidate in answers else None,
            )
        )
    return tuple(rows)
