"""What the network found in a slice, and what is shown of it.

Boxes are ``(N, 4)`` float32 ``x1, y1, x2, y2`` pixel *edges*: the pixel in column c covers c..c+1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, FloatArray, IntArray
from model_core.base.calibration import ScanCheck
from model_core.base.settings import (
    DetectionSettings,
    EvidenceBasis,
    EvidenceEdit,
    EvidenceSettings,
    MaskScale,
)

# What is said of a scan; "no_class" where no slice shows lung.
Verdict = Literal["no_class", "control", "uncertain", "ill"]
# Thirds of the slices with lung, from the head; no lobes.
Third = Literal["upper", "middle", "lower"]
# Why a scan is uncertain: nobody knows whether it is a chest; too few slices; lesions of unknown volume;
# lesions, but no more slices that look ill than in controls; slices that look ill, but hardly a lesion.
Doubt = Literal["no_chest", "few_slices", "no_volume", "few_ill", "few_lesions"]
# A slice of more looks ill.
ILL_PROBABILITY = 0.5
# The kind of pneumonia where it cannot be told.
UNDECIDED = "undecided"

# Why a candidate is not among the shown detections, in the order in which candidates are sorted out.
# "asked" is none of the detector's own.
UnshownReason = Literal["area", "score", "overlap", "limit", "asked"]


def probability_text(value: float, digits: int = 2) -> str:
    """Return a probability or score for people: never "1.00" or "0.00", as neither is certain."""
    text = f"{value:.{digits}f}"
    step = 10.0**-digits
    if float(text) == 1:
        return f"> {1 - step:.{digits}f}"
    return f"< {step:.{digits}f}" if float(text) == 0 else text


# Of the logits of a slice, at the ends of the colours.
LOGIT_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Every (proposal, positive class) pair of one slice, before thresholds and NMS, RoI-major.

    Attributes
    ----------
    proposals:
        (M, 4) float32 boxes that the candidates were made of, network-input pixels: one for all its classes.
    boxes:
        (M, 4) decoded (`deltas` applied to `proposals`) and clipped, network-input pixels.
    deltas:
        (M, 4) the raw encoded dx, dy, dw, dh of that class.
    scores:
        (M,) softmax probability of the class.
    logits:
        (M,) raw logit of the class, for sigmoid scoring.
    labels:
        (M,) class index, 1-based (0 is background and never occurs).
    """

    proposals: FloatArray
    boxes: FloatArray
    deltas: FloatArray
    scores: FloatArray
    logits: FloatArray
    labels: IntArray

    def __len__(self) -> int:
        return int(self.scores.shape[0])


@dataclass(frozen=True, eq=False)
class RoiBatch:
    """The N ranked RoIs that module S reads (§5.2).

    Attributes
    ----------
    rows:
        (N, 5) score, dx, dy, dw, dh; scores non-increasing. Zeros when nothing was kept (K = 0).
    source:
        (N,) index into the candidates for each row; -1 where K = 0. A run of equal indices is a
        replicated RoI.
    kept:
        (K,) indices of the distinct RoIs in rank order.
    """

    rows: FloatArray
    source: IntArray
    kept: IntArray


