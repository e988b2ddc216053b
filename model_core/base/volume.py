"""What a scan finds and a reader opens: problems, series, volumes.

Arrays of a volume are ``(D, H, W)`` in *display order*: axial slices head to feet, rows anterior to
posterior, columns patient right to left (so ``voxels[k]`` is the picture as shown).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray, VoxelArray
from model_core.base.geometry import Geometry

Plane = Literal["axial", "coronal", "sagittal", "oblique", "unknown"]
Unit = Literal["HU", "values", "grey"]
Level = Literal["info", "warning", "error"]
# What a problem is, for programs: its text is for people and may change. In alphabetical order.
ProblemCode = Literal[
    "absent_file",
    "almost_even_spacing",
    "ambiguous_name",
    "burned_in_annotation",
    "clipped_values",
    "confounded_source",
    "dead_link",
    "decimal_comma",
    "duplicate_name",
    "duplicate_picture",
    "duplicate_position",
    "duplicate_sop_instance_uid",
    "empty_class",
    "every_nth_slice",
    "exif_orientation",
    "frame_of_reference_per_slice",
    "gap",
    "grey_map",
    "hounsfield_offset",
    "index_table",
    "large_mask",
    "localizer",
    "lossy_compression",
    "mask_scheme",
    "missing_concatenation_part",
    "missing_listed_picture",
    "missing_mask",
    "missing_orientation",
    "missing_picture",
    "missing_pixel_spacing",
    "missing_position",
    "missing_rescale",
    "missing_series_uid",
    "missing_slice_distance",
    "mixed_patients",
    "mixed_sizes",
    "mixed_studies",
    "modality_by_sop_class",
    "no_class",
    "no_finite_value",
    "no_geometry",
    "no_ggo",
    "no_lesion",
    "no_mask",
    "no_picture",
    "not_finite",
    "not_hounsfield",
    "oblique",
    "one_grey_value",
    "other",
    "other_class",
    "other_mask",
    "padding",
    "phases",
    "pixdim_disagrees",
    "possibly_hounsfield",
    "released_rule",
    "rescale_type",
    "scaled_for_display",
    "series_uid_per_slice",
    "several_components",
    "several_volumes",
    "sform_qform_disagree",
    "shared_patient",
    "shared_picture",
    "sheared",
    "shifted_slices",
    "single_image_series",
    "single_position",
    "size_mismatch",
    "skewed_pixels",
    "split_list",
    "split_series",
    "stray_index_row",
    "study_uid_per_slice",
    "tilt_corrected",
    "unevenly_spaced",
    "unknown_class",
    "unknown_mask_value",
    "unknown_patient",
    "unreadable_files",
    "unreadable_mask",
    "unreadable_picture",
    "unreadable_slices",
    "unsupported_transfer_syntax",
    "unusable_scaling",
    "unusable_sform",
    "wrong_class",
]
VoiFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class Problem:
    """Something noticed while reading; checks report, callers decide.

    ``text`` says what was found, ``action`` what was done about it, ``files`` names them (base names),
    ``code`` is what programs decide by.
    """

    level: Level
    text: str
    action: str = ""
    files: tuple[str, ...] = ()
    code: ProblemCode = "other"

    def values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        said = {"level": self.level, "code": self.code, "text": self.text, "action": self.action}
        return {**said, "files": list(self.files)}


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


LUNG_WINDOW = Window(1500, -600, "Lung")


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
    ``source`` is the reader's own key; only `model_core.read` looks at it. ``every`` is above 1 where
    only every n-th slice of what was found is opened (`model_core.read.thin`).
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
    """What became of one file of a scan. ``absent``: a link or pointer to content that is not here."""

    path: str
    status: Literal["ok", "warning", "error", "skipped"]
    reason: str = ""
    transfer_syntax: str = ""
    absent: bool = False


@dataclass(frozen=True)
class Catalogue:
    """Result of scanning a path: the series, best guess first, and one report per file."""

    root: str
    series: tuple[SeriesEntry, ...]
    files: tuple[FileReport, ...]


@dataclass(frozen=True)
class DicomInstance:
    """The DICOM object (SOP instance, PS3.3 C.12.1) that a slice was read from.

    A UID that the file does not state is empty. ``frame_number`` counts from 1 as ReferencedFrameNumber does
    (PS3.3 10.3); None where the object holds one frame only.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None


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
    instances:
        Of DICOM: D objects that the slices were read from; else empty. Like ``patient`` they are identity:
        never logged, and not exported unless asked for.
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
    slice_positions_mm: DoubleArray | None = None
    slice_names: tuple[str, ...] = ()
    instances: tuple[DicomInstance, ...] = field(default=(), repr=False)
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

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID of all slices; empty where it is not known or they differ."""
        return _common({instance.study_uid for instance in self.instances})

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID of all slices; empty where it is not known or they differ."""
        return _common({instance.series_uid for instance in self.instances})

    @property
    def frame_of_reference_uid(self) -> str:
        """FrameOfReferenceUID of all slices; empty where it is not known or they differ."""
        return _common({instance.frame_of_reference_uid for instance in self.instances})

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """SOPInstanceUID of each slice; frames of one object have the same."""
        return tuple(instance.sop_instance_uid for instance in self.instances)

    @property
    def frame_numbers(self) -> tuple[int | None, ...]:
        """Number of each slice within its object, from 1; None where the object is a single picture."""
        return tuple(instance.frame_number for instance in self.instances)


_FINGERPRINTS: WeakKeyDictionary[Volume, str] = WeakKeyDictionary()


def fingerprint(volume: Volume) -> str:
    """Return what tells two volumes apart in whatever the networks see of them, on every machine the same.

    SHA-256 in hexadecimal of the voxels, their size and spacing, unit, plane and inversion. Two names of one
    series have one fingerprint; a file that changed has another. It is computed once for each volume.
    """
    known = _FINGERPRINTS.get(volume)
    if known is None:
        digest = hashlib.sha256()
        for slice_ in volume.voxels:
            digest.update(np.ascontiguousarray(slice_, "<i2").data)
        spacing = [None if step is None else float(step) for step in volume.geometry.spacing_mm]
        seen = (list(volume.voxels.shape), spacing, volume.unit, volume.plane, volume.inverted)
        digest.update(json.dumps(seen).encode())
        known = _FINGERPRINTS[volume] = digest.hexdigest()
    return known


@dataclass(eq=False)
class PartialVolume:
    """A series that is being read, to be looked at meanwhile and for nothing else.

    Attributes
    ----------
    volume:
        What is known of it so far. The voxels of slices that are not ready mean nothing yet.
    ready:
        (D,) which slices are there; the reader sets them.
    wanted:
        The slice that is looked at: it and its neighbours are read next. Whoever shows it sets this.
    """

    volume: Volume
    ready: BoolArray
    wanted: int


def _common(uids: set[str]) -> str:
    return next(iter(uids)) if len(uids) == 1 else ""
