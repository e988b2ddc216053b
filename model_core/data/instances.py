"""From a label picture to instances: 8-connected components of each class (spec of the papers' data)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray, ByteArray, IntArray
from model_core.base.errors import SettingsError
from model_core.data.schemes import CONSOLIDATION, GGO

# Mask type -> the values that make each positive class, label 1 first.
MASK_TYPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "merge": ((GGO, CONSOLIDATION),),
    "both": ((GGO,), (CONSOLIDATION,)),
    "ggo": ((GGO,),),
}
# What they are called.
CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "merge": ("Lesion",),
    "both": ("GGO", "Consolidation"),
    "ggo": ("GGO",),
}
PAPER_MIN_AREA = 100

_EIGHT = np.ones((3, 3), bool)


def instances(mask: ByteArray, mask_type: str, min_area: int = PAPER_MIN_AREA) -> tuple[BoolArray, IntArray]:
    """Return the instances of a mask with values 0 background, 1 GGO or lesion, 2 consolidation.

    Parameters
    ----------
    mask:
        (H, W).
    mask_type:
        ``merge`` one class of every lesion value; ``both`` GGO and consolidation; ``ggo`` GGO alone.
    min_area:
        A component is kept where its area is *greater* (the released code; the papers' text drops < 100).

    Returns
    -------
    masks, labels:
        (n, H, W) bool and (n,) labels from 1, class by class, components in raster order.

    Raises
    ------
    SettingsError
        If the mask type is unknown.
    """
    if mask_type not in MASK_TYPES:
        raise SettingsError(f"Unknown mask type {mask_type!r}: use {', '.join(MASK_TYPES)}.")
    masks: list[BoolArray] = []
    labels: list[int] = []
    for label, values in enumerate(MASK_TYPES[mask_type], 1):
        components, _ = ndimage.label(np.isin(mask, values), structure=_EIGHT)
        areas = np.bincount(components.ravel())
        for index in np.flatnonzero(areas > min_area):
            if index:
                masks.append(components == index)
                labels.append(label)
    stacked = np.stack(masks) if masks else np.zeros((0, *mask.shape), bool)
    return stacked, np.asarray(labels, np.int64)
