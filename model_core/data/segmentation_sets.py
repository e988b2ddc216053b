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
from model_core.data.layouts import MaskLayout, find_mask_layout, group_pictures
from model_core.data.lists import data_and_list, missing_names, read_list
from model_core.data.pairs import GROUP_COLUMNS, LabelledSlice, list_pairs
from model_core.data.pictures import hu_range, read_grey, read_index, refuse_absent
from model_core.data.schemes import MaskScheme, parse_mask_values

_PATIENT_SLICE = re.compile(r"(\d+)_\d+")

EXPECTED_MASKS = (
    "images/ and masks/ of equal names, or imgs/ and masks/ (CNCB: <patient>_<slice>.jpg and .png, "
    "a picture without mask is negative)"
)


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
    """List the slices of a segmentation set by name, whatever known layout it has.

    Parameters
    ----------
    folder:
        ``images/`` and ``masks/`` of equal names (see `pairs.read_pairs`); or the CNCB set: ``imgs/`` (or
        ``image/``) and ``masks/`` (or ``mask/``) with ``<patient>_<slice>`` names or a folder per patient,
        where a picture without mask is a negative slice. Or a split list inside such a folder.
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
    if layout.complete:
        found = list_pairs(folder, mask_values=mask_values, mask_type=mask_type)
    else:
        found = _paper_slices(layout, scheme)
    if list_file is not None:
        listed = read_list(list_file)
        if missing := sorted(set(listed) - {one.name for one in found}):
            raise missing_names(list_file, missing)
        found = [one for one in found if one.name in listed]
    refuse_absent(one.image_path for one in found)
    refuse_absent(one.mask_path for one in found if not isinstance(one, NegativeSlice))
    return found


def _paper_slices(layout: MaskLayout, scheme: MaskScheme) -> list[LabelledSlice]:
    folder = layout.images.parent
    images, masks = _single_files(layout.images), _single_files(layout.masks)
    if not images:
        raise DataError(f"'{folder.name}/{layout.images.name}' holds no png or jpg picture.")
    refuse_absent(path for name, path in masks.items() if name not in images)
    mask_of = partners(images, masks)
    if lonely := sorted(set(masks) - set(mask_of.values())):
        raise DataError(
            f"{len(lonely)} masks of '{folder.name}' have no picture, first '{lonely[0]}'. A picture may "
            "lack its mask (no lesion), a mask may not lack its picture."
        )
    index = read_index(folder / "index.tsv")
    return [
        labelled_slice(
            name,
            path,
            masks.get(mask_of.get(name, "")),
            layout=layout,
            row=index.get(name, {}),
            scheme=scheme,
        )
        for name, path in images.items()
    ]


def labelled_slice(
    name: str,
    image: Path,
    mask: Path | None,
    *,
    layout: MaskLayout,
    row: Mapping[str, str],
    scheme: MaskScheme,
) -> LabelledSlice:
    """Return one slice; without a mask a negative one.

    Raises
    ------
    DataError
        If the grey-to-HU map of its index row is not one.
    """
    low, high, stated = hu_range(row, name=name)
    patient = next((row[column] for column in GROUP_COLUMNS if row.get(column)), "")
    if not patient:
        match = None if layout.complete else _PATIENT_SLICE.fullmatch(name)
        patient = match[1] if match else name
    if mask is None:
        return NegativeSlice(name, patient, image, layout.masks / f"{name}.png", low, high, scheme, stated)
    return LabelledSlice(name, patient, image, mask, low, high, scheme, stated)


def _single_files(folder: Path) -> dict[str, Path]:
    groups = group_pictures(folder)
    for name, paths in groups.items():
        if len(paths) > 1:
            raise DataError(f"Two pictures are called '{name}' in '{folder.name}'.", details=str(folder))
    return {name: paths[0] for name, paths in groups.items()}
