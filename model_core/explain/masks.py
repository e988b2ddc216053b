"""Mask logits (28 x 28 per detection) pasted onto the slice (spec §7).

Torchvision's own pasting makes one full picture per detection; here only the box is kept, so that a
slider can move over a hundred detections. The numbers are the same but for the last digits of a 32-bit float
(tests compare them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from model_core.base.arrays import BoolArray, ByteArray, FloatArray, IntArray
from model_core.base.results import Detections
from model_core.base.settings import DetectionSettings

EIGHT_CONNECTED = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class Patch:
    """A map pasted at its place: ``values[i, j]`` belongs to slice pixel ``(top + i, left + j)``."""

    top: int
    left: int
    values: FloatArray

    @property
    def region(self) -> tuple[slice, slice]:
        """Index of the patch in a (H, W) slice."""
        height, width = self.values.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def paste_maps(
    maps: FloatArray, boxes: FloatArray, shape: tuple[int, int], *, framed: bool = True
) -> tuple[Patch, ...]:
    """Resize (D, 28, 28) maps into their (D, 4) boxes, clipped to a slice of ``shape`` (H, W).

    As published: one pixel of zeros around the map, the box enlarged to match and rounded toward zero,
    bilinear resizing. A box that leaves the slice altogether gives an empty patch. Not ``framed``, the edge
    of the map is repeated in place of the zeros.
    """
    if not len(maps):
        return ()
    side = maps.shape[-1] + 2
    around = ((0, 0), (1, 1), (1, 1))
    padded = np.pad(maps, around) if framed else np.pad(maps, around, mode="edge")
    scale = np.float32(side / maps.shape[-1])
    centres = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5)
    halves = (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5) * scale
    firsts, lasts = (centres - halves).astype(np.int64), (centres + halves).astype(np.int64)
    columns, rows = (
        _Pixels.of(firsts[:, axis], lasts[:, axis], cells=side, limit=shape[1 - axis]) for axis in (0, 1)
    )
    padded = np.pad(padded, ((0, 0), (0, 1), (0, 1)), mode="edge")  # the last cell is its own neighbour
    return tuple(
        Patch(
            top=rows.start[k], left=columns.start[k], values=rows.mix(columns.mix(mask, k, axis=1), k, axis=0)
        )
        for k, mask in enumerate(padded)
    )


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Where the pixels of D boxes along one axis lie between the cells of their maps.

    ``start`` and ``count``: which pixels of the slice; ``low`` (D, P) the cell before a pixel's centre, and
    ``share`` (D, P) how far it is from there to the next. Numbers of a box past its ``count`` mean nothing.
    """

    start: list[int]
    count: list[int]
    low: IntArray
    share: FloatArray

    @classmethod
    def of(cls, firsts: IntArray, lasts: IntArray, *, cells: int, limit: int) -> _Pixels:
        """Return those of boxes from pixel ``firsts`` to ``lasts`` (D,), in a slice with ``limit`` pixels."""
        sizes = np.maximum(lasts - firsts + 1, 1)
        start = np.maximum(firsts, 0)
        count = np.maximum(np.minimum(firsts + sizes, limit) - start, 0)
        pixels = (start - firsts)[:, None] + np.arange(count.max())
        # torch's scale is a 32-bit float: over a large box the places of pixels drift by it.
        scales = (np.float32(cells) / sizes.astype(np.float32)).astype(np.float64)
        place = np.clip((pixels + 0.5) * scales[:, None] - 0.5, 0, cells - 1).astype(np.float32)
        low = place.astype(np.int64)
        return cls(start.tolist(), count.tolist(), low, place - low.astype(np.float32))

    def mix(self, values: FloatArray, box: int, *, axis: int) -> FloatArray:
        """Return values of cells along an axis, interpolated at the pixels of a box."""
        low, share = self.low[box, : self.count[box]], self.share[box, : self.count[box]]
        if axis == 0:
            share = share[:, None]
        mixed: FloatArray = values.take(low, axis=axis)
        beyond = np.diff(values, axis=axis).take(low, axis=axis)
        beyond *= share
        mixed += beyond
        return mixed