@dataclass(frozen=True, eq=False)
class ImageVerdict:
    """Class logits of one slice, the evidence they were computed from, and what that is (`EvidenceBasis`).

    ``edit`` is what a person left out of the evidence or put into it; None where nothing is.
    """

    logits: FloatArray
    probabilities: FloatArray
    batch: RoiBatch
    settings: EvidenceSettings
    basis: EvidenceBasis
    edit: EvidenceEdit | None = None

    @property
    def from_bias(self) -> bool:
        """Whether no region is left in the evidence: the class is what the network answers to nothing."""
        return not len(self.batch.kept)


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one slice under given settings, best first.

    ``indices`` point into the detection candidates. ``boxes`` are slice pixels (source grid),
    ``mask_logits`` (D, 28, 28) raw logits of the predicted class in the ``mask_boxes``: the same boxes, but
    not cut off at the edges of the slice.
    """

    indices: IntArray
    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    mask_boxes: FloatArray
    mask_logits: FloatArray
    settings: DetectionSettings

    def __len__(self) -> int:
        return int(self.indices.shape[0])

    def at(self, which: IntArray | BoolArray) -> Detections:
        """Return some of the detections: those of these positions, or where it is true."""
        return replace(
            self,
            indices=self.indices[which],
            boxes=self.boxes[which],
            scores=self.scores[which],
            labels=self.labels[which],
            mask_boxes=self.mask_boxes[which],
            mask_logits=self.mask_logits[which],
        )

    def followed_by(self, others: Detections) -> Detections:
        """Return these detections and others of the same slice after them."""
        names = ("indices", "boxes", "scores", "labels", "mask_boxes", "mask_logits")
        both: dict[str, Any] = {
            name: np.concatenate((getattr(self, name), getattr(others, name))) for name in names
        }
        return replace(self, **both)


@dataclass(frozen=True)
class Placement:
    """How a slice lies in the square network input: scale, then shift; exactly invertible.

    ``network = slice * scale + (offset_x, offset_y)`` for pixel-edge coordinates.
    """

    slice_shape: tuple[int, int]
    size: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_slice(self, boxes: FloatArray) -> FloatArray:
        """Map (N, 4) boxes from network-input pixels to slice pixels."""
        shift = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return ((boxes - shift) / scale).astype(np.float32)

    def in_slice(self, boxes: FloatArray) -> FloatArray:
        """Map boxes as `to_slice` does, and cut off what reaches over the edge of the slice.

        A slice that is not square has a border in the network's input, and boxes may reach into it.
        """
        height, width = self.slice_shape
        return np.clip(self.to_slice(boxes), 0, np.array([width, height] * 2, np.float32))

    def to_network(self, boxes: FloatArray) -> FloatArray:
        """Map (N, 4) boxes from slice pixels to network-input pixels."""
        shift = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return (boxes * scale + shift).astype(np.float32)


@dataclass(frozen=True, eq=False)
class SliceResult:
    """What the engine keeps of one slice: all that thresholds, NMS, masks and the class need later.

    Attributes
    ----------
    detection_candidates, evidence_candidates:
        One object where both branches are the same network.
    verdict:
        The class from the evidence that the weights define, or None without a classifier.
    features:
        FPN maps by level name, float16, for the mask of any detection candidate.
    mask_cache:
        Raw mask logits (28, 28) of candidates once asked for; filled by the pipeline.
    span_cache:
        By mask threshold and its scale, the last one alone: the (2, R) runs of the masks of candidates once
        shown, see `explain.spans`.
    unlike_training:
        As in `SliceSummary`, under the evidence that the weights define.
    """

    series_id: str
    weights_id: str
    slice_index: int
    placement: Placement
    evidence_placement: Placement
    detection_candidates: Candidates
    evidence_candidates: Candidates | None
    verdict: ImageVerdict | None
    features: dict[str, npt.NDArray[np.float16]] = field(repr=False)
    mask_cache: dict[int, FloatArray] = field(default_factory=dict, repr=False)
    span_cache: dict[tuple[float, MaskScale], dict[int, npt.NDArray[np.int32]]] = field(
        default_factory=dict, repr=False
    )
    unlike_training: bool | None = None


@dataclass(frozen=True)
class RoiRow:
    """One distinct RoI of the evidence as a table shows it.

    ``box`` in slice pixels; ``copies`` how often it stands in the RoI batch, 0 without a
    classifier; ``class_number`` that of ``label`` among the region classes, from 1; ``detected`` whether the
    same candidate is among the shown detections; None where the
    class has regions of its own (two branches or two networks), so that the shown detections are others.
    ``unshown`` says why it is not; with "overlap", ``suppressor`` is the rank of the better region that
    suppressed it (None where that one is not in the table). ``excluded``: a person took it out of the
    evidence (`EvidenceEdit`); its rank is that among all rows, excluded ones included. ``asked``: which
    of the regions that a person asked about it answers, from 0; without copies its score is too low for the
    evidence.
    """

    rank: int
    candidate: int
    score: float
    label: str
    box: tuple[float, float, float, float]
    area_px: float
    area_mm2: float | None
    copies: int
    detected: bool | None
    class_number: int = 0
    unshown: UnshownReason | None = None
    suppressor: int | None = None
    excluded: bool = False
    asked: int | None = None

    @property
    def why_unshown(self) -> str:
        """Say why no shown region is this one's: what it fails, or that it is joined with others."""
        if self.detected:
            return "no lesion of its own"
        if self.unshown == "overlap":
            better = "a better one" if self.suppressor is None else f"region {self.suppressor}"
            return f"suppressed by {better} (NMS)"
        reasons = {
            "score": "not above the score threshold",
            "area": "its box is too small",
            "limit": "beyond the most detections shown",
            "asked": "asked about, not found by the network",
        }
        return reasons.get(self.unshown or "", "not shown at these thresholds")


