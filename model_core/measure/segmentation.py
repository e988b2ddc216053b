"""Runs the networks over a data set with expert masks and keeps of each slice what the metrics need."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from model_core.base.arrays import BoolArray, ByteArray, DoubleArray, FloatArray, IntArray
from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import Progress
from model_core.base.results import Detections, SliceResult
from model_core.base.settings import EVIDENCE_SCORE, DetectionSettings
from model_core.data import MASK_TYPES, instances
from model_core.data.instances import CLASS_NAMES
from model_core.engine import Pipeline, detect, run
from model_core.explain import label_map, mask_pixels, touching_regions
from model_core.measure import coco
from model_core.measure.average_precision import ap_from_iou, hits, mask_iou, matches, overlaps
from model_core.measure.dice import Overlap, overlap_by_class, overlap_merged
from model_core.measure.slices import one_slice_volume

MaskType = Literal["merge", "both", "ggo"]
# Score thresholds at which the curves over thresholds are computed.
SWEEP: DoubleArray = np.linspace(0.05, 0.95, 19).round(2)


class ReferenceSlice(Protocol):
    """What is asked of a slice of a data set (`model_core.data.LabelledSlice`)."""

    @property
    def name(self) -> str:
        """Name for tables and messages."""

    @property
    def patient(self) -> str:
        """Group of slices that belong together."""

    def image_hu(self) -> FloatArray:
        """Read the picture as (H, W) HU."""

    def mask(self) -> ByteArray:
        """Read the mask: 0 background, 1 GGO or lesion, 2 consolidation."""


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """What is counted and how.

    Attributes
    ----------
    detections:
        Thresholds of the reported detections.
    min_area:
        Reference components are kept for AP and hits where their area in pixels of the mask file is
        greater; Dice keeps all.
    coco:
        Keep what COCO's average precision needs: detections of any score.
    """

    mask_type: MaskType
    detections: DetectionSettings
    min_area: int = 100
    coco: bool = True

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the evaluated classes, label 1 first."""
        return CLASS_NAMES[self.mask_type]

    @property
    def candidates(self) -> DetectionSettings:
        """The same detections with all scores that COCO's AP and the curves are made of."""
        lowest = EVIDENCE_SCORE if self.coco else float(SWEEP[0])
        count = self.detections.max_detections
        return dataclasses.replace(
            self.detections,
            score=min(self.detections.score, lowest),
            max_detections=max(count, coco.MAX_DETECTIONS) if self.coco else count,
        )


@dataclass(frozen=True, eq=False)
class Matched:
    """Detections of one slice against its reference instances.

    Attributes
    ----------
    scores, labels:
        (P,), best first.
    iou:
        (P, G) mask IoU with the reference instances.
    reference_labels:
        (G,).
    """

    scores: FloatArray
    labels: IntArray
    iou: FloatArray
    reference_labels: IntArray

    def __len__(self) -> int:
        return len(self.scores)

    def first(self, count: int) -> Matched:
        """Return the first ``count`` detections."""
        return dataclasses.replace(
            self, scores=self.scores[:count], labels=self.labels[:count], iou=self.iou[:count]
        )

    def above(self, score: float) -> Matched:
        """Return the detections with a greater score."""
        return self.first(int(np.count_nonzero(self.scores > score)))

    def ap(self) -> DoubleArray:
        """Return the (10,) papers' average precision at each IoU threshold."""
        return ap_from_iou(self.iou, self.scores, self.labels, self.reference_labels)

    def found(self) -> IntArray:
        """Return for each reference the detection that finds it (IoU > `HIT_IOU`), or -1."""
        return matches(self.iou, self.labels, self.reference_labels)

    def hits(self) -> BoolArray:
        """Return whether each detection finds a reference that no better one finds."""
        return hits(self.iou, self.labels, self.reference_labels)

    def overlaps(self) -> BoolArray:
        """Return whether each detection finds a reference, perhaps the same as another."""
        return overlaps(self.iou, self.labels, self.reference_labels)


