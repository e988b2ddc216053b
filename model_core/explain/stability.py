"""How sure the numbers of a slice and of a scan are: after small changes that mean nothing to a reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable

import numpy as np

from model_core.base.arrays import FloatArray, VoxelArray
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.stability import ScanStability, Stability
from model_core.base.volume import Volume
from model_core.engine import Pipeline, run
from model_core.engine.evidence import judge
from model_core.engine.lungs import known_lungs
from model_core.explain.scan import marked_ml, rule_verdict, slice_steps_mm, slices_apart
from model_core.explain.shown import summarise

OFFSET_HU = 25
# Standard deviation; chest CT with a lung kernel has as much or more.
NOISE_HU = 20.0
# Of the standard deviation of a slice, where values have no unit.
NOISE_SHARE = 0.02
# Of a scan whose slices have no places.
_MOST_SLICES = 40
# Of the volume of a scan: a slice with more of it is run for itself.
_LARGE = 0.05
# 25 HU of a lung window of 1500 HU, in greys of a picture.
_HU_PER_GREY = 1500.0 / 255.0


def stability(
    pipeline: Pipeline,
    volume: Volume,
    index: int,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    *,
    seed: int = 0,
) -> Generator[Progress | Stability, None, None]:
    """Yield, last, what a slice gives after eight changes, each with a run of the network.

    One pixel to each side, 25 HU up and down, the mirror image, noise of 20 HU (``seed``). Values that are no
    Hounsfield units and no greys of a picture are not shifted: the network's input follows them. Their noise
    is a share of their spread.
    """
    changed = _changes(volume, index, seed)
    logits, ill, areas = [], [], []
    in_mm = volume.geometry.pixel_area_mm2 is not None
    steps = slice_steps_mm(volume)
    lungs = known_lungs(volume)
    outside = lungs is not None and lungs.has_lung(index) is False
    for done, (name, voxels) in enumerate(changed):
        yield Progress(done, len(changed), f"Slice {index + 1}, {name}")
        summary, found = _after(pipeline, volume, index, voxels, detections, evidence)
        areas.append(float((summary.lesion_mm2 if in_mm else summary.lesion_px) or 0.0))
        if found is not None:
            logits.append(found)
        if summary.ill_probability is not None and not outside:
            ill.append(summary.ill_probability)
    yield Stability(
        changes=tuple(name for name, _ in changed),
        logits=np.stack(logits) if logits else None,
        ill=tuple(ill),
        lesion_mm2=tuple(areas),
        in_mm=in_mm,
        step_mm=None if steps is None else float(steps[index]),
    )


def scan_stability(
    pipeline: Pipeline,
    volume: Volume,
    summaries: Iterable[SliceSummary],
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    *,
    seed: int = 0,
) -> Generator[Progress | ScanStability, None, None]:
    """Yield, last, what a scan gives after the changes of `stability`, each with a run of some lung slices.

    These are the slices that its verdict counts, at least 10 mm apart from the head down (where no slice has
    a place, at most 40, evenly spread), and for the volume those besides that hold over a twentieth of it.

    Parameters
    ----------
    summaries:
        Of all lung slices as they are, under the same settings and without edits.

    Raises
    ------
    SettingsError
        If the weights are not calibrated, so that there is no verdict, or no slice shows lung.
    """
    inside = sorted((s for s in summaries if s.lung is not False), key=lambda s: s.slice_index)
    calibration = pipeline.calibration
    if calibration is None or not inside:
        raise SettingsError("Without a calibration or without lung there is no verdict that could change.")
    own = slices_apart(inside, volume)
    if len(own) > _MOST_SLICES:
        own = [own[k] for k in np.linspace(0, len(own) - 1, _MOST_SLICES).round().astype(int)]
    counted = {s.slice_index for s in own}
    large = _large(inside, volume)
    asked = [s for s in inside if s.slice_index in counted | large]
    after: dict[str, dict[int, SliceSummary]] = {}
    for done, before in enumerate(asked):
        index = before.slice_index
        changed = _changes(volume, index, seed + index)
        for number, (name, voxels) in enumerate(changed):
            count = len(changed)
            yield Progress(done * count + number, len(asked) * count, f"Slice {index + 1}, {name}")
            summary, _ = _after(pipeline, volume, index, voxels, detections, evidence)
            after.setdefault(name, {})[index] = dataclasses.replace(summary, lung=before.lung)
    whole = marked_ml(inside, slice_steps_mm(volume))
    marked = [_scaled_ml(inside, found, large, volume) for found in after.values()]
    seen = [[found[s.slice_index] for s in own] for found in after.values()]
    yield ScanStability(
        slices=tuple(s.slice_index for s in own),
        changes=tuple(after),
        lesion_ml=tuple(ml for ml in marked if ml is not None),
        own_ill=sum(bool(s.ill) for s in own),
        ill=tuple(sum(bool(s.ill) for s in found) for found in seen),
        own_verdict=rule_verdict(own, whole, calibration=calibration, volume=volume),
        verdicts=tuple(
            rule_verdict(found, ml, calibration=calibration, volume=volume)
            for found, ml in zip(seen, marked, strict=True)
        ),
    )


def _large(inside: list[SliceSummary], volume: Volume) -> set[int]:
    """Return the slices that hold so much of the volume that none may stand for another."""
    steps = slice_steps_mm(volume)
    whole = marked_ml(inside, steps)
    return {s.slice_index for s in inside if whole and (marked_ml([s], steps) or 0.0) > _LARGE * whole}


def _scaled_ml(
    inside: list[SliceSummary], after: dict[int, SliceSummary], large: set[int], volume: Volume
) -> float | None:
    """Return the volume of the scan after a change of some slices, see `ScanStability.lesion_ml`."""
    steps = slice_steps_mm(volume)
    rest = [s for s in inside if s.slice_index not in large]
    own = [s for s in rest if s.slice_index in after]
    parts = [[after[k] for k in sorted(large)], [after[s.slice_index] for s in own], own, rest]
    by_itself, now, before, others = (marked_ml(part, steps) for part in parts)
    if by_itself is None or now is None or before is None or others is None or steps is None:
        return None
    if before:
        return by_itself + others * now / before
    depth, part = (sum(float(steps[s.slice_index]) for s in some) for some in (rest, own))
    return by_itself + others + (now * depth / part if now else 0.0)


def _after(
    pipeline: Pipeline,
    volume: Volume,
    index: int,
    voxels: VoxelArray,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
) -> tuple[SliceSummary, FloatArray | None]:
    """Run a slice with another picture; return its summary and the logits of its class."""
    other, result = run_changed(pipeline, volume, index, voxels)
    summary = summarise(pipeline, other, result, detections, evidence)
    verdict = judge(pipeline, result, evidence)
    logits = None if verdict is None else verdict.logits
    return dataclasses.replace(summary, slice_index=index), logits


def _changes(volume: Volume, index: int, seed: int) -> list[tuple[str, VoxelArray]]:
    """Return what is done to a slice, and what comes of it."""
    picture = volume.voxels[index]
    hu = 1.0 if volume.unit == "HU" else 1.0 / _HU_PER_GREY
    limits = (0, 255) if volume.unit == "grey" else (-32768, 32767)

    def kept(values: FloatArray | VoxelArray) -> VoxelArray:
        made: VoxelArray = np.clip(np.round(values), *limits).astype(np.int16)
        return made

    padded = np.pad(picture, 1, mode="edge")
    height, width = picture.shape
    changes = [
        (f"one pixel {name}", padded[1 - y : 1 - y + height, 1 - x : 1 - x + width].copy())
        for name, (x, y) in {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}.items()
    ]
    if volume.unit != "values":
        values = picture.astype(np.float32)
        changes += [
            (f"{sign}{OFFSET_HU} HU", kept(values + add * hu))
            for sign, add in (("+", OFFSET_HU), ("−", -OFFSET_HU))
        ]
    changes.append(("mirror image", picture[:, ::-1].copy()))
    spread, size = NOISE_HU * hu, f"{NOISE_HU:g} HU"
    if volume.unit == "values":
        spread, size = float(picture.std()) * NOISE_SHARE, f"{NOISE_SHARE:.0%} of the spread"
    noise = np.random.default_rng(seed).normal(0.0, spread, picture.shape).astype(np.float32)
    changes.append((f"noise of {size}", kept(picture + noise)))
    return changes


def run_changed(
    pipeline: Pipeline, volume: Volume, index: int, voxels: VoxelArray
) -> tuple[Volume, SliceResult]:
    """Run a slice with another picture; return the volume it then is in and its result.

    The volume is that slice alone where the network's input needs no other.
    """
    if volume.unit == "HU":
        other, place = dataclasses.replace(volume, voxels=voxels[None], slice_positions_mm=None), 0
    else:
        whole, place = volume.voxels.copy(), index
        whole[index] = voxels
        other = dataclasses.replace(volume, voxels=whole)
    (result,) = (item for item in run(pipeline, other, [place]) if isinstance(item, SliceResult))
    return other, result
