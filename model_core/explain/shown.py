"""What a slice shows under given settings: masks, logit map, table of RoIs and class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model_core.base.arrays import BoolArray, ByteArray, IntArray
from model_core.base.asked import AskedAnswer
from model_core.base.results import (
    Detections,
    ImageVerdict,
    RoiRow,
    ShownAsked,
    ShownSlice,
    SliceResult,
    SliceSummary,
)
from model_core.base.settings import DetectionSettings, EvidenceEdit, EvidenceSettings
from model_core.base.volume import Volume
from model_core.engine.evidence import (
    asked_numbers,
    evidence_batch,
    ill_probability,
    judge,
    kind_of,
    listed_candidates,
    with_asked,
)
from model_core.engine.lungs import known_lungs
from model_core.engine.pipeline import Pipeline
from model_core.engine.select import detect, rank, why_unshown, without_masks
from model_core.explain.attribution import lesion_players
from model_core.explain.masks import known_spans, label_map, logit_map, mask_pixels
from model_core.explain.regions import lesions
from model_core.explain.rois import roi_table
from model_core.explain.spans import Spans


def show(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    *,
    lung: bool | None = None,
    edit: EvidenceEdit | None = None,
    known: bool = False,
) -> ShownSlice:
    """Compute everything drawn over a slice and listed beside it under these settings.

    ``lung`` says whether it lies in the range of the lungs, by default what is known of the volume
    (`engine.lungs`); outside there is no verdict. ``edit`` leaves regions out of the evidence: they stay in
    the table, as excluded, and masks and detections stay as they are. What it asks about joins the table.

    Without a classifier there is no class and no RoI batch, but the detector ranks regions all the same.

    ``known``: no mask branch runs. Detections whose masks were never computed come last, with their boxes and
    empty masks, and are counted in `ShownSlice.pending`.
    """
    found = detect(pipeline, result, detections, known=known)
    shape = result.placement.slice_shape
    shown, spans = lesions(found, known_spans(result, found))
    waiting = without_masks(result, detections) if known else found.at(np.zeros(0, np.int64))
    if len(waiting):
        shown, spans = shown.followed_by(waiting), spans.followed_by(len(waiting))
    verdict = judge(pipeline, result, evidence, edit)
    return ShownSlice(
        slice_index=result.slice_index,
        detections=shown,
        masks=spans.masks(),
        logit_map=lambda: logit_map(found, shape),
        rois=_rois(
            pipeline,
            volume,
            result,
            np.concatenate((found.indices, waiting.indices)),
            detections,
            evidence,
            verdict,
        ),
        verdict=verdict,
        summary=_summary(pipeline, volume, result, spans, verdict, lung=lung),
        asked=_asked(result, detections, verdict),
        pending=len(waiting),
    )


def with_evidence(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    *,
    shown: ShownSlice,
    edit: EvidenceEdit | None = None,
) -> ShownSlice:
    """Return what is shown of a slice with class and table under these settings, its masks as they are.

    It takes a few milliseconds, whatever the masks under these settings would take.
    """
    verdict = judge(pipeline, result, evidence, edit)
    indices = rank(result.detection_candidates, detections)
    return shown.changed(
        rois=_rois(pipeline, volume, result, indices, detections, evidence, verdict),
        verdict=verdict,
        summary=_judged(pipeline, volume, shown.summary, verdict),
        asked=_asked(result, detections, verdict),
    )


def _rois(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    detected: IntArray,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    verdict: ImageVerdict | None,
) -> tuple[RoiRow, ...]:
    """Return the table of the regions; ``detected`` are the candidates among the detections."""
    candidates = result.evidence_candidates
    if candidates is None:
        candidates = result.detection_candidates
    shared = candidates is result.detection_candidates
    batch = evidence_batch(candidates, evidence, size=None) if verdict is None else verdict.batch
    edit = None if verdict is None else verdict.edit
    asked = asked_numbers(candidates, edit)
    listed = batch.kept if edit is None else listed_candidates(candidates, evidence, edit, batch.kept)
    # What was asked about is numbered after the candidates.
    found = [k for k in listed.tolist() if k not in asked]
    rois = roi_table(
        batch,
        with_asked(candidates, edit),
        placement=result.evidence_placement,
        names=pipeline.region_classes if shared else pipeline.cards[-1].region_classes,
        pixel_area_mm2=volume.geometry.pixel_area_mm2,
        detected=set(detected.tolist()) if shared else None,
        scoring=evidence.scoring,
        temperature=evidence.temperature,
        listed=listed,
        asked=asked,
        unshown=why_unshown(candidates, detections, found) if shared else None,
    )
    return rois if verdict is not None else tuple(replace(roi, copies=0) for roi in rois)


def _asked(
    result: SliceResult, settings: DetectionSettings, verdict: ImageVerdict | None
) -> tuple[ShownAsked, ...]:
    """Return what was asked about as it is drawn, with masks under the settings of the shown detections."""
    candidates, edit = result.evidence_candidates, None if verdict is None else verdict.edit
    if candidates is None or edit is None:
        return ()
    shown = []
    for number, (which, answer) in asked_numbers(candidates, edit).items():
        one = edit.asked[which]
        if answer == one.best:
            mask = _asked_mask(one.answers[answer], result, settings)
            shown.append(ShownAsked(candidate=number, drawn=one.box, mask=mask))
    return tuple(shown)


def _asked_mask(answer: AskedAnswer, result: SliceResult, settings: DetectionSettings) -> BoolArray | None:
    if answer.mask_logits is None or answer.mask_box is None:
        return None
    box = result.evidence_placement.in_slice(np.array([answer.box], np.float32))
    region = Detections(
        indices=np.zeros(1, np.int64),
        boxes=box,
        scores=np.array([answer.score], np.float32),
        labels=np.array([answer.label]),
        mask_boxes=np.array([answer.mask_box], np.float32),
        mask_logits=answer.mask_logits[None],
        settings=settings,
    )
    mask: BoolArray = mask_pixels(region, result.placement.slice_shape)[0]
    return mask


def summarise(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    *,
    lung: bool | None = None,
    edit: EvidenceEdit | None = None,
) -> SliceSummary:
    """Return what the strip and the scan need of a slice; ``lung`` and ``edit`` as for `show`."""
    found = detect(pipeline, result, detections)
    _, spans = lesions(found, known_spans(result, found))
    return _summary(pipeline, volume, result, spans, judge(pipeline, result, evidence, edit), lung=lung)


def lesion_labels(shown: ShownSlice) -> ByteArray:
    """Return the (H, W) uint8 label map of the shown masks: 0 none, else the class index."""
    return label_map(shown.masks, shown.detections.labels)


def slice_labels(pipeline: Pipeline, result: SliceResult, detections: DetectionSettings) -> ByteArray:
    """Return the same of the masks of a slice under these settings, without all else that is shown of it."""
    found = detect(pipeline, result, detections)
    shown, spans = lesions(found, known_spans(result, found))
    return label_map(spans.masks(), shown.labels)


def lesion_regions(shown: ShownSlice, candidate: int) -> tuple[int, ...]:
    """Return every region of the evidence that lies on the shown lesion of a candidate, that one first.

    By the rule of `attribution.lesion_players`: of a lesion are regions whose middle lies in its box, of
    several boxes the one that overlaps most. A candidate that is on no shown lesion stands for itself.
    """
    rois = [roi for roi in shown.rois if roi.asked is None]
    numbers = [roi.candidate for roi in rois]
    boxes = np.array([roi.box for roi in rois], np.float32).reshape(-1, 4)
    rows = tuple(np.array([k]) for k in range(len(rois)))
    _, owner = lesion_players(rows, boxes, shown.detections.boxes)
    found = np.flatnonzero(shown.detections.indices == candidate)
    if len(found):
        lesion = int(found[0])
    elif candidate in numbers:
        lesion = int(owner[numbers.index(candidate)])
    else:
        return (candidate,)
    on_it = [number for number, own in zip(numbers, owner.tolist(), strict=True) if own == lesion >= 0]
    return (candidate, *(number for number in on_it if number != candidate))


def _summary(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    spans: Spans,
    verdict: ImageVerdict | None,
    *,
    lung: bool | None,
) -> SliceSummary:
    pixels = int(spans.union().lengths.sum())
    area = volume.geometry.pixel_area_mm2
    summary = SliceSummary(
        slice_index=result.slice_index,
        detections=spans.count,
        lesion_px=pixels,
        lesion_mm2=None if area is None else pixels * area,
        probabilities=None,
        lung=lung,
        unlike_training=result.unlike_training,
    )
    return _judged(pipeline, volume, summary, verdict)


def _judged(
    pipeline: Pipeline, volume: Volume, summary: SliceSummary, verdict: ImageVerdict | None
) -> SliceSummary:
    """Return a summary with what the verdict says."""
    lung, lungs = summary.lung, known_lungs(volume)
    if lung is None and lungs is not None:
        lung = lungs.has_lung(summary.slice_index)
    return replace(
        summary,
        probabilities=None if verdict is None else tuple(float(p) for p in verdict.probabilities),
        from_bias=verdict is not None and verdict.from_bias,
        edited=verdict is not None and verdict.edit is not None,
        lung=lung,
        ill_probability=None if lung is False else ill_probability(pipeline, verdict),
        kind=None if lung is False else kind_of(pipeline, verdict),
    )