@dataclass(frozen=True, eq=False)
class Measured:
    """One slice at each score threshold of `SWEEP`: all that choosing thresholds and averaging need.

    ``ap`` (T, 10) of the papers' definition; ``detections`` (T,) how many are reported; ``found`` (T,) how
    many of the ``lesions`` reference lesions and ``right`` (T,) how many of the reported find their other
    (`average_precision.matches`); ``lesion``: there are lesion pixels, perhaps too few for one that counts;
    ``predicted`` and ``shared`` (T,) lesion pixels, of ``reference`` in the mask; ``scores`` (P,) and
    ``hits`` (P,) of all single detections above the lowest score, for calibration: where touching ones are
    one lesion, each may be right with the same reference.
    """

    name: str
    source: str
    patient: str
    lesion: bool
    ap: DoubleArray
    detections: DoubleArray
    lesions: int
    found: DoubleArray
    right: DoubleArray
    predicted: DoubleArray
    shared: DoubleArray
    reference: int
    scores: FloatArray
    hits: BoolArray

    @property
    def dice(self) -> DoubleArray:
        """(T,) Dice of the pixels; NaN where the slice has no lesion."""
        if not self.reference:
            return np.full(len(self.shared), np.nan)
        return 2 * self.shared / (self.predicted + self.reference)


@dataclass(frozen=True, eq=False)
class SliceOutcome:
    """What is kept of one evaluated slice.

    Attributes
    ----------
    candidates:
        Single detections after NMS, without score cut-off, no more than may be reported.
    reported:
        Those that pass the score threshold; with `DetectionSettings.join_touching` their connected regions.
    ap:
        (10,) the papers' average precision of the reported detections.
    pixels, class_pixels:
        Overlap of the reported masks with the whole reference, classes merged and by class.
    sweep:
        What would be reported at each score threshold.
    predicted_bits:
        The reported lesion pixels, packed, for pictures.
    coco:
        None where pycocotools is absent, or it is not asked for.
    """

    name: str
    patient: str
    size: tuple[int, int]
    candidates: Matched
    reported: Matched
    ap: DoubleArray
    pixels: Overlap
    class_pixels: tuple[Overlap, ...]
    sweep: Measured
    predicted_bits: ByteArray
    coco: coco.CocoImage | None
    seconds: float

    @property
    def has_lesion(self) -> bool:
        """Whether the reference has any lesion pixel of the evaluated classes."""
        return self.pixels.reference > 0

    @property
    def counts(self) -> bool:
        """Whether a reference instance counts for AP; else AP is that of a lesion-free slice."""
        return self.references > 0

    @property
    def references(self) -> int:
        """Number of reference instances that count for AP."""
        return len(self.reported.reference_labels)

    @property
    def found(self) -> int:
        """Number of reference instances that a reported detection finds."""
        return int((self.reported.found() >= 0).sum())

    @property
    def false_positives(self) -> int:
        """Number of reported detections that find nothing."""
        return int((~self.reported.hits()).sum())

    @property
    def predicted(self) -> BoolArray:
        """The (H, W) reported lesion pixels."""
        height, width = self.size
        return np.unpackbits(self.predicted_bits, count=height * width).reshape(height, width).astype(bool)


def default_mask_type(region_classes: Sequence[str]) -> MaskType:
    """Return the mask type that weights with these positive classes were made for."""
    if len(region_classes) == 2:
        return "both"
    return "ggo" if tuple(region_classes) == ("GGO",) else "merge"


def check_mask_type(mask_type: str, region_classes: Sequence[str]) -> None:
    """Check that weights with these positive classes can be compared with masks of a type.

    Raises
    ------
    SettingsError
        If the type is unknown, or ``both`` is asked of weights with one class, or they have over two.
    """
    if mask_type not in MASK_TYPES:
        raise SettingsError(f"Unknown mask type '{mask_type}': use {', '.join(MASK_TYPES)}.")
    if mask_type == "both" and len(region_classes) != 2:
        raise SettingsError(
            f"These weights find {', '.join(region_classes)}; GGO and consolidation apart need weights with "
            "those two classes. Use --mask-type merge or other weights."
        )
    if mask_type == "ggo" and len(region_classes) > 2:
        raise SettingsError("Weights with more than two lesion classes are compared with --mask-type merge.")


