"""What a check finds: facts of each slice, and problems grouped by what is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.volume import Level, Problem


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


class Findings:
    """Collects problems; those of one kind become one problem that names every file."""

    def __init__(self) -> None:
        self._found: dict[tuple[Level, str, str], list[str]] = {}

    def add(self, level: Level, text: str, *, action: str = "", file: str = "") -> None:
        """Add a problem, or one more file of a known problem."""
        files = self._found.setdefault((level, text, action), [])
        if file:
            files.append(file)

    def problems(self) -> tuple[Problem, ...]:
        """Return the problems, errors first, else in the order they were found."""
        order = {"error": 0, "warning": 1, "info": 2}
        found = [Problem(*about, tuple(files)) for about, files in self._found.items()]
        return tuple(sorted(found, key=lambda problem: order[problem.level]))


def picture_digest(grey: ByteArray) -> str:
    """Return the hash of size and values of an (H, W) picture."""
    digest = hashlib.sha256(repr(grey.shape).encode())
    digest.update(np.ascontiguousarray(grey).tobytes())
    return digest.hexdigest()


def shown(path: Path) -> str:
    """Return a file with its folder: names alone are the same for a picture and its mask."""
    return f"{path.parent.name}/{path.name}"


def size_text(shape: tuple[int, ...]) -> str:
    """Return width x height."""
    return f"{shape[1]} x {shape[0]}"
