"""Detections whose masks touch, joined to the connected regions that a reader sees as one lesion each.

The papers' reference instances are the 8-connected components of a mask (spec §1.1); several detections on
one opacity, or one whose mask falls into two, are not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.explain.masks import mask_pixels
from model_core.types import BoolArray, Detections, FloatArray, IntArray

_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class Regions:
    """The 8-connected regions of a slice, class by class, best first.

    ``masks`` (R, H, W); ``boxes`` (R, 4) in pixel edges; ``best`` (R,) the best detection of each, whose
    score and label the region has.
    """

    masks: BoolArray
    boxes: FloatArray
    best: IntArray


def touching_regions(masks: BoolArray, labels: IntArray, *, larger_than: int = 0) -> Regions:
    """Return the connected regions of the detections of each class.

    Parameters
    ----------
    masks, labels:
        (D, H, W) and (D,), best first.
    larger_than:
        Regions of no more pixels are left out.
    """
    found: list[tuple[int, FloatArray, BoolArray]] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        components, count = ndimage.label(masks[own].any(axis=0), structure=_EIGHT)
        best = np.zeros(count + 1, np.int64)
        for number in own[::-1]:
            best[np.unique(components[masks[number]])] = number
        areas = np.bincount(components.ravel(), minlength=count + 1)
        for index, place in enumerate(ndimage.find_objects(components), 1):
            if areas[index] > larger_than:
                rows, columns = place
                box = np.array([columns.start, rows.start, columns.stop, rows.stop], np.float32)
                found.append((int(best[index]), box, components == index))
    found.sort(key=lambda region: region[0])
    return Regions(
        masks=np.stack([mask for _, _, mask in found]) if found else masks[:0],
        boxes=np.stack([box for _, box, _ in found]) if found else np.zeros((0, 4), np.float32),
        best=np.array([best for best, _, _ in found], np.int64),
    )


def shown_lesions(detections: Detections, shape: tuple[int, int]) -> tuple[Detections, BoolArray]:
    """Return the detections of a slice as they are shown, and their (D, H, W) masks.

    With `DetectionSettings.join_touching` each is one connected region: its box is that of its pixels, all
    else that of its best detection, which may stand for several regions.
    """
    masks = mask_pixels(detections, shape)
    settings = detections.settings
    if not settings.join_touching:
        return detections, masks
    regions = touching_regions(masks, detections.labels, larger_than=settings.min_region)
    return (
        dataclasses.replace(
            detections,
            indices=detections.indices[regions.best],
            boxes=regions.boxes,
            scores=detections.scores[regions.best],
            labels=detections.labels[regions.best],
            mask_logits=detections.mask_logits[regions.best],
        ),
        regions.masks,
    )
