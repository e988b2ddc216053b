"""What is wrong with a data set, and what is in it, before hours are spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from model_core.datasets.classes import CLASS_FOLDERS, read_class_folders
from model_core.datasets.instances import instances
from model_core.datasets.pairs import LabelledSlice, read_pairs
from model_core.datasets.pictures import read_grey
from model_core.errors import DataError
from model_core.types import ByteArray

# Component areas are counted in these bins, in pixels of the mask file.
AREA_EDGES = (0, 100, 300, 1000, 3000, 10000)


def is_class_folder(folder: Path) -> bool:
    """Whether a folder holds class folders and no ``images``."""
    return not (folder / "images").is_dir() and any((folder / name).is_dir() for name in CLASS_FOLDERS)


def check_pairs(folder: Path, *, mask_values: str = "shared", mask_type: str = "merge") -> dict[str, Any]:
    """Read every picture and mask; list what is wrong and count instances and areas.

    Raises
    ------
    DataError
        If the layout itself is wrong (missing folder, missing partner, bad index).
    """
    slices = read_pairs(folder, mask_values=mask_values)
    problems: list[str] = []
    counts: list[int] = []
    areas: list[int] = []
    shares: list[float] = []
    sizes: list[tuple[int, int]] = []
    for one in slices:
        try:
            mask = _checked_mask(one)
        except DataError as error:
            problems.append(error.message)
            continue
        sizes.append((int(mask.shape[0]), int(mask.shape[1])))
        masks, _ = instances(mask, mask_type, 0)
        own = [int(m.sum()) for m in masks]
        areas += own
        counts.append(sum(area > AREA_EDGES[1] for area in own))
        shares.append(float((mask > 0).mean()))
    per_patient = _counted([one.patient for one in slices])
    return {
        "slices": len(slices),
        "patients": len(per_patient),
        "largest_patient": max(per_patient.values()),
        "with_lesion": sum(share > 0 for share in shares),
        "without_lesion": sum(share == 0 for share in shares),
        "sizes": _range_of(sizes),
        "instances_per_image": _counted(counts),
        "instance_areas": _binned(areas),
        "lesion_share_of_image": {
            f"{q} %": round(float(np.percentile(shares, q)), 4) for q in (5, 50, 95) if shares
        },
        "problems": problems,
    }


def check_classes(folder: Path) -> dict[str, Any]:
    """Read every picture of class folders; list what is wrong and count classes by source.

    Raises
    ------
    DataError
        If there is no picture at all.
    """
    slices = read_class_folders(folder)
    names = list(CLASS_FOLDERS)
    problems = []
    for one in slices:
        try:
            read_grey(one.image_path)
        except DataError as error:
            problems.append(error.message)
    table: dict[str, dict[str, int]] = {}
    for one in slices:
        row = table.setdefault(one.source, {})
        row[names[one.label]] = row.get(names[one.label], 0) + 1
    problems += [
        f"Every slice of '{source}' is '{next(iter(row))}': that class can be told by its source alone."
        for source, row in _by_prefix(table).items()
        if len(row) == 1
    ]
    return {"slices": len(slices), "classes_by_source": table, "problems": problems}


def _by_prefix(table: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Join sources that differ after their first underscore (parts of one data set)."""
    joined: dict[str, dict[str, int]] = {}
    for source, row in table.items():
        joined.setdefault(source.split("_")[0], {}).update(row)
    return joined


def _checked_mask(one: LabelledSlice) -> ByteArray:
    image, mask = read_grey(one.image_path), one.mask()
    if image.shape != mask.shape:
        raise DataError(
            f"'{one.name}': the picture has {image.shape[1]} x {image.shape[0]} pixels, its mask "
            f"{mask.shape[1]} x {mask.shape[0]}."
        )
    return mask


def _counted(values: Sequence[Any]) -> dict[str, int]:
    found, counts = np.unique(np.asarray(values), return_counts=True) if values else ((), ())
    return {str(value): int(count) for value, count in zip(found, counts, strict=True)}


def _binned(areas: Sequence[int]) -> dict[str, int]:
    edges = [*AREA_EDGES, np.inf]
    counts, _ = np.histogram(areas, edges)
    names = [f"{low}-{high:g}" for low, high in pairwise(edges)]
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def _range_of(sizes: Sequence[tuple[int, int]]) -> str:
    if not sizes:
        return "none"
    rows, columns = zip(*sizes, strict=True)
    return f"{min(columns)}-{max(columns)} x {min(rows)}-{max(rows)}"
