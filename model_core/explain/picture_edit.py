"""What if the picture were different: a slice is changed, runs again, and is compared with sham heals."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Sequence

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray, FloatArray, VoxelArray
from model_core.base.asked import Box
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.picture_edit import (
    BACKGROUND_SCORE,
    SAME_IOU,
    SHAMS,
    EditedPicture,
    PictureEffect,
    PictureOutcome,
    PictureRequest,
    RegionChange,
)
from model_core.base.reasons import output_probability
from model_core.base.results import ImageVerdict, RoiRow, ShownSlice, SliceResult
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import Volume
from model_core.engine import Pipeline, detect, run
from model_core.engine.lungs import lungs_of
from model_core.explain.attribution import lesion_players, with_ill
from model_core.explain.healing import (
    LungSlice,
    drawn_area,
    heal,
    lung_slice,
    plant,
    sham_heals,
    to_heal,
)
from model_core.explain.masks import mask_pixels
from model_core.explain.shown import show
from model_core.explain.stability import run_changed

# So many regions at most say what is not healthy.
_MOST_MARKED = 256
# Changes of a score that are smaller are none to be listed elsewhere.
_SMALLEST_CHANGE = 0.01


def edit_picture(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    detections: DetectionSettings,
    request: PictureRequest,
) -> Generator[Progress | EditedPicture, None, None]:
    """Yield, last, the slice changed as asked for; its masks decide what is healthy, no backbone runs.

    Where the maps of the slice were given up, its backbone runs again.

    Raises
    ------
    SettingsError
        If the weights give no class, or nothing is asked for.
    NothingHealthy
        If there is no lung in the area, or no healthy lung to fill it with.
    """
    if result.evidence_candidates is None:
        raise SettingsError("These weights give no image class, so that no picture changes one.")
    if not request.regions and len(request.polygon) < 3:
        raise SettingsError("Select a region, or draw an area.")
    yield Progress(0, 2, "Looking for healthy lung")
    result = yield from _with_maps(pipeline, volume, result)
    ground = yield from ground_of(pipeline, volume, result, detections)
    shape = result.placement.slice_shape
    area, what = drawn_area(request.polygon, shape) if request.polygon else None, "a drawn area"
    if area is None:
        area, what = _lesions(pipeline, result, detections, request.regions)
    pieces, level = 0, None
    if request.kind == "heal":
        # A drawn area says itself how far it goes.
        area = to_heal(ground, area, **({"margin": 0} if request.polygon else {}))
        after, pieces = heal(ground, area)
    else:
        level = request.level_hu
        after, area = plant(ground, area, level)
    yield EditedPicture(
        kind=request.kind,
        slice_index=result.slice_index,
        what=what,
        before=volume.voxels[result.slice_index],
        after=after,
        area=area,
        pieces=pieces,
        level_hu=level,
    )


def picture_effect(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    edited: EditedPicture,
    *,
    shams: int = SHAMS,
    seed: int = 0,
) -> Generator[Progress | PictureEffect, None, None]:
    """Yield what the networks say of a changed slice: at once, and again after each sham heal; last is whole.

    The evidence is that of the settings, without the edits of a person.
    """
    total = shams + 2
    yield Progress(0, total, "The changed picture")
    result = yield from _with_maps(pipeline, volume, result)
    before = show(pipeline, volume, result, detections, evidence)
    if before.verdict is None:
        raise SettingsError("These weights give no image class, so that no picture changes one.")
    output, target = effect_target(pipeline, before.verdict)
    index, lung = result.slice_index, before.summary.lung
    after = show_changed(pipeline, volume, index, edited.after, detections, evidence, lung=lung)
    ground = yield from ground_of(pipeline, volume, result, detections)
    effect = PictureEffect(
        edited=edited,
        target=target,
        before=outcome_of(pipeline, before, output),
        after=outcome_of(pipeline, after, output),
        shown_before=before,
        shown_after=after,
        regions=region_changes(before.rois, after.rois, edited.area),
        shams=(),
        sham_areas=(),
        wanted=shams,
        seed=seed,
    )
    yield effect
    heals = sham_heals(ground, edited.area, shams, seed=seed, away_from=edited.area)
    yield Progress(1, total, "Places for sham heals")
    for number, (area, voxels) in enumerate(heals):
        yield Progress(number + 2, total, f"Sham heal {number + 1} of at most {shams}")
        sham = show_changed(pipeline, volume, index, voxels, detections, evidence, lung=lung)
        effect = dataclasses.replace(
            effect,
            shams=(*effect.shams, outcome_of(pipeline, sham, output)),
            sham_areas=(*effect.sham_areas, area),
        )
        yield effect
    if len(effect.shams) < shams:
        yield dataclasses.replace(effect, wanted=len(effect.shams))


def show_changed(
    pipeline: Pipeline,
    volume: Volume,
    index: int,
    voxels: VoxelArray,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    *,
    lung: bool | None,
) -> ShownSlice:
    """Run a slice with other voxels; return what it then shows. ``lung`` is what is known of the slice."""
    other, result = run_changed(pipeline, volume, index, voxels)
    return show(pipeline, other, result, detections, evidence, lung=lung)


def effect_target(pipeline: Pipeline, verdict: ImageVerdict) -> tuple[int, str]:
    """Return which output the effect is measured by, as in `with_ill`, and its name."""
    if pipeline.calibration is not None:
        return -1, "ill"
    likeliest = int(np.argmax(verdict.logits))
    return likeliest, pipeline.image_classes[likeliest]


def outcome_of(pipeline: Pipeline, shown: ShownSlice, output: int) -> PictureOutcome:
    """Return what a slice with a class says; ``output`` as `effect_target` returns it."""
    verdict, calibration = shown.verdict, pipeline.calibration
    assert verdict is not None
    ill = () if calibration is None else calibration.ill_classes
    logit = float(with_ill(np.asarray(verdict.logits, np.float64), ill)[output])
    return PictureOutcome(
        logits=verdict.logits,
        probabilities=verdict.probabilities,
        output=logit,
        probability=output_probability(logit, calibration),
        lesion_px=shown.summary.lesion_px,
        lesion_mm2=shown.summary.lesion_mm2,
    )


def ground_of(
    pipeline: Pipeline, volume: Volume, result: SliceResult, detections: DetectionSettings
) -> Generator[Progress, None, LungSlice]:
    """Return a slice with its lung, which is looked for, and what is marked in it, also weakly.

    Raises
    ------
    NothingHealthy
        If there is no lung in the slice.
    """
    yield from _progress(lungs_of(volume))
    result = yield from _with_maps(pipeline, volume, result)
    marked = weakly_marked(pipeline, result, detections)
    return lung_slice(volume, result.slice_index, pipeline.input, marked)


def weakly_marked(pipeline: Pipeline, result: SliceResult, detections: DetectionSettings) -> BoolArray:
    """Return (H, W) the masks of all regions that are no background, shown or not."""
    everything = dataclasses.replace(
        detections,
        score=min(detections.score, BACKGROUND_SCORE),
        max_detections=max(detections.max_detections, _MOST_MARKED),
    )
    found = detect(pipeline, result, everything)
    marked: BoolArray = np.any(mask_pixels(found, result.placement.slice_shape), axis=0)
    return marked


def region_changes(
    before: Iterable[RoiRow], after: Iterable[RoiRow], area: BoolArray
) -> tuple[RegionChange, ...]:
    """Return what became of every region that is no background before or after, best first.

    Regions of one class are the same by the greatest IoU of their boxes, from `SAME_IOU` on, each once. Of
    those that lie elsewhere only what changed is listed.
    """
    before, after = list(before), list(after)
    ious = _ious(before, after)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-ious, axis=None, kind="stable").tolist():
        row, column = divmod(flat, max(1, len(after)))
        if ious[row, column] < SAME_IOU:
            break
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    both: list[tuple[RoiRow | None, RoiRow | None]] = [(before[k], after[n]) for k, n in pairs.items()]
    both += [(roi, None) for row, roi in enumerate(before) if row not in pairs]
    both += [(None, roi) for column, roi in enumerate(after) if column not in pairs.values()]
    listed = [change for pair in both if _tells(change := _change(*pair, area))]
    return tuple(sorted(listed, key=lambda one: -max(one.score_before or 0.0, one.score_after or 0.0)))


def _change(one: RoiRow | None, other: RoiRow | None, area: BoolArray) -> RegionChange:
    there = [roi for roi in (one, other) if roi is not None]
    return RegionChange(
        label=there[0].label,
        box_before=None if one is None else one.box,
        box_after=None if other is None else other.box,
        score_before=None if one is None else one.score,
        score_after=None if other is None else other.score,
        inside=any(_overlaps(roi.box, area) for roi in there),
    )


def _tells(change: RegionChange) -> bool:
    """Whether a region is no background, and lies where something was changed or has changed."""
    before, after = change.score_before or 0.0, change.score_after or 0.0
    return max(before, after) >= BACKGROUND_SCORE and (
        change.inside or abs(after - before) >= _SMALLEST_CHANGE
    )


def _lesions(
    pipeline: Pipeline,
    result: SliceResult,
    detections: DetectionSettings,
    regions: Sequence[tuple[int, Box]],
) -> tuple[BoolArray, str]:
    """Return the masks of the lesions that regions belong to, their boxes where none is shown; in words."""
    found = detect(pipeline, result, detections)
    masks = mask_pixels(found, result.placement.slice_shape)
    boxes = np.array([box for _, box in regions], np.float32)
    _, owner = lesion_players([np.array([k]) for k in range(len(boxes))], boxes, found.boxes)
    area, names = np.zeros(result.placement.slice_shape, np.bool_), []
    for (rank, box), lesion in zip(regions, owner.tolist(), strict=True):
        if lesion >= 0:
            area |= _touching(masks, lesion)
            names.append(f"the lesion of region {rank}")
        else:
            left, top, right, bottom = np.rint(box).astype(int).tolist()
            area[top:bottom, left:right] = True
            names.append(f"the box of region {rank}")
    return area, " and ".join(dict.fromkeys(names))


def _touching(masks: BoolArray, which: int) -> BoolArray:
    """Return the mask of a detection with all those that touch it: what a reader sees as one lesion."""
    numbers, _ = ndimage.label(masks.any(axis=0), np.ones((3, 3)))
    lesion: BoolArray = np.isin(numbers, np.unique(numbers[masks[which]])) & (numbers > 0)
    return lesion


def _with_maps(
    pipeline: Pipeline, volume: Volume, result: SliceResult
) -> Generator[Progress, None, SliceResult]:
    """Return the result of a slice; its backbone runs again where its maps were given up."""
    if result.features:
        return result
    for item in run(pipeline, volume, [result.slice_index]):
        if isinstance(item, SliceResult):
            result = item
        else:
            yield item
    return result


def _progress(job: Generator[object, None, None]) -> Generator[Progress, None, None]:
    for item in job:
        if isinstance(item, Progress):
            yield item


def _ious(one: Sequence[RoiRow], other: Sequence[RoiRow]) -> FloatArray:
    """Return (n, m) IoUs of the boxes of regions; 0 where they are of two classes."""
    first, second = (np.array([roi.box for roi in rois], np.float32).reshape(-1, 4) for rois in (one, other))
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(
        first[:, None, :2], second[None, :, :2]
    )
    common = np.clip(sides, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    ious: FloatArray = common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-6)
    same = np.array([[a.label == b.label for b in other] for a in one], np.bool_).reshape(ious.shape)
    return np.where(same, ious, 0).astype(np.float32)


def _overlaps(box: Box, area: BoolArray) -> bool:
    left, top = (int(edge) for edge in np.floor(box[:2]))
    right, bottom = (int(edge) for edge in np.ceil(box[2:]))
    return bool(area[max(0, top) : max(0, bottom), max(0, left) : max(0, right)].any())