@dataclass(frozen=True)
class SliceSummary:
    """What the strip and the scan need of one slice. Areas are of the union of shown masks.

    Attributes
    ----------
    probabilities:
        Sigmoid of each logit of module S; None without a classifier.
    from_bias:
        As in `ImageVerdict`.
    lung:
        Whether the slice lies in the range of the lungs; None where nobody looked.
    ill_probability:
        That the slice shows pneumonia of any kind; None outside the lungs and for weights without a
        calibration.
    kind:
        Name of the class where the kind of an ill slice can be told, else `UNDECIDED`; None without an
        `ill_probability`.
    unlike_training:
        Whether the slice is unlike those of the training: it marks, and changes nothing. None where unknown.
    edited:
        Whether a person left regions out of the evidence or put some in (`EvidenceEdit`).
    """

    slice_index: int
    detections: int
    lesion_px: int
    lesion_mm2: float | None
    probabilities: tuple[float, ...] | None
    from_bias: bool = False
    lung: bool | None = None
    ill_probability: float | None = None
    kind: str | None = None
    unlike_training: bool | None = None
    edited: bool = False

    @property
    def ill(self) -> bool:
        """Whether the slice rather shows pneumonia than not."""
        return self.ill_probability is not None and self.ill_probability > ILL_PROBABILITY


@dataclass(frozen=True)
class ScanVerdict:
    """What is said of the scan, with the rules that combine the slices spelled out.

    Attributes
    ----------
    probabilities:
        Mean class probabilities of ``slices_used``; empty where no slice has a class.
    class_index:
        The named class; None where none is: without lungs, where the verdict is in doubt, or where the kind
        of pneumonia cannot be told. Weights without a calibration always name the likeliest.
    rule:
        How ``probabilities`` were combined.
    from_bias:
        No region is left in the evidence of any slice used.
    verdict:
        None for weights without a calibration.
    lung_slices, ill_slices:
        How many analysed slices show lung, and how many of those look ill.
    control_rate:
        Share of the slices of controls that look ill all the same.
    lesion_ml, lung_ml:
        Volume of the shown masks in the lung slices analysed, and of the lungs; None where unknown.
    kind:
        Of an ill scan: the class that is named, or `UNDECIDED`; else None.
    deciding:
        The slices that speak most for the verdict, most telling first.
    verdict_rule:
        How ``verdict`` follows from the numbers, in words.
    checked:
        Whole scans that these weights were tried on; None where there are none.
    doubt:
        Of an uncertain scan, why it is.
    mostly:
        The third of the lungs that holds more than half of ``lesion_ml``; None where none does.
    """

    probabilities: tuple[float, ...]
    class_index: int | None
    slices_used: tuple[int, ...]
    rule: str
    basis: EvidenceBasis
    from_bias: bool = False
    verdict: Verdict | None = None
    lung_slices: int = 0
    ill_slices: int = 0
    control_rate: float | None = None
    lesion_ml: float | None = None
    lung_ml: float | None = None
    kind: str | None = None
    deciding: tuple[int, ...] = ()
    verdict_rule: str = ""
    checked: ScanCheck | None = None
    doubt: Doubt | None = None
    mostly: Third | None = None