def mask_pixels(detections: Detections, shape: tuple[int, int]) -> BoolArray:
    """Return the (D, H, W) masks of detections under their own mask threshold and its scale.

    On the probability scale the sigmoid is taken before pasting, as the released single-shot code does;
    on the logit scale the raw map is pasted (two-stage code). The zeros around a pasted map lie above a
    threshold below zero and would draw the frame of the box; there the edge of the map is repeated.
    Where the mask branch looked at more than the box of the region (`DetectorSettings.mask_box_scale`), what
    it marks there counts where it is connected with something in the box: the rest is not of this region.
    """
    masks = np.zeros((len(detections), *shape), np.bool_)
    settings = detections.settings
    patches = paste_maps(
        mask_values(detections.mask_logits, settings),
        detections.mask_boxes,
        shape,
        framed=settings.mask_threshold >= 0,
    )
    edges = np.array([shape[1], shape[0]] * 2, np.float32)
    looked_at, own = (np.clip(boxes, 0, edges) for boxes in (detections.mask_boxes, detections.boxes))
    larger = (looked_at != own).any(axis=1)
    for mask, patch, box, more in zip(masks, patches, detections.boxes, larger, strict=True):
        pixels = patch.values > settings.mask_threshold
        mask[patch.region] = _reaching(pixels, patch, box) if more else pixels
    return masks


def _reaching(pixels: BoolArray, patch: Patch, box: FloatArray) -> BoolArray:
    """Return the 8-connected pieces of a patch's pixels that have a pixel in the box."""
    left, top = (int(edge) for edge in np.floor(box[:2]))
    right, bottom = (int(edge) for edge in np.ceil(box[2:]))
    rows = slice(max(top - patch.top, 0), max(bottom - patch.top, top - patch.top + 1, 0))
    columns = slice(max(left - patch.left, 0), max(right - patch.left, left - patch.left + 1, 0))
    if np.count_nonzero(pixels) == np.count_nonzero(pixels[rows, columns]):
        return pixels
    pieces, count = ndimage.label(pixels, structure=EIGHT_CONNECTED)
    reaching = np.zeros(count + 1, np.bool_)
    reaching[pieces[rows, columns]] = True
    reaching[0] = False
    found: BoolArray = reaching[pieces]
    return found


def _inside(patch: Patch, box: FloatArray) -> Patch:
    """Return the pixels of a patch that its box (pixel edges) covers, wholly or in part."""
    left, top = (int(edge) for edge in np.floor(box[:2]))
    right, bottom = (int(edge) for edge in np.ceil(box[2:]))
    rows = slice(max(top - patch.top, 0), max(bottom - patch.top, 0))
    columns = slice(max(left - patch.left, 0), max(right - patch.left, 0))
    return Patch(max(top, patch.top), max(left, patch.left), patch.values[rows, columns])


def mask_values(logits: FloatArray, settings: DetectionSettings) -> FloatArray:
    """Return mask logits on the scale of the mask threshold."""
    return logits if settings.mask_scale == "logit" else expit(logits).astype(np.float32)


def logit_map(detections: Detections, shape: tuple[int, int]) -> FloatArray:
    """Return the (H, W) combination of the pasted raw logits (P2, Fig.); NaN outside every mask box.

    The pixelwise maximum over detections, or their sum, by the rule of the settings (§7). Outside its box a
    detection has no logit, so the edge of its map is interpolated among logits alone. Published masks mix
    zeros into the outermost half pixel of the 28 x 28 map, on both sides of the edge: there a mask may reach
    beyond the box, where no logit is, and its threshold is met by less than the logit shown.
    """
    combined = np.full(shape, np.nan, np.float32)
    patches = paste_maps(detections.mask_logits, detections.mask_boxes, shape, framed=False)
    for whole, box in zip(patches, detections.mask_boxes, strict=True):
        patch = _inside(whole, box)
        there = combined[patch.region]
        if detections.settings.logit_rule == "max":
            np.fmax(there, patch.values, out=there)
        else:
            there[...] = np.where(np.isnan(there), patch.values, there + patch.values)
    return combined


def mask_probability(detections: Detections, shape: tuple[int, int]) -> FloatArray:
    """Return the (H, W) greatest product of score and pasted mask probability; 0 outside every mask box."""
    combined = np.zeros(shape, np.float32)
    maps = expit(detections.mask_logits).astype(np.float32)
    for patch, score in zip(paste_maps(maps, detections.mask_boxes, shape), detections.scores, strict=True):
        there = combined[patch.region]
        np.maximum(there, score * patch.values, out=there)
    return combined


def label_map(masks: BoolArray, labels: IntArray) -> ByteArray:
    """Return the (H, W) uint8 label of each pixel: 0 none; where masks overlap, the better detection's.

    ``masks`` (D, H, W) and ``labels`` (D,) best first.
    """
    combined = np.zeros(masks.shape[1:], np.uint8)
    for mask, label in zip(masks[::-1], labels[::-1], strict=True):
        combined[mask] = label
    return combined
