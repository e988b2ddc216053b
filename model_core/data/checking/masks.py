"""Checks of a segmentation set: pairs, sizes, mask values, instances."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.errors import DataError
from model_core.base.filenames import partners
from model_core.base.jobs import Progress
from model_core.data.checking.facts import (
    CheckedSet,
    Findings,
    MaskFacts,
    SliceFacts,
    picture_digest,
    shown,
    size_text,
)
from model_core.data.checking.files import (
    check_listed,
    lenient_index,
    one_each,
    read_picture,
    read_stored,
)
from model_core.data.instances import instances
from model_core.data.layouts import MaskLayout, group_pictures
from model_core.data.schemes import CONSOLIDATION, GGO, SHARED, MaskScheme, ReleasedScheme
from model_core.data.segmentation_sets import labelled_slice

# A lesion mask that covers more of a picture than this is rather a lung or body mask.
_MOST = 0.5


def check_masks(
    layout: MaskLayout, *, list_file: Path | None, scheme: MaskScheme, mask_type: str, min_area: int
) -> Generator[Progress | CheckedSet, None, None]:
    """Check every slice of a segmentation set; the last item is the `CheckedSet`."""
    folder, findings = layout.images.parent, Findings()
    index = lenient_index(folder, findings)
    images = one_each(group_pictures(layout.images, nested=not layout.complete), findings)
    masks = one_each(group_pictures(layout.masks, nested=not layout.complete), findings)
    meant = {mask: name for name, mask in partners(images, masks).items()}
    masks = {meant.get(name, name): path for name, path in masks.items()}
    if not images:
        findings.add("error", f"{layout.images.name}/ holds no png or jpg picture.")
    listed = check_listed(list_file, set(images), findings)
    _check_pairs(images, masks, layout, listed, findings)
    if stray := [name for name in index if name not in images]:
        for name in stray:
            findings.add("warning", "Rows of index.tsv have no picture.", action="Not used.", file=name)
    names = [name for name in images if listed is None or name in listed]
    values: dict[int, int] = {}
    slices = []
    for done, name in enumerate(names):
        yield Progress(done, len(names), name)
        try:
            one = labelled_slice(
                name, images[name], masks.get(name), layout=layout, row=index.get(name, {}), scheme=scheme
            )
        except DataError as error:
            findings.add("error", error.message)
            continue
        picture = read_picture(one.image_path, findings)
        mask = _checked_mask(masks.get(name), picture, scheme, values, findings)
        if picture is None:
            continue
        facts = None
        if mask is None and name not in masks and not layout.complete:
            mask = np.zeros(picture.shape, np.uint8)
        if mask is not None:
            facts = _mask_facts(mask, mask_type, min_area)
        patient = one.patient if one.patient != name else ""
        slices.append(SliceFacts(name, patient, _shape(picture), picture_digest(picture), mask=facts))
    _check_lesions(slices, min_area, findings)
    _check_scheme(layout, scheme, values, findings)
    yield CheckedSet("segmentation", folder.name, tuple(slices), findings.problems(), (), values)


def _check_pairs(
    images: dict[str, Path],
    masks: dict[str, Path],
    layout: MaskLayout,
    listed: set[str] | None,
    findings: Findings,
) -> None:
    for name, path in images.items():
        if name in masks or (listed is not None and name not in listed):
            continue
        if layout.complete:
            findings.add(
                "error", "Pictures have no mask.", action="Each needs one of its name.", file=shown(path)
            )
        else:
            findings.add("info", "Pictures have no mask.", action="Negative slices.", file=shown(path))
    for name, path in masks.items():
        if name not in images and listed is None:
            findings.add("error", "Masks have no picture of their name.", file=shown(path))


def _checked_mask(
    path: Path | None,
    picture: ByteArray | None,
    scheme: MaskScheme,
    values: dict[int, int],
    findings: Findings,
) -> ByteArray | None:
    """Return the mask in the values 0, 1, 2, or None where it cannot be used."""
    if path is None:
        return None
    stored = read_stored(path, findings)
    if stored is None:
        return None
    for value, pixels in zip(*np.unique(stored, return_counts=True), strict=True):
        values[int(value)] = values.get(int(value), 0) + int(pixels)
    usable = True
    known = dict(scheme.values)
    if unknown := [int(value) for value in np.unique(stored) if int(value) not in known]:
        text = ", ".join(map(str, unknown))
        findings.add(
            "error",
            f"Masks hold values that the scheme '{scheme.name}' does not know "
            f"(it has {', '.join(map(str, sorted(known)))}).",
            action="Say what they mean with --mask-values.",
            file=f"{shown(path)} ({text})",
        )
        usable = False
    if picture is not None and stored.shape != picture.shape:
        sizes = f"picture {size_text(picture.shape)}, mask {size_text(stored.shape)}"
        findings.add("error", "Picture and mask differ in size.", file=f"{shown(path)} ({sizes})")
        usable = False
    if not usable:
        return None
    mask = scheme.apply(stored, file=path.name)
    if isinstance(scheme, ReleasedScheme) and scheme.differs(stored, file=path.name):
        findings.add(
            "warning",
            "The released rule labels this mask otherwise than its values mean.",
            action="Use --mask-values papers unless a released run is to be repeated.",
            file=shown(path),
        )
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
        findings.add(
            "warning",
            f"No slice has a lesion of more than {min_area} pixels.",
            action="Segmentation cannot be trained on it.",
        )
    for one in usable:
        assert one.mask is not None
        if one.mask.lesion_px > _MOST * one.shape[0] * one.shape[1]:
            findings.add(
                "warning",
                "Masks cover more than half of the picture.",
                action="Is the lung marked instead of lesions?",
                file=one.name,
            )


def _check_scheme(layout: MaskLayout, scheme: MaskScheme, values: dict[int, int], findings: Findings) -> None:
    if not layout.complete and scheme == SHARED and values.get(1):
        findings.add(
            "warning",
            "The folders are those of the papers' data, where mask value 1 is lung, but the scheme 'shared' "
            "takes 1 as lesion.",
            action="Use --mask-values papers.",
        )
    if values and not any(values.get(value) for value, label in scheme.values if label == GGO):
        findings.add("warning", "No mask holds GGO (or lesion).", action="Mask type ggo would find nothing.")


def _shape(picture: ByteArray) -> tuple[int, int]:
    return int(picture.shape[0]), int(picture.shape[1])
