"""Detections whose masks touch, joined to the connected regions that a reader sees as one lesion each.

The papers' reference instances are the 8-connected components of a mask (spec §1.1); several detections on
one opacity, or one that reaches into two, are not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray, FloatArray, IntArray
from model_core.base.results import Detections
from model_core.explain.masks import EIGHT_CONNECTED, mask_pixels


@dataclass(frozen=True, eq=False)
class Regions:
    """The lesions that detections mark together, best first.

    ``masks`` (R, H, W); ``best`` (R,) the best of the detections that mainly mark it, different for each.
    """

    masks: BoolArray
    best: IntArray

    def boxes(self) -> FloatArray:
        """Return the (R, 4) boxes of the pixels, in pixel edges."""
        places = [_place(mask) for mask in self.masks]
        corners = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in places]
        return np.array(corners, np.float32).reshape(-1, 4)


def touching_regions(masks: BoolArray, labels: IntArray) -> Regions:
    """Return the 8-connected regions of the union of the masks of each class.

    Each detection mainly marks the region with most of its pixels. A region that none mainly marks is a piece
    cut off from a mask: it belongs to what the best detection over it mainly marks. A detection without
    pixels marks nothing.

    Parameters
    ----------
    masks, labels:
        (D, H, W) and (D,), best first.
    """
    found: list[tuple[int, BoolArray]] = []
    places = [_place(mask) for mask in masks]
    for label in np.unique(labels):
        own = [int(k) for k in np.flatnonzero(labels == label) if places[k][0].stop]
        union = np.zeros(masks.shape[1:], np.bool_)
        for number in own:
            union[places[number]] |= masks[number][places[number]]
        whole = _place(union)
        components = np.zeros(union.shape, np.int32)
        count = ndimage.label(union[whole], structure=EIGHT_CONNECTED, output=components[whole])
        # Worst first, so that the best has the last word.
        marked = np.zeros(count + 1, np.int64)
        best = np.full(count + 1, -1)
        for number in own[::-1]:
            place = places[number]
            pixels = np.bincount(components[place][masks[number][place]], minlength=count + 1)
            main = int(pixels.argmax())
            marked[pixels > 0] = main
            best[main] = number
        joined = np.where(best >= 0, np.arange(count + 1), marked)[components[whole]]
        for index in np.flatnonzero(best >= 0):
            mask = np.zeros_like(union)
            mask[whole] = joined == index
            found.append((int(best[index]), mask))
    found.sort(key=lambda region: region[0])
    return Regions(
        masks=np.stack([mask for _, mask in found]) if found else masks[:0],
        best=np.array([best for best, _ in found], np.int64),
    )


def _place(mask: BoolArray) -> tuple[slice, slice]:
    """Return the rows and columns that hold all pixels of a mask; empty slices where it has none."""
    # `ndimage.find_objects` looks at every pixel, and joining takes twice as long with it.
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    band = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[band].any(axis=0))
    return band, slice(int(columns[0]), int(columns[-1]) + 1)


def shown_lesions(detections: Detections, shape: tuple[int, int]) -> tuple[Detections, BoolArray]:
    """Return the detections of a slice as they are shown, and their (D, H, W) masks.

    With `DetectionSettings.join_touching` each is one region: its box is that of its pixels, all else that of
    its best detection.
    """
    masks = mask_pixels(detections, shape)
    if not detections.settings.join_touching:
        return detections, masks
    regions = touching_regions(masks, detections.labels)
    return dataclasses.replace(detections.at(regions.best), boxes=regions.boxes()), regions.masks
