"""Deterministic synthetic chest CT in HU with known lesion masks; no patient is in it."""

from __future__ import annotations

from model_core.phantom.dicom import write_dicom
from model_core.phantom.make import make_phantom

__all__ = ["make_phantom", "write_dicom"]
