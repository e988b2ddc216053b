"""What an export needs, taken from state when it is asked for, so that later changes do not reach it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ctmasknet_gui.controller.ports import Pipeline
from ctmasknet_gui.view.requests import ExportRequest
from model_core.base.arrays import ByteArray
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import Problem, Volume, Window
from model_core.scene import Overlays, ScanWords


@dataclass(frozen=True)
class Look:
    """How the viewport shows a slice."""

    window: Window
    inverted: bool
    flip_horizontal: bool
    flip_vertical: bool
    overlays: Overlays


@dataclass(frozen=True, eq=False)
class ExportJob:
    """One export. ``slices`` are what it covers; ``results`` those of them that were analysed."""

    request: ExportRequest
    volume: Volume
    slices: tuple[int, ...]
    results: Mapping[int, SliceResult]
    pipeline: Pipeline | None
    detections: DetectionSettings
    evidence: EvidenceSettings
    edited: bool
    region_classes: tuple[str, ...]
    image_classes: tuple[str, ...]
    weights: str
    scan: ScanWords | None
    reference: ByteArray | None
    look: Look
    top: int | None
    selected: int | None
    overwrite: bool


@dataclass(frozen=True)
class Existing:
    """Files that an export would replace."""

    paths: tuple[Path, ...]


class Exporter(Protocol):
    """Writes exports; every method is called in the worker thread."""

    def targets(self, job: ExportJob) -> tuple[Path, ...]:
        """Return the files that the job will write."""

    def export(self, job: ExportJob) -> Generator[Progress | Path | Problem, None, None]:
        """Write them, each whole or not at all, and tell what had to be assumed. Raises `ExportError`."""