class _WhenAsked:
    """A field that may be given as a function: whoever reads it first calls it.

    Threads that read it at once may each call it; the arrays that they get are equal.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type | None = None) -> FloatArray:
        if instance is None:
            raise AttributeError(self._name)  # to a dataclass: no default
        value = vars(instance)[self._name]
        if callable(value):
            value = vars(instance)[self._name] = value()
        array: FloatArray = value
        return array

    def __set__(self, instance: object, value: FloatArray | Callable[[], FloatArray]) -> None:
        vars(instance)[self._name] = value


@dataclass(frozen=True, eq=False)
class ShownAsked:
    """A region that a person asked about, as it is drawn: its likeliest class.

    Attributes
    ----------
    candidate:
        Of its row among the RoIs, which has score, class and decoded box.
    drawn:
        What was drawn, the proposal, in slice pixels.
    mask:
        (H, W) under the mask threshold of the shown detections; None where the detector has no box of this
        class for the proposal, or no masks.
    """

    candidate: int
    drawn: tuple[float, float, float, float]
    mask: BoolArray | None


@dataclass(frozen=True, eq=False)
class ShownSlice:
    """Everything drawn over one slice, computed once per (slice, settings).

    Attributes
    ----------
    masks:
        (D, H, W) bool, one per detection (or connected region, see `explain.shown_lesions`), in slice pixels.
    logit_map:
        (H, W) float32 maximum (or sum) of the pasted raw mask logits; NaN outside every mask box. May be
        given as a function, which is called once the map is asked for: it often is not.
    asked:
        What was asked about; no detections, and in no measure of lesions.
    pending:
        How many of the detections, the last ones, have an empty mask because theirs is still to be computed.
    """

    slice_index: int
    detections: Detections
    masks: BoolArray
    logit_map: _WhenAsked = _WhenAsked()  # a descriptor is no default
    rois: tuple[RoiRow, ...]  # type: ignore[misc]
    verdict: ImageVerdict | None  # type: ignore[misc]
    summary: SliceSummary  # type: ignore[misc]
    asked: tuple[ShownAsked, ...] = ()
    pending: int = 0

    def changed(self, **fields: Any) -> ShownSlice:
        """Return a copy with other fields; `dataclasses.replace` would ask for the logit map."""
        return ShownSlice(**{**vars(self), **fields})

    @property
    def evidence_rois(self) -> tuple[RoiRow, ...]:
        """The rows of the table that are in the evidence, in the order of its kept rows."""
        return tuple(roi for roi in self.rois if not roi.excluded and (roi.asked is None or roi.copies))

    @property
    def excluded(self) -> frozenset[int]:
        """The candidates that a person took out of the evidence."""
        return frozenset(roi.candidate for roi in self.rois if roi.excluded)

    def asked_rois(self) -> Iterator[tuple[ShownAsked, RoiRow]]:
        """Iterate over what was asked about, each with its row."""
        rows = {roi.candidate: roi for roi in self.rois if roi.asked is not None}
        for one in self.asked:
            if one.candidate in rows:
                yield one, rows[one.candidate]

    @property
    def logit_range(self) -> tuple[float, float] | None:
        """Logits at the ends of the colours: the 1st and 99th percentile of the map; None where it is empty.

        A few extreme pixels would take the colours of all others.
        """
        present = self.logit_map[np.isfinite(self.logit_map)]
        if not present.size:
            return None
        low, high = (float(end) for end in np.percentile(present, LOGIT_PERCENTILES))
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    @property
    def calibrated(self) -> bool:
        """Whether the scores of ``rois`` are calibrated by a temperature, not the network's own."""
        settings = self.detections.settings if self.verdict is None else self.verdict.settings
        return settings.temperature != 1
