"""Segmentation sets of any known layout: ours, and the CNCB set as the papers use it (spec §1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.errors import DataError
from model_core.base.filenames import partners
from model_core.data.findings import Findings, shown, tell
from model_core.data.layouts import MaskLayout, find_mask_layout, group_pictures, list_pictures, one_each
from model_core.data.lists import data_and_list, read_listed
from model_core.data.pictures import (
    GreyPicture,
    hu_range,
    read_grey,
    read_index,
    read_index_picture,
    refuse_absent,
    tell_stray_rows,
)
from model_core.data.schemes import SHARED, MaskScheme, parse_mask_values

_PATIENT_SLICE = re.compile(r"(\d+)_\d+")

EXPECTED_MASKS = (
    "images/ and masks/ of equal names, or imgs/ and masks/ (CNCB: <patient>_<slice>.jpg and .png, "
    "a picture without mask is negative)"
)

# Columns that group the slices of one patient, best first.
GROUP_COLUMNS = ("patient", "similarity_group", "study", "case")


@dataclass(frozen=True)
class LabelledSlice(GreyPicture):
    """One picture with its expert mask.

    Attributes
    ----------
    name:
        Stem of both files.
    patient:
        Patient, or the best group there is (similarity group, study, case), else the name.
    low_hu, high_hu, hu_stated:
        Approximate HU at grey 0 and at grey 255, and whether the data set says so.
    """

    name: str
    patient: str
    image_path: Path
    mask_path: Path
    low_hu: float
    high_hu: float
    scheme: MaskScheme = SHARED
    hu_stated: bool = False

    def mask(self) -> ByteArray:
        """Read the mask as (H, W): 0 background, 1 GGO or lesion, 2 consolidation.

        Raises
        ------
        DataError
            If the file is damaged or holds a value its scheme does not know.
        """
        return self.scheme.apply(read_index_picture(self.mask_path), file=self.mask_path.name)


@dataclass(frozen=True)
class NegativeSlice(LabelledSlice):
    """A picture without a mask file: no lesion. ``mask_path`` says where a mask would have been."""

    def mask(self) -> ByteArray:
        """Return zeros of the picture's shape.

        Raises
        ------
        DataError
            If the picture is damaged.
        """
        return np.zeros(read_grey(self.image_path).shape, np.uint8)


def read_segmentation(
    folder: Path, *, list_file: Path | None = None, mask_values: str = "shared", mask_type: str = "both"
) -> list[LabelledSlice]:
    """List the slices of a segmentation set by name, whatever known layout it has; pixels are read later.

    Parameters
    ----------
    folder:
        ``images/`` and ``masks/`` (png or jpg, equal stems, in any Unicode form, and in any case where that
        is unique) and perhaps ``index.tsv`` with the optional columns file or slice, approx_hu_at_0,
        approx_hu_at_255, patient or similarity_group; or the CNCB set: ``imgs/`` (or ``image/``) and
        ``masks/`` (or ``mask/``) with ``<patient>_<slice>`` names or a folder per patient, where a picture
        without mask is a negative slice. Or a split list inside such a folder.
    list_file:
        Split list; only the slices it names are returned.
    mask_values:
        ``shared``, ``papers`` (CNCB: 0 background, 1 lung, 2 GGO, 3 consolidation), ``released`` (the same
        values labelled by position, see `schemes.ReleasedScheme`), or value=name pairs.
    mask_type:
        Of the network; only ``released`` depends on it.

    Raises
    ------
    DataError
        If the layout is none of these, a mask has no picture, a listed picture is missing, two files have one
        name, or the content of a file is not here.
    SettingsError
        If the mask values cannot be parsed.
    """
    scheme = parse_mask_values(mask_values, mask_type=mask_type)
    folder, list_file = data_and_list(folder, list_file)
    layout = find_mask_layout(folder)
    if layout is None:
        raise DataError(f"'{folder.name}' is no segmentation set: expected {EXPECTED_MASKS}.")
    found = list_segmentation(layout, list_file=list_file, scheme=scheme)
    refuse_absent(one.image_path for one in found)
    refuse_absent(one.mask_path for one in found if not isinstance(one, NegativeSlice))
    return found


def list_segmentation(
    layout: MaskLayout, *, scheme: MaskScheme, list_file: Path | None = None, report: Findings | None = None
) -> list[LabelledSlice]:
    """List the slices of a segmentation set, those of a list, whether or not the content of files is here.

    Where faults are reported, a slice that is only named wrongly is listed, too.

    Raises
    ------
    DataError
        If something is wrong with the set and nothing is reported.
    """
    folder = layout.images.parent
    images, masks = (_listed_once(part, layout, report) for part in (layout.images, layout.masks))
    if not images:
        error = DataError(f"'{folder.name}/{layout.images.name}' holds no png or jpg picture.")
        tell(report, error, "no_picture", text=f"{layout.images.name}/ holds no png or jpg picture.")
    mask_of = partners(images, masks)
    _tell_lonely(layout, images, masks, mask_of, report)
    index = read_index(folder / "index.tsv", report=report)
    tell_stray_rows(index, images, report=report)
    listed = read_listed(list_file, images, report=report)
    found = []
    for name, path in images.items():
        if listed is not None and name not in listed:
            continue
        mask, row = masks.get(mask_of.get(name, "")), index.get(name, {})
        if mask is None and not layout.complete and report is not None:
            report.add(
                "info", "no_mask", "Pictures have no mask.", action="Negative slices.", file=shown(path)
            )
        try:
            low, high, stated = hu_range(row, name=name)
        except DataError as error:
            tell(report, error, "grey_map")
            continue
        patient = _patient(name, row, layout)
        kind, mask = (LabelledSlice, mask) if mask else (NegativeSlice, layout.masks / f"{name}.png")
        found.append(kind(name, patient, path, mask, low, high, scheme, stated))
    return found


def _patient(name: str, row: Mapping[str, str], layout: MaskLayout) -> str:
    stated = next((row[column] for column in GROUP_COLUMNS if row.get(column)), "")
    match = None if layout.complete else _PATIENT_SLICE.fullmatch(name)
    return stated or (match[1] if match else name)


def _listed_once(folder: Path, layout: MaskLayout, report: Findings | None) -> dict[str, Path]:
    if layout.complete:
        return list_pictures(folder, report=report)
    return one_each(group_pictures(folder), report=report)


def _tell_lonely(
    layout: MaskLayout,
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    mask_of: Mapping[str, str],
    report: Findings | None,
) -> None:
    """Tell of pictures and masks without a partner; in the papers' layout only a mask may not lack it."""
    folder = layout.images.parent
    bare = [name for name in images if name not in mask_of] if layout.complete else []
    partnered = set(mask_of.values())
    orphans = [name for name in masks if name not in partnered]
    lonely = sorted((*bare, *orphans))
    if not lonely:
        return
    if report is None:
        refuse_absent(masks[name] for name in orphans)
    if layout.complete:
        side = "mask" if lonely[0] in images else "image"
        error = DataError(
            f"{len(lonely)} slices of '{folder.name}' lack their partner, first '{lonely[0]}' without "
            f"{side}. images/ and masks/ must hold files of equal names."
        )
    else:
        error = DataError(
            f"{len(lonely)} masks of '{folder.name}' have no picture, first '{lonely[0]}'. A picture may "
            "lack its mask (no lesion), a mask may not lack its picture."
        )
    tell(
        report,
        error,
        "missing_mask",
        text="Pictures have no mask.",
        action="Each needs one of its name.",
        files=[shown(images[name]) for name in bare],
    )
    tell(
        report,
        error,
        "missing_picture",
        text="Masks have no picture of their name.",
        files=[shown(masks[name]) for name in orphans],
    )
