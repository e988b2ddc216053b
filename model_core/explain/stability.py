"""How sure the numbers of a slice are: after small changes of the picture that mean nothing to a reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import FloatArray, VoxelArray
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import Volume
from model_core.engine import Pipeline, run
from model_core.engine.evidence import ill_probability, judge
from model_core.engine.lungs import known_lungs
from model_core.explain.shown import summarise

OFFSET_HU = 25
# Standard deviation; chest CT with a lung kernel has as much or more.
NOISE_HU = 20.0
# Of the standard deviation of a slice, where values have no unit.
NOISE_SHARE = 0.02
# 25 HU of a lung window of 1500 HU, in greys of a picture.
_HU_PER_GREY = 1500.0 / 255.0


@dataclass(frozen=True, eq=False)
class Stability:
    """What a slice gives after small changes.

    Attributes
    ----------
    changes:
        What was done to the picture, in words.
    logits:
        (R, C) of the image classes; None without a class.
    ill:
        Probability of pneumonia of any kind; empty without a calibration, or outside the lungs.
    lesion_mm2:
        Marked area, in pixels of the slice where their size is unknown (``in_mm`` is False).
    """

    changes: tuple[str, ...]
    logits: FloatArray | None
    ill: tuple[float, ...]
    lesion_mm2: tuple[float, ...]
    in_mm: bool

    @property
    def ill_range(self) -> tuple[float, float] | None:
        """The lowest and the highest probability."""
        return (min(self.ill), max(self.ill)) if self.ill else None

    @property
    def area_range(self) -> tuple[float, float]:
        """The smallest and the largest marked area."""
        return min(self.lesion_mm2), max(self.lesion_mm2)


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
    lungs = known_lungs(volume)
    outside = lungs is not None and lungs.has_lung(index) is False
    for done, (name, voxels) in enumerate(changed):
        yield Progress(done, len(changed), f"Slice {index + 1}, {name}")
        other, place = with_slice(volume, index, voxels)
        for result in run(pipeline, other, [place]):
            if not isinstance(result, SliceResult):
                continue
            summary = summarise(pipeline, other, result, detections, evidence)
            areas.append(float((summary.lesion_mm2 if in_mm else summary.lesion_px) or 0.0))
            verdict = judge(pipeline, result, evidence)
            if verdict is not None:
                logits.append(verdict.logits)
                chance = None if outside else ill_probability(pipeline, verdict)
                ill += [] if chance is None else [chance]
    yield Stability(
        changes=tuple(name for name, _ in changed),
        logits=np.stack(logits) if logits else None,
        ill=tuple(ill),
        lesion_mm2=tuple(areas),
        in_mm=in_mm,
    )


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


def with_slice(volume: Volume, index: int, voxels: VoxelArray) -> tuple[Volume, int]:
    """Return a volume with another picture for a slice, and where: alone where the input needs no other."""
    if volume.unit == "HU":
        return dataclasses.replace(volume, voxels=voxels[None], slice_positions_mm=None), 0
    whole = volume.voxels.copy()
    whole[index] = voxels
    return dataclasses.replace(volume, voxels=whole), index
