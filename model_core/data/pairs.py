"""Slices with expert masks: ``images/`` and ``masks/`` of equal names, perhaps an ``index.tsv``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.errors import DataError
from model_core.base.filenames import partners
from model_core.data.pictures import (
    hu_range,
    list_pictures,
    read_grey,
    read_index,
    read_index_picture,
    refuse_absent,
    to_hu,
)
from model_core.data.schemes import SHARED, MaskScheme, parse_mask_values

# Columns that group the slices of one patient, best first.
GROUP_COLUMNS = ("patient", "similarity_group", "study", "case")


@dataclass(frozen=True)
class LabelledSlice:
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

    def image_hu(self) -> FloatArray:
        """Read the picture as (H, W) approximate HU.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        return to_hu(read_grey(self.image_path), low=self.low_hu, high=self.high_hu)

    def mask(self) -> ByteArray:
        """Read the mask as (H, W): 0 background, 1 GGO or lesion, 2 consolidation.

        Raises
        ------
        DataError
            If the file is damaged or holds a value its scheme does not know.
        """
        return self.scheme.apply(read_index_picture(self.mask_path), file=self.mask_path.name)


def read_pairs(folder: Path, *, mask_values: str = "shared", mask_type: str = "both") -> list[LabelledSlice]:
    """List the slices of a data set by name. Pixels are read later, by the slice.

    Parameters
    ----------
    folder:
        Holds ``images/`` and ``masks/`` (png or jpg, equal stems, in any Unicode form, and in any case where
        that is unique) and perhaps ``index.tsv`` with the optional columns file or slice, approx_hu_at_0,
        approx_hu_at_255, patient or similarity_group.
    mask_values:
        ``shared``, ``papers``, ``released`` or ``1=ggo,2=consolidation`` (see `schemes.parse_mask_values`).
    mask_type:
        Of the network; only ``released`` depends on it.

    Raises
    ------
    DataError
        If a folder is missing or empty, a picture or mask lacks its partner, or the content of a file is not
        here.
    """
    found = list_pairs(folder, mask_values=mask_values, mask_type=mask_type)
    refuse_absent(path for one in found for path in (one.image_path, one.mask_path))
    return found


def list_pairs(folder: Path, *, mask_values: str, mask_type: str) -> list[LabelledSlice]:
    """As `read_pairs`, but files whose content is not here are listed.

    Raises
    ------
    DataError
        See there.
    """
    scheme = parse_mask_values(mask_values, mask_type=mask_type)
    if not folder.is_dir():
        raise DataError(f"There is no data folder '{folder}'.")
    images, masks = list_pictures(folder / "images"), list_pictures(folder / "masks")
    if not images:
        raise DataError(f"'{folder.name}/images' holds no png or jpg picture.")
    mask_of = partners(images, masks)
    if lonely := sorted((set(images) - set(mask_of)) | (set(masks) - set(mask_of.values()))):
        side = "mask" if lonely[0] in images else "image"
        raise DataError(
            f"{len(lonely)} slices of '{folder.name}' lack their partner, first '{lonely[0]}' without "
            f"{side}. images/ and masks/ must hold files of equal names."
        )
    index = read_index(folder / "index.tsv")
    found = []
    for name, path in images.items():
        row = index.get(name, {})
        low, high, stated = hu_range(row, name=name)
        group = next((row[column] for column in GROUP_COLUMNS if row.get(column)), name)
        found.append(LabelledSlice(name, group, path, masks[mask_of[name]], low, high, scheme, stated))
    return found