def check_slices(slices: Iterable[ReferenceSlice]) -> Generator[Progress, None, None]:
    """Read every picture and mask once, so that a bad file shows before the networks run for an hour.

    Raises
    ------
    DataError
        If a file is damaged, a mask holds an unknown value, or picture and mask differ in size.
    """
    listed = list(slices)
    for done, item in enumerate(listed):
        yield Progress(done, len(listed), "Checking the data")
        image, mask = item.image_hu().shape, item.mask().shape
        if image != mask:
            raise DataError(
                f"The picture '{item.name}' has {image[1]} x {image[0]} pixels, its mask "
                f"{mask[1]} x {mask[0]}; both must have one size."
            )


def evaluate_slices(
    pipeline: Pipeline, slices: Sequence[ReferenceSlice], settings: SegmentationSettings
) -> Generator[Progress | SliceOutcome, None, None]:
    """Run the detector on each slice and compare it with its mask, see `measure_slices`."""
    for item in measure_slices(pipeline, slices, [settings]):
        yield item if isinstance(item, Progress) else item[0]


def measure_slices(
    pipeline: Pipeline, slices: Sequence[ReferenceSlice], grid: Sequence[SegmentationSettings]
) -> Generator[Progress | tuple[SliceOutcome, ...], None, None]:
    """Run the detector once on each slice and compare it with its mask at each of the settings.

    Yields `Progress` before each slice and, after it, its outcome at each of the settings, which have one
    mask type.

    Raises
    ------
    DataError
        If a picture or mask cannot be used.
    SettingsError
        If the weights cannot be compared with masks of this type.
    """
    mask_type = grid[0].mask_type
    check_mask_type(mask_type, pipeline.region_classes)
    yield from check_slices(slices)
    every = [settings.candidates for settings in grid]
    single = pipeline.without_class(
        dataclasses.replace(
            every[0],
            score=min(one.score for one in every),
            nms_iou=max((one.nms_iou for one in every), key=lambda iou: 1.0 if iou is None else iou),
            max_detections=max(one.max_detections for one in every),
        )
    )
    for done, item in enumerate(slices):
        yield Progress(done, len(slices), item.name)
        started = time.perf_counter()
        volume = one_slice_volume(item.image_hu(), name=item.name)
        (result,) = (r for r in run(single, volume, [0]) if isinstance(r, SliceResult))
        outcomes = []
        for settings in grid:
            candidates = detect(single, result, settings.candidates)
            seconds = time.perf_counter() - started
            kept, labels = _as_mask_type(candidates.labels, single.region_classes, mask_type)
            counted = dataclasses.replace(candidates.at(kept), labels=labels)
            outcomes.append(compare(counted, item.mask(), settings, item=item, seconds=seconds))
        yield tuple(outcomes)
    yield Progress(len(slices), len(slices), "Done")


def _as_mask_type(
    labels: IntArray, region_classes: Sequence[str], mask_type: str
) -> tuple[BoolArray, IntArray]:
    """Return which detections count and their labels in the classes of the mask type."""
    if mask_type == "ggo" and len(region_classes) == 2:
        return labels == 1, labels[labels == 1]
    if mask_type == "merge":
        return np.ones(len(labels), bool), np.ones_like(labels)
    return np.ones(len(labels), bool), labels


def reference_labels(mask: ByteArray, mask_type: str) -> ByteArray:
    """Return the mask in the classes of the mask type: 0 none, else the label."""
    labels = np.zeros_like(mask)
    for label, values in enumerate(MASK_TYPES[mask_type], 1):
        labels[np.isin(mask, values)] = label
    return labels


