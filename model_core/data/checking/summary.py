"""A checked set in numbers: counts, distributions and problems as plain JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from model_core.data.checking.facts import CheckedSet, SliceFacts, size_text

SCHEMA_VERSION = 1
_QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def summarise_set(checked: CheckedSet, *, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a check; shares are of the picture's pixels, areas are pixels."""
    slices = checked.slices
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "data": checked.name,
        "kind": checked.kind,
        "settings": settings,
        "pictures": len(slices),
        "patients": len({one.patient for one in slices if one.patient}),
        "pictures_without_patient": sum(not one.patient for one in slices),
        "sizes": dict(Counter(size_text(one.shape) for one in slices).most_common()),
        "problems": [problem.values() for problem in checked.problems],
    }
    distribution = _masks(checked) if checked.kind == "segmentation" else _classes(checked)
    return {**document, **distribution}


def instances_per_picture(slices: Sequence[SliceFacts]) -> list[int]:
    """Return the number of kept instances of every picture with a usable mask."""
    return [len(one.mask.areas) for one in slices if one.mask is not None]


def lesion_shares(slices: Sequence[SliceFacts]) -> list[float]:
    """Return the share of the picture that is lesion, of every picture that has any."""
    return [
        one.mask.lesion_px / (one.shape[0] * one.shape[1])
        for one in slices
        if one.mask is not None and one.mask.lesion_px
    ]


def instance_areas(slices: Sequence[SliceFacts]) -> list[int]:
    """Return the pixels of every kept instance."""
    return [area for one in slices if one.mask is not None for area in one.mask.areas]


def class_counts(checked: CheckedSet) -> list[tuple[str, int, int]]:
    """Return name, pictures and known patients of each class."""
    rows = []
    for label, name in enumerate(checked.class_names):
        mine = [one for one in checked.slices if one.label == label]
        rows.append((name, len(mine), len({one.patient for one in mine if one.patient})))
    return rows


def _masks(checked: CheckedSet) -> dict[str, Any]:
    facts = [one.mask for one in checked.slices if one.mask is not None]
    per_picture = instances_per_picture(checked.slices)
    pixels = sum(checked.mask_values.values())
    return {
        "negative_pictures": sum(not count for count in per_picture),
        "instances": sum(per_picture),
        "instances_ggo": sum(one.ggo_instances for one in facts),
        "instances_consolidation": sum(one.consolidation_instances for one in facts),
        "dropped_small_components": sum(one.small for one in facts),
        "instances_per_picture": {str(k): n for k, n in sorted(Counter(per_picture).items())},
        "lesion_share": _quantiles(lesion_shares(checked.slices)),
        "instance_area": _quantiles(instance_areas(checked.slices)),
        "pictures_with_ggo": sum(one.ggo_px > 0 for one in facts),
        "pictures_with_consolidation": sum(one.consolidation_px > 0 for one in facts),
        "mask_value_shares": {
            str(value): count / pixels for value, count in sorted(checked.mask_values.items())
        },
    }


def _classes(checked: CheckedSet) -> dict[str, Any]:
    sources = Counter((one.source, one.label) for one in checked.slices)
    return {
        "classes": [
            {"label": label, "name": name, "pictures": pictures, "patients": patients}
            for label, (name, pictures, patients) in enumerate(class_counts(checked))
        ],
        "sources": [
            {"source": source, "label": label, "pictures": count}
            for (source, label), count in sorted(sources.items())
        ],
    }


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """Return the quantiles in percent as keys; None of nothing."""
    if not values:
        return None
    found = np.percentile(np.asarray(values, np.float64), _QUANTILES)
    return {str(q): float(value) for q, value in zip(_QUANTILES, found, strict=True)}
