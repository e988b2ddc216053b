"""Detections whose masks touch, joined to the connected regions that a reader sees as one lesion each.

The papers' reference instances are the 8-connected components of a mask (spec §1.1); several detections on
one opacity, or one that reaches into two, are not.
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
    """The lesions that detections mark together, best first.

    ``masks`` (R, H, W); ``best`` (R,) the best of the detections that mainly mark it, different for each.
    """

    masks: BoolArray
    best: IntArray

    def boxes(self) -> FloatArray:
        """Return the (R, 4) boxes of the pixels, in pixel edges."""
        boxes = np.zeros((len(self.masks), 4), np.float32)
        for box, mask in zip(boxes, self.masks, strict=True):
            ((rows, columns),) = ndimage.find_objects(mask.astype(np.uint8))
            box[:] = columns.start, rows.start, columns.stop, rows.stop
        return boxes


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
    for label in np.unique(labels):
        own = [int(k) for k in np.flatnonzero(labels == label) if masks[k].any()]
        components, count = ndimage.label(masks[own].any(axis=0), structure=_EIGHT)
        # Worst first, so that the best has the last word.
        marked = np.zeros(count + 1, np.int64)
        best = np.full(count + 1, -1)
        for number in own[::-1]:
            pixels = np.bincount(components[masks[number]], minlength=count + 1)
            main = int(pixels.argmax())
            marked[pixels > 0] = main
            best[main] = number
        lesion = np.where(best >= 0, np.arange(count + 1), marked)
        joined = lesion[components]
        found += [(int(best[index]), joined == index) for index in np.flatnonzero(best >= 0)]
    found.sort(key=lambda region: region[0])
    return Regions(
        masks=np.stack([mask for _, mask in found]) if found else masks[:0],
        best=np.array([best for best, _ in found], np.int64),
    )


def shown_lesions(detections: Detections, shape: tuple[int, int]) -> tuple[Detections, BoolArray]:
    """Return the detections of a slice as they are shown, and their (D, H, W) masks.

    With `DetectionSettings.join_touching` each is one region: its box is that of its pixels, all else that of
    its best detection.
    """
    masks = mask_pixels(detections, shape)
    if not detections.settings.join_touching:
        return detections, masks
    regions = touching_regions(masks, detections.labels)
    return (
        dataclasses.replace(
            detections,
            indices=detections.indices[regions.best],
            boxes=regions.boxes(),
            scores=detections.scores[regions.best],
            labels=detections.labels[regions.best],
            mask_logits=detections.mask_logits[regions.best],
        ),
        regions.masks,
    )
