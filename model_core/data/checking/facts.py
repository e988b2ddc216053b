"""What a check finds: facts of each slice, read where what fails becomes a finding."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.errors import DataError
from model_core.base.filenames import FETCH, absent
from model_core.base.volume import Problem, ProblemCode
from model_core.data.findings import Findings, shown
from model_core.data.pictures import read_upright


@dataclass(frozen=True)
class MaskFacts:
    """The lesions of one mask.

    Attributes
    ----------
    areas:
        Pixels of each kept instance of the mask type.
    small:
        Components that the area rule drops.
    ggo_instances, consolidation_instances:
        Kept instances with the classes apart, whatever the mask type.
    digest:
        Hash of the mask in the values 0, 1, 2.
    """

    ggo_px: int
    consolidation_px: int
    areas: tuple[int, ...]
    small: int
    ggo_instances: int
    consolidation_instances: int
    digest: str = ""

    @property
    def lesion_px(self) -> int:
        """Pixels of any lesion class."""
        return self.ggo_px + self.consolidation_px


@dataclass(frozen=True)
class SliceFacts:
    """One picture that could be read.

    Attributes
    ----------
    patient:
        Patient, or empty where nothing says which.
    label:
        Image class, or -1 in a segmentation set.
    digest:
        Hash of size and grey values; equal for equal pictures whatever their files.
    """

    name: str
    patient: str
    shape: tuple[int, int]
    digest: str
    label: int = -1
    source: str = ""
    mask: MaskFacts | None = None


@dataclass(frozen=True)
class CheckedSet:
    """Result of a check.

    Attributes
    ----------
    class_names:
        Names of the image classes; empty for a segmentation set.
    mask_values:
        Pixels of the set by value of the mask files.
    """

    kind: Literal["segmentation", "classes"]
    name: str
    slices: tuple[SliceFacts, ...]
    problems: tuple[Problem, ...]
    class_names: tuple[str, ...] = ()
    mask_values: dict[int, int] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Number of problems that must be solved before training."""
        return sum(problem.level == "error" for problem in self.problems)


def read_picture(path: Path, findings: Findings) -> ByteArray | None:
    """Return a picture as (H, W) grey, or None where it cannot be read."""
    grey = _read(path, "unreadable_picture", "Pictures cannot be read.", findings)
    if grey is not None and grey.min() == grey.max():
        findings.add(
            "warning", "one_grey_value", "Pictures are of one grey value all over.", file=shown(path)
        )
    return grey


def read_stored(path: Path, findings: Findings) -> ByteArray | None:
    """Return the stored values of a mask file as (H, W), or None where it cannot be read."""
    return _read(path, "unreadable_mask", "Masks cannot be read.", findings, mask=True)


def _read(
    path: Path, code: ProblemCode, text: str, findings: Findings, *, mask: bool = False
) -> ByteArray | None:
    if reason := absent(path):
        file = f"{shown(path)} ({reason})"
        findings.add("error", "absent_file", "Files are not here.", action=FETCH, file=file)
        return None
    try:
        values, turned = read_upright(path, mask=mask)
    except DataError as error:
        findings.add("error", code, text, file=f"{shown(path)}: {error.message}")
        return None
    if turned:
        text = "Files are turned or mirrored by their EXIF orientation."
        action = "Applied in training, too. A mask drawn without it does not fit: store both upright."
        findings.add("warning", "exif_orientation", text, action=action, file=shown(path))
    return values


def picture_digest(grey: ByteArray) -> str:
    """Return the hash of size and values of an (H, W) picture."""
    digest = hashlib.sha256(repr(grey.shape).encode())
    digest.update(np.ascontiguousarray(grey).tobytes())
    return digest.hexdigest()


def shape_of(picture: ByteArray) -> tuple[int, int]:
    """Return height and width of a picture as plain numbers."""
    return int(picture.shape[0]), int(picture.shape[1])


def size_text(shape: tuple[int, ...]) -> str:
    """Return width x height."""
    return f"{shape[1]} x {shape[0]}"
