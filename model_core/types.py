"""Plain data that crosses room boundaries. numpy and the standard library only.

Conventions: arrays of a volume are ``(D, H, W)`` in *display order*: axial slices head to feet, rows
anterior to posterior, columns patient right to left (so ``voxels[k]`` is the picture as shown).
Boxes are ``(N, 4)`` float32 ``x1, y1, x2, y2`` pixel *edges*: the pixel in column c covers c..c+1.
Patient coordinates are DICOM's LPS, in mm.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from model_core.config import DetectionSettings, EvidenceBasis, EvidenceSettings

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
VoxelArray = npt.NDArray[np.int16]

Plane = Literal["axial", "coronal", "sagittal", "oblique", "unknown"]
Unit = Literal["HU", "values", "grey"]
Level = Literal["info", "warning", "error"]
VoiFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
# Why a candidate is not among the shown detections, in the order in which candidates are sorted out.
UnshownReason = Literal["area", "score", "overlap", "limit"]

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One step of a running job: ``done`` of ``total`` (0 when unknown) and what is being done."""

    done: int
    total: int
    text: str = ""


def finish(job: Generator[Progress | T, None, None]) -> list[T]:
    """Run a job generator to its end and return what it produced, without the progress."""
    return [item for item in job if not isinstance(item, Progress)]


# ------------------------------------------------------------------------------------------- volumes


@dataclass(frozen=True)
class Problem:
    """Something noticed while reading; checks report, callers decide.

    ``text`` says what was found, ``action`` what was done about it, ``files`` names them (base names).
    """

    level: Level
    text: str
    action: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """A VOI window in the volume's unit (PS3.3 C.11.2).

    ``curve``, where it is not empty, is a VOI LUT: display values 0..255, spread evenly over the window from
    its first to its last value. A width of its length gives each value an entry of its own.
    """

    width: float
    level: float
    name: str = ""
    function: VoiFunction = "LINEAR"
    curve: bytes = field(default=b"", repr=False)


def probability_text(value: float, digits: int = 2) -> str:
    """Return a probability or score for people: never "1.00" or "0.00", as neither is certain."""
    text = f"{value:.{digits}f}"
    step = 10.0**-digits
    if float(text) == 1:
        return f"> {1 - step:.{digits}f}"
    return f"< {step:.{digits}f}" if float(text) == 0 else text


# Of the logits of a slice, at the ends of the colours.
LOGIT_PERCENTILES = (1.0, 99.0)

LUNG_WINDOW = Window(1500, -600, "Lung")