def compare(
    candidates: Detections,
    mask: ByteArray,
    settings: SegmentationSettings,
    *,
    item: ReferenceSlice,
    seconds: float = 0.0,
) -> SliceOutcome:
    """Compare the candidates of one slice with its mask (H, W).

    Parameters
    ----------
    candidates:
        Best first, without score cut-off, in the classes of the mask type.
    """
    shape = (int(mask.shape[0]), int(mask.shape[1]))
    masks = mask_pixels(candidates, shape)
    references, labels = instances(mask, settings.mask_type, settings.min_area)
    encoded = None
    if settings.coco and coco.available():
        encoded = coco.coco_image(masks, candidates.scores.tolist(), candidates.labels, references, labels)
    # COCO may look at more detections than the settings ever report; everything else at no more.
    limit = settings.detections.max_detections
    masks, scores, found = masks[:limit], candidates.scores[:limit], candidates.labels[:limit]
    every = Matched(
        scores=scores,
        labels=found,
        iou=mask_iou(masks, references).astype(np.float32),
        reference_labels=labels,
    )
    reported, shown = _reported(every, masks, references, settings.detections, settings.detections.score)
    truth = reference_labels(mask, settings.mask_type)
    return SliceOutcome(
        name=item.name,
        patient=item.patient,
        size=shape,
        candidates=every,
        reported=reported,
        ap=reported.ap(),
        pixels=overlap_merged(shown, truth),
        class_pixels=overlap_by_class(shown, truth, classes=len(settings.class_names)),
        sweep=_sweep(every, masks, references, truth, settings.detections, item=item),
        predicted_bits=np.packbits(shown > 0),
        coco=encoded,
        seconds=seconds,
    )


def _reported(
    candidates: Matched, masks: BoolArray, references: BoolArray, settings: DetectionSettings, score: float
) -> tuple[Matched, ByteArray]:
    """Return what is reported above a score, and its (H, W) label map.

    ``masks`` (P, H, W) of the candidates; ``references`` (G, H, W).
    """
    passed = candidates.above(score)
    masks = masks[: len(passed)]
    if not settings.join_touching:
        return passed, label_map(masks, passed.labels)
    regions = touching_regions(masks, passed.labels)
    lesions = dataclasses.replace(
        passed,
        scores=passed.scores[regions.best],
        labels=passed.labels[regions.best],
        iou=mask_iou(regions.masks, references).astype(np.float32),
    )
    return lesions, label_map(regions.masks, lesions.labels)


def _sweep(
    candidates: Matched,
    masks: BoolArray,
    references: BoolArray,
    truth: ByteArray,
    settings: DetectionSettings,
    *,
    item: ReferenceSlice,
) -> Measured:
    """Measure what is reported at each score threshold; equal reports are computed once."""
    counts = [len(candidates.above(threshold)) for threshold in SWEEP.tolist()]
    known: dict[int, tuple[DoubleArray, int, int, int, Overlap]] = {}
    for threshold, count in zip(SWEEP.tolist(), counts, strict=True):
        if count not in known:
            reported, shown = _reported(candidates, masks, references, settings, threshold)
            found, right = int((reported.found() >= 0).sum()), int(reported.hits().sum())
            known[count] = reported.ap(), len(reported), found, right, overlap_merged(shown, truth)
    ap, detections, found_, right_, pixels = zip(*(known[count] for count in counts), strict=True)
    scored = candidates.above(float(SWEEP[0]))
    return Measured(
        name=item.name,
        source="",
        patient=item.patient,
        lesion=bool((truth > 0).any()),
        ap=np.array(ap),
        detections=np.array(detections, np.float64),
        lesions=len(references),
        found=np.array(found_, np.float64),
        right=np.array(right_, np.float64),
        predicted=np.array([one.predicted for one in pixels], np.float64),
        shared=np.array([one.shared for one in pixels], np.float64),
        reference=pixels[0].reference,
        scores=scored.scores,
        hits=scored.overlaps() if settings.join_touching else scored.hits(),
    )
