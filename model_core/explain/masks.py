"""Mask logits (28 x 28 per detection) pasted onto the slice (spec §7).

Torchvision's own pasting makes one full picture per detection; here only the box is kept, so that a
slider can move over a hundred detections. The numbers are the same but for the last digits of a 32-bit float
(tests compare them).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from model_core.base.arrays import BoolArray, ByteArray, FloatArray, IntArray
from model_core.base.results import Detections, SliceResult
from model_core.base.settings import DetectionSettings
from model_core.explain.spans import Spans, spread

# Of the largest number in a map: more than interpolation rounds.
_ROUNDING = 1e-5


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
    padded, (columns, rows) = _laid_out(maps, boxes, shape, framed=framed)
    return tuple(
        Patch(
            top=rows.start[k], left=columns.start[k], values=rows.mix(columns.mix(mask, k, axis=1), k, axis=0)
        )
        for k, mask in enumerate(padded)
    )


def _laid_out(
    maps: FloatArray, boxes: FloatArray, shape: tuple[int, int], *, framed: bool
) -> tuple[FloatArray, tuple[_Pixels, _Pixels]]:
    """Return the maps with a frame, and where the pixels of columns and rows lie in them."""
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
    # The last cell is its own neighbour.
    return np.pad(padded, ((0, 0), (0, 1), (0, 1)), mode="edge"), (columns, rows)


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

    def between(self, near: BoolArray) -> tuple[IntArray, IntArray]:
        """Return (D,) the first pixel, and how many, that lie beside any of the ``near`` (D, cells + 1)."""
        beside = near[:, :-1] | near[:, 1:]
        first = beside.argmax(axis=1)
        last = beside.shape[1] - 1 - beside[:, ::-1].argmax(axis=1)
        there = np.arange(self.low.shape[1]) < np.array(self.count)[:, None]
        start = np.count_nonzero(there & (self.low < first[:, None]), axis=1)
        end = np.count_nonzero(there & (self.low <= last[:, None]), axis=1)
        return start, np.where(beside.any(axis=1), end - start, 0)

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
    """Return the (D, H, W) masks of detections, see `mask_spans`."""
    return mask_spans(detections, shape).masks()


def mask_spans(detections: Detections, shape: tuple[int, int]) -> Spans:
    """Return the masks of detections under their own mask threshold and its scale.

    On the probability scale the sigmoid is taken before pasting, as the released single-shot code does;
    on the logit scale the raw map is pasted (two-stage code). The zeros around a pasted map lie above a
    threshold below zero and would draw the frame of the box; there the edge of the map is repeated.
    """
    settings = detections.settings
    return _above(
        mask_values(detections.mask_logits, settings),
        detections.mask_boxes,
        shape,
        settings.mask_threshold,
        framed=settings.mask_threshold >= 0,
    )


def known_spans(result: SliceResult, detections: Detections) -> Spans:
    """Return the `mask_spans` of detections of a slice; those that were asked for before are kept with it."""
    shape, settings = result.placement.slice_shape, detections.settings
    key = settings.mask_threshold, settings.mask_scale
    if (known := result.span_cache.get(key)) is None:
        result.span_cache.clear()
        # Another thread may hold those of a former threshold, or be here too: it fills its own.
        known = result.span_cache.setdefault(key, {})
    indices = detections.indices.tolist()
    missing = np.flatnonzero([index not in known for index in indices])
    if len(missing):
        new = mask_spans(detections.at(missing), shape)
        runs = np.stack((new.starts, new.ends)).astype(np.int32)
        for which, own in zip(missing.tolist(), np.split(runs, new.bounds[1:-1], axis=1), strict=True):
            known[indices[which]] = own.copy()
    return Spans.joined([known[index] for index in indices], shape)


def _above(
    maps: FloatArray, boxes: FloatArray, shape: tuple[int, int], threshold: float, *, framed: bool
) -> Spans:
    """Return the pixels where `paste_maps` is greater than a threshold, without pasting what is far below it.

    Between cells that are not greater no pixel is. All that is left of all maps is one long row of numbers.
    """
    nothing = Spans.joined([np.zeros((2, 0), np.int32)] * len(maps), shape)
    if not len(maps):
        return nothing
    padded, (columns, rows) = _laid_out(maps, boxes, shape, framed=framed)
    if not columns.low.size or not rows.low.size:
        return nothing
    side = padded.shape[-1]
    # Interpolation may round to the other side of the threshold; but never to that of zero.
    rounded = _ROUNDING * max(1.0, float(np.fmax.reduce(np.abs(padded), axis=None))) if threshold else 0.0
    near: BoolArray = np.greater(padded, threshold - rounded)
    left, width = columns.between(np.any(near, axis=1))
    top, height = rows.between(np.any(near, axis=2))
    wide = width + 1  # one place more, which is in no mask, so that runs of two rows of pixels never meet
    each = np.arange(len(maps))
    # Each row of cells at every pixel along it, and how far it is from there to the next row.
    first = rows.low[each, np.minimum(top, rows.low.shape[1] - 1)]
    last = rows.low[each, np.maximum(top + height - 1, 0)]
    count = np.where(height > 0, last + 2 - first, 0)
    of = np.repeat(each, count)
    pixel = np.minimum(spread(left[of], wide[of]), columns.low.shape[1] - 1)
    pixel += np.repeat(of * columns.low.shape[1], wide[of])
    cell = np.repeat((of * side + spread(first, count)) * side, wide[of]) + columns.low.reshape(-1)[pixel]
    cells = padded.reshape(-1)
    along = cells[cell] + (cells[cell + 1] - cells[cell]) * columns.share.reshape(-1)[pixel]
    below = np.minimum(np.arange(len(along)) + np.repeat(wide[of], wide[of]), max(len(along) - 1, 0))
    step = along[below] - along
    places = np.cumsum(wide[of])
    along[places - 1], step[places - 1] = threshold, 0.0
    # Each row of pixels.
    origin = np.cumsum(count * wide) - count * wide
    of = np.repeat(each, height)
    line = spread(top, height)
    at = spread(origin[of] + (rows.low[of, line] - first[of]) * wide[of], wide[of])
    values = step[at] * np.repeat(rows.share[of, line], wide[of])
    values += along[at]
    inside = np.zeros(len(values) + 1, np.bool_)
    inside[1:] = values > threshold
    changes = np.flatnonzero(inside[1:] != inside[:-1])
    begins = np.cumsum(wide[of]) - wide[of]
    run = np.searchsorted(begins, changes[::2], side="right") - 1
    place = (np.array(rows.start)[of] + line) * (shape[1] + 1) + np.array(columns.start)[of] + left[of]
    shift = (place - begins)[run]
    return Spans(changes[::2] + shift, changes[1::2] + shift, of[run], len(maps), shape)


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
