"""Detections whose masks touch, joined to the connected regions that a reader sees as one lesion each.

The papers' reference instances are the 8-connected components of a mask (spec §1.1); several detections on
one opacity, or one that reaches into two, are not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import BoolArray, IntArray
from model_core.base.results import Detections
from model_core.explain.masks import mask_spans
from model_core.explain.spans import Spans


@dataclass(frozen=True, eq=False)
class Regions:
    """The lesions that detections mark together, best first.

    ``masks`` (R, H, W); ``best`` (R,) the best of the detections that mainly mark it, different for each.
    """

    masks: BoolArray
    best: IntArray


def touching_regions(masks: BoolArray, labels: IntArray) -> Regions:
    """Return the 8-connected regions of the union of the masks of each class, see `joined`.

    Parameters
    ----------
    masks, labels:
        (D, H, W) and (D,), best first.
    """
    regions, best = joined(Spans.of(masks), labels)
    return Regions(masks=regions.masks(), best=best)


def joined(spans: Spans, labels: IntArray) -> tuple[Spans, IntArray]:
    """Return the 8-connected regions of the union of the masks of each class, best first, and their best.

    Each detection mainly marks the region with most of its pixels. A region that none mainly marks is a piece
    cut off from a mask: it belongs to what the best detection over it mainly marks. A detection without
    pixels marks nothing.

    Parameters
    ----------
    spans, labels:
        The masks, and (D,) their classes, best first.
    """
    found: list[tuple[IntArray, Spans]] = []
    for label in np.unique(labels[spans.owner]):
        own = spans.chosen(labels[spans.owner] == label)
        union = own.union()
        numbers, count = union.pieces()
        component = numbers[np.searchsorted(union.starts, own.starts, side="right") - 1]
        pixels = np.bincount(own.owner * count + component, own.lengths, own.count * count)
        pixels = pixels.reshape(own.count, count)
        marks = np.flatnonzero(pixels.any(axis=1))
        main = pixels.argmax(axis=1)
        best = np.full(count, own.count)
        np.minimum.at(best, main[marks], marks)
        over = (pixels > 0).argmax(axis=0)
        whole = np.where(best < own.count, np.arange(count), main[over])[numbers]
        found.append((best[whole], union))
    if not found:
        return Spans(spans.starts, spans.ends, spans.owner, 0, spans.shape), np.zeros(0, np.int64)
    marked = np.concatenate([of for of, _ in found])
    order = np.argsort(marked, kind="stable")
    best, owner = np.unique(marked[order], return_inverse=True)
    starts, ends = (np.concatenate([getattr(u, e) for _, u in found])[order] for e in ("starts", "ends"))
    return Spans(starts, ends, owner, len(best), spans.shape), best


def lesions(detections: Detections, spans: Spans) -> tuple[Detections, Spans]:
    """Return the detections of a slice as they are shown, and their masks, of the masks of each.

    With `DetectionSettings.join_touching` each is one region: its box is that of its pixels, all else that of
    its best detection.
    """
    if not detections.settings.join_touching:
        return detections, spans
    regions, best = joined(spans, detections.labels)
    return dataclasses.replace(detections.at(best), boxes=regions.boxes()), regions


def shown_lesions(detections: Detections, shape: tuple[int, int]) -> tuple[Detections, BoolArray]:
    """Return the detections of a slice as they are shown, see `lesions`, and their (D, H, W) masks."""
    shown, spans = lesions(detections, mask_spans(detections, shape))
    return shown, spans.masks()
