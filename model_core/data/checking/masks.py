"""Checks of a segmentation set: sizes, mask values, instances."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.jobs import Progress
from model_core.data.checking.facts import (
    CheckedSet,
    MaskFacts,
    SliceFacts,
    picture_digest,
    read_picture,
    read_stored,
    shape_of,
    size_text,
)
from model_core.data.findings import Findings, shown
from model_core.data.instances import instances
from model_core.data.layouts import MaskLayout
from model_core.data.schemes import CONSOLIDATION, GGO, SHARED, MaskScheme, ReleasedScheme
from model_core.data.segmentation_sets import NegativeSlice, list_segmentation

# A lesion mask that covers more of a picture than this is rather a lung or body mask.
_MOST = 0.5


def check_masks(
    layout: MaskLayout, *, list_file: Path | None, scheme: MaskScheme, mask_type: str, min_area: int
) -> Generator[Progress | CheckedSet, None, None]:
    """Check every slice of a segmentation set; the last item is the `CheckedSet`."""
    findings = Findings()
    found = list_segmentation(layout, scheme=scheme, list_file=list_file, report=findings)
    values: dict[int, int] = {}
    slices = []
    for done, one in enumerate(found):
        yield Progress(done, len(found), one.name)
        picture = read_picture(one.image_path, findings)
        mask = None
        if not isinstance(one, NegativeSlice):
            mask = _checked_mask(one.mask_path, picture, scheme, values, findings)
        elif picture is not None and not layout.complete:
            mask = np.zeros(picture.shape, np.uint8)
        if picture is None:
            continue
        facts = None if mask is None else _mask_facts(mask, mask_type, min_area)
        patient = one.patient if one.patient != one.name else ""
        slices.append(SliceFacts(one.name, patient, shape_of(picture), picture_digest(picture), mask=facts))
    _check_lesions(slices, min_area, findings)
    _check_scheme(layout, scheme, values, findings)
    name = layout.images.parent.name
    yield CheckedSet("segmentation", name, tuple(slices), findings.problems(), (), values)


def _checked_mask(
    path: Path,
    picture: ByteArray | None,
    scheme: MaskScheme,
    values: dict[int, int],
    findings: Findings,
) -> ByteArray | None:
    """Return the mask in the values 0, 1, 2, or None where it cannot be used."""
    stored = read_stored(path, findings)
    if stored is None:
        return None
    for value, pixels in zip(*np.unique(stored, return_counts=True), strict=True):
        values[int(value)] = values.get(int(value), 0) + int(pixels)
    usable = True
    if unknown := scheme.unknown(stored):
        found = ", ".join(map(str, unknown))
        text = (
            f"Masks hold values that the scheme '{scheme.name}' does not know "
            f"(it has {', '.join(str(value) for value, _ in scheme.values)})."
        )
        action = "Say what they mean with --mask-values."
        findings.add("error", "unknown_mask_value", text, action=action, file=f"{shown(path)} ({found})")
        usable = False
    if picture is not None and stored.shape != picture.shape:
        sizes = f"picture {size_text(picture.shape)}, mask {size_text(stored.shape)}"
        text = "Picture and mask differ in size."
        findings.add("error", "size_mismatch", text, file=f"{shown(path)} ({sizes})")
        usable = False
    if not usable:
        return None
    mask = scheme.apply(stored, file=path.name)
    if isinstance(scheme, ReleasedScheme) and scheme.differs(stored, file=path.name):
        text = "The released rule labels this mask otherwise than its values mean."
        action = "Use --mask-values papers unless a released run is to be repeated."
        findings.add("warning", "released_rule", text, action=action, file=shown(path))
    return mask


def _mask_facts(mask: ByteArray, mask_type: str, min_area: int) -> MaskFacts:
    kept, _ = instances(mask, mask_type, min_area)
    every, _ = instances(mask, mask_type, 0)
    _, labels = instances(mask, "both", min_area)
    return MaskFacts(
        ggo_px=int((mask == GGO).sum()),
        consolidation_px=int((mask == CONSOLIDATION).sum()),
        areas=tuple(int(one.sum()) for one in kept),
        small=len(every) - len(kept),
        ggo_instances=int((labels == 1).sum()),
        consolidation_instances=int((labels == 2).sum()),
        digest=picture_digest(mask),
    )


def _check_lesions(slices: list[SliceFacts], min_area: int, findings: Findings) -> None:
    usable = [one for one in slices if one.mask is not None]
    if usable and not any(one.mask and one.mask.areas for one in usable):
        # A set of negatives alone can be evaluated, but not trained on.
        text = f"No slice has a lesion of more than {min_area} pixels."
        action = "Segmentation cannot be trained on it."
        findings.add("warning", "no_lesion", text, action=action)
    for one in usable:
        assert one.mask is not None
        if one.mask.lesion_px > _MOST * one.shape[0] * one.shape[1]:
            text = "Masks cover more than half of the picture."
            action = "Is the lung marked instead of lesions?"
            findings.add("warning", "large_mask", text, action=action, file=one.name)


def _check_scheme(layout: MaskLayout, scheme: MaskScheme, values: dict[int, int], findings: Findings) -> None:
    if not layout.complete and scheme == SHARED and values.get(1):
        text = (
            "The folders are those of the papers' data, where mask value 1 is lung, but the scheme 'shared' "
            "takes 1 as lesion."
        )
        action = "Use --mask-values papers."
        findings.add("warning", "mask_scheme", text, action=action)
    if values and not any(values.get(value) for value, label in scheme.values if label == GGO):
        text, action = "No mask holds GGO (or lesion).", "Mask type ggo would find nothing."
        findings.add("warning", "no_ggo", text, action=action)