@dataclass(frozen=True)
class NiftiForms:
    """Both ways in which the header of a NIfTI file places its voxels, RAS in mm, as the file has them.

    ``pixdim`` is the sign of the third axis and the three sizes of a voxel, ``quaternion`` b, c, d of the
    qform with its ``qoffset``, ``srow`` the (3, 4) matrix of the sform, row by row. A code of 0 says that
    the form is not set.
    """

    qform_code: int
    sform_code: int
    pixdim: tuple[float, ...]
    quaternion: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a display-ordered array lie in the patient.

    Attributes
    ----------
    spacing_mm:
        Steps along (slices, rows downwards, columns rightwards); None where unknown, never invented.
    origin_mm:
        LPS position of the centre of voxel [0, 0, 0], or None.
    axes:
        (3, 3) array; row i is the LPS unit vector of array axis i; or None.
    last_origin_mm:
        LPS position of the centre of voxel [-1, 0, 0], or None where it follows from the rest. The slices of
        a tilted stack are shifted sideways, so there it does not.
    stated_aspect:
        Height of a pixel over its width where its size is unknown but its shape is stated; else None.
    native_axes, native_flips:
        The file's own order: ``native = flip(transpose(display, native_axes), where native_flips)``,
        native being (slices by ascending position along the file's normal, file rows, file columns).
    forms:
        Of a NIfTI file: what its header says of its place, for masks that lie on it in any program.
    """

    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    origin_mm: tuple[float, float, float] | None = None
    axes: DoubleArray | None = None
    native_axes: tuple[int, int, int] = (0, 1, 2)
    native_flips: tuple[bool, bool, bool] = (False, False, False)
    last_origin_mm: tuple[float, float, float] | None = None
    stated_aspect: float | None = None
    forms: NiftiForms | None = None

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel over its width; 1 where neither size nor shape is known."""
        _, row, column = self.spacing_mm
        return row / column if row and column else self.stated_aspect or 1.0

    @property
    def sheared(self) -> bool:
        """Whether the slices are shifted sideways over the stack (gantry tilt), by more than 0.3 degrees."""
        if self.axes is None or self.origin_mm is None or self.last_origin_mm is None:
            return False
        travel = np.array(self.last_origin_mm, float) - np.array(self.origin_mm, float)
        along = float(travel @ self.axes[0])
        return bool(np.linalg.norm(travel - along * self.axes[0]) > 5e-3 * abs(along) > 0)

    @property
    def pixel_area_mm2(self) -> float | None:
        """Area of one pixel of a slice in mm², or None where the spacing is unknown."""
        _, row, column = self.spacing_mm
        return None if row is None or column is None else row * column

    @property
    def voxel_volume_mm3(self) -> float | None:
        """Volume of one voxel in mm³, or None where the spacing is unknown."""
        area, step = self.pixel_area_mm2, self.spacing_mm[0]
        return None if area is None or step is None else area * step

    def to_native(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a display-ordered array in the file's own order (a view)."""
        native = np.transpose(array, self.native_axes)
        flips = tuple(axis for axis, flip in enumerate(self.native_flips) if flip)
        return np.flip(native, flips) if flips else native

    def from_native(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Inverse of `to_native` (a view)."""
        flips = tuple(axis for axis, flip in enumerate(self.native_flips) if flip)
        flipped = np.flip(array, flips) if flips else array
        return np.transpose(flipped, np.argsort(self.native_axes))


@dataclass(frozen=True)
class PatientText:
    """Identifying text of a study as the files hold it: shown unless privacy mode is on, never logged.

    ``name`` is a DICOM person name (PS3.5 6.2.1.2), such as ``Doe^Jane^Mary``; `readable_name` is for people.
    """

    name: str = ""
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""
    age: str = ""
    study_date: str = ""
    study_description: str = ""
    institution: str = ""


def readable_name(name: str) -> str:
    """Return a DICOM person name (PS3.5 6.2.1.2) for people: "Family, Given Middle".

    Of its representations the first that is not empty: alphabetic, ideographic, phonetic. The latter two are
    written without a comma.
    """
    for index, group in enumerate(name.split("=")):
        family, *given = (" ".join(part.split()) for part in group.split("^")[:3])
        words = [word for word in (family, " ".join(filter(None, given))) if word]
        if words:
            return (", " if index == 0 else " ").join(words)
    return ""


@dataclass(frozen=True)
class SeriesEntry:
    """One openable series found by a scan; holds no pixels. ``patient`` is whose it is.

    ``series_id`` is an opaque stable hash (no patient data). ``files`` are in display order.
    ``source`` is the reader's own key; only `model_core.io` looks at it. ``every`` is above 1 where
    only every n-th slice of what was found is opened (`model_core.io.thin`).
    """

    series_id: str
    title: str
    modality: str
    size: tuple[int, int, int]
    files: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    plane: Plane = "unknown"
    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    series_uid: str = ""
    source: Any = field(default=None, repr=False, compare=False)
    every: int = 1
    patient: PatientText = field(default=PatientText(), repr=False)

    @property
    def status(self) -> Literal["ok", "warning", "error"]:
        """The worst of the problems."""
        levels = {problem.level for problem in self.problems}
        return "error" if "error" in levels else "warning" if "warning" in levels else "ok"


@dataclass(frozen=True)
class FileReport:
    """What became of one file of a scan."""

    path: str
    status: Literal["ok", "warning", "error", "skipped"]
    reason: str = ""
    transfer_syntax: str = ""


@dataclass(frozen=True)
class Catalogue:
    """Result of scanning a path: the series, best guess first, and one report per file."""

    root: str
    series: tuple[SeriesEntry, ...]
    files: tuple[FileReport, ...]


@dataclass(frozen=True, eq=False)
class Volume:
    """An opened series.

    Attributes
    ----------
    voxels:
        (D, H, W) int16 in display order: HU, or other stored values, or 0..255 grey.
    unit:
        "HU" for CT in Hounsfield units, "grey" for 8-bit pictures, else "values".
    slice_positions_mm:
        (D,) ImagePositionPatient projected on the slice normal of the files, or None.
    slice_names:
        D base names of files, for messages and exports; or empty.
    windows:
        The file's own windows (of the middle slice), possibly none.
    every:
        Above 1 where only every n-th slice of the series was opened (`SeriesEntry.every`).
    """

    series_id: str
    title: str
    voxels: VoxelArray
    geometry: Geometry
    unit: Unit = "HU"
    plane: Plane = "unknown"
    modality: str = "CT"
    series_uid: str = ""
    slice_positions_mm: DoubleArray | None = None
    slice_names: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()
    patient: PatientText = field(default=PatientText(), repr=False)
    lossy: bool = False
    inverted: bool = False
    padding_value: int | None = None
    problems: tuple[Problem, ...] = ()
    every: int = 1

    @property
    def slices(self) -> int:
        """Number of slices."""
        return int(self.voxels.shape[0])


# ----------------------------------------------------------------------------------- network results


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
    """Class logits of one slice, the evidence they were computed from, and what that is (`EvidenceBasis`)."""

    logits: FloatArray
    probabilities: FloatArray
    batch: RoiBatch
    settings: EvidenceSettings
    basis: EvidenceBasis

    @property
    def from_bias(self) -> bool:
        """Whether no region is left in the evidence: the class is what the network answers to nothing."""
        return not len(self.batch.kept)


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one slice under given settings, best first.

    ``indices`` point into the detection candidates. ``boxes`` are slice pixels (source grid),
    ``mask_logits`` (D, 28, 28) raw logits of the predicted class in the ``mask_boxes``, which are slice
    pixels too and may be larger (`DetectorSettings.mask_box_scale`).
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
        FPN maps by level name, float16, for the mask of any detection candidate; also those of the mirror
        image where the network looked at it.
    mask_cache:
        Raw mask logits (28, 28) of candidates once asked for; filled by the pipeline.
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


@dataclass(frozen=True)
class RoiRow:
    """One distinct RoI of the evidence as a table shows it.

    ``box`` in slice pixels; ``copies`` how often it stands in the RoI batch, 0 without a
    classifier; ``class_number`` that of ``label`` among the region classes, from 1; ``detected`` whether the
    same candidate is among the shown detections; None where the
    class has regions of its own (two branches or two networks), so that the shown detections are others.
    ``unshown`` says why it is not; with "overlap", ``suppressor`` is the rank of the better region that
    suppressed it (None where that one is not in the table).
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
        }
        return reasons.get(self.unshown or "", "not shown at these thresholds")


@dataclass(frozen=True)
class SliceSummary:
    """What the strip and the scan need of one slice. Areas are of the union of shown masks.

    ``from_bias`` as in `ImageVerdict`.
    """

    slice_index: int
    detections: int
    lesion_px: int
    lesion_mm2: float | None
    probabilities: tuple[float, ...] | None
    from_bias: bool = False


@dataclass(frozen=True)
class ScanVerdict:
    """The class of the scan, with the rule that combines the slices spelled out in ``rule``.

    ``from_bias``: no region is left in the evidence of any slice used.
    """

    probabilities: tuple[float, ...]
    class_index: int
    slices_used: tuple[int, ...]
    rule: str
    basis: EvidenceBasis
    from_bias: bool = False


@dataclass(frozen=True, eq=False)
class ShownSlice:
    """Everything drawn over one slice, computed once per (slice, settings).

    Attributes
    ----------
    masks:
        (D, H, W) bool, one per detection (or connected region, see `explain.shown_lesions`), in slice pixels.
    logit_map:
        (H, W) float32 maximum (or sum) of the pasted raw mask logits; NaN outside every mask box.
    """

    slice_index: int
    detections: Detections
    masks: BoolArray
    logit_map: FloatArray
    rois: tuple[RoiRow, ...]
    verdict: ImageVerdict | None
    summary: SliceSummary

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
