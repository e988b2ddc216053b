"""RoIAlign and NMS, compiled for this processor by numba, and kept on disk where that is possible.

They run without Python's lock, so that a few threads share the regions of a slice.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np

from model_core.base.arrays import FloatArray, IntArray
from model_core.base.threads import compute_threads

# Samples of a bin along one axis (`sampling_ratio` of the papers' networks); each lies between two cells.
_SAMPLES = 2
_TAPS = 2 * _SAMPLES


# Whether the next program finds them compiled.
KEPT = True


def _compiled(signature: str, *, fma: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function on import, from the cache where there is one."""

    def decorate(function: Callable[..., Any]) -> Any:
        options: dict[str, Any] = {
            "nogil": True,
            "error_model": "numpy",
            "fastmath": {"contract"} if fma else False,
        }
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder that may be written
            global KEPT
            KEPT = False
            return numba.njit(signature, **options)(function)

    return decorate


@_compiled("void(f4, f4, f4, i8, i8, i8[:, ::1], f4[:, ::1], i8[::1])")
def _taps(
    start: Any, end: Any, scale: Any, pool: Any, cells: Any, index: Any, weight: Any, count: Any
) -> None:
    """List for each bin of one axis the cells that its samples lie between, and their mean weights.

    A sample outside the map counts as 0, one on its rim as the cell there: torchvision's `roi_align` without
    ``aligned``.
    """
    first = start * scale
    size = max(end * scale - first, np.float32(1)) / np.float32(pool)
    for one in range(pool):
        count[one] = 0
        for sample in range(_SAMPLES):
            offset = (np.float32(sample) + np.float32(0.5)) * size / np.float32(_SAMPLES)
            place = first + np.float32(one) * size + offset
            if place < -1 or place > cells:
                continue
            place = max(place, np.float32(0))
            low = int(place)
            high = low + 1
            if low >= cells - 1:
                low = high = cells - 1
                place = np.float32(low)
            part = place - np.float32(low)
            for which in range(2):
                cell = low if which == 0 else high
                value = (np.float32(1) - part if which == 0 else part) / np.float32(_SAMPLES)
                found = False
                for known in range(count[one]):
                    if index[one, known] == cell:
                        weight[one, known] += value
                        found = True
                if not found and value != 0:
                    index[one, count[one]] = cell
                    weight[one, count[one]] = value
                    count[one] += 1
        for rest in range(count[one], _TAPS):
            index[one, rest] = 0
            weight[one, rest] = 0


@_compiled("void(f4[:, ::1], i8, i8, i8[::1], f4[::1], i8, f4[:, ::1], i8)", fma=True)
def _mix(source: Any, base: Any, step: Any, index: Any, weight: Any, count: Any, out: Any, to: Any) -> None:
    """out[to] = sum of weight * source[base + step * index] over the first ``count``, up to four."""
    channels = source.shape[1]
    a, b, c, d = weight[0], weight[1], weight[2], weight[3]
    i, j = base + step * index[0], base + step * index[1]
    k, m = base + step * index[2], base + step * index[3]
    if count <= 1:
        for n in range(channels):
            out[to, n] = a * source[i, n]
    elif count == 2:
        for n in range(channels):
            out[to, n] = a * source[i, n] + b * source[j, n]
    elif count == 3:
        for n in range(channels):
            out[to, n] = a * source[i, n] + b * source[j, n] + c * source[k, n]
    else:
        for n in range(channels):
            out[to, n] = (a * source[i, n] + b * source[j, n]) + (c * source[k, n] + d * source[m, n])


@_compiled("void(f4[:, ::1], i8, i8, f4[:, ::1], i8[::1], f4, i8, b1, f4[:, ::1])")
def _align(
    cells: Any, height: Any, width: Any, boxes: Any, rows: Any, scale: Any, pool: Any, last: Any, out: Any
) -> None:
    """Fill the RoIs of ``rows``; bilinear weights factor, so that columns are mixed before rows.

    ``cells`` (height * width, channels); ``out`` (n * pool * pool, channels) where channels come ``last``,
    else (n * channels, pool * pool).
    """
    channels, bins = cells.shape[1], pool * pool
    x_index, y_index = np.empty((pool, _TAPS), np.int64), np.empty((pool, _TAPS), np.int64)
    x_weight, y_weight = np.empty((pool, _TAPS), np.float32), np.empty((pool, _TAPS), np.float32)
    x_count, y_count = np.empty(pool, np.int64), np.empty(pool, np.int64)
    mixed = np.empty((pool * _TAPS * pool, channels), np.float32)
    tile = np.empty((0 if last else bins, channels), np.float32)
    slot_of = np.empty(height, np.int64)
    for box in rows:
        _taps(boxes[box, 0], boxes[box, 2], scale, pool, width, x_index, x_weight, x_count)
        _taps(boxes[box, 1], boxes[box, 3], scale, pool, height, y_index, y_weight, y_count)
        slots = 0
        slot_of[:] = -1
        for y in range(pool):
            for tap in range(y_count[y]):
                row = y_index[y, tap]
                if slot_of[row] < 0:
                    slot_of[row] = slots
                    for x in range(pool):
                        to = slots * pool + x
                        _mix(cells, row * width, 1, x_index[x], x_weight[x], x_count[x], mixed, to)
                    slots += 1
                y_index[y, tap] = slot_of[row]
        target, first = (out, box * bins) if last else (tile, 0)
        for y in range(pool):
            for x in range(pool):
                to = first + y * pool + x
                _mix(mixed, x, pool, y_index[y], y_weight[y], y_count[y], target, to)
        if not last:
            for start in range(0, channels, 16):
                for place in range(bins):
                    for n in range(start, min(start + 16, channels)):
                        out[box * channels + n, place] = tile[place, n]


@_compiled("i8[::1](f4[:, ::1], f8, i8)")
def _nms(boxes: Any, iou: Any, limit: Any) -> Any:
    count = len(boxes)
    kept = np.empty(min(count, limit), np.int64)
    gone = np.zeros(count, np.bool_)
    left, top = boxes[:, 0].copy(), boxes[:, 1].copy()
    right, bottom = boxes[:, 2].copy(), boxes[:, 3].copy()
    areas = (right - left) * (bottom - top)
    found = 0
    zero = np.float32(0)
    for one in range(count):
        if gone[one]:
            continue
        kept[found] = one
        found += 1
        if found == limit:
            break
        x1, y1, x2, y2, area = left[one], top[one], right[one], bottom[one], areas[one]
        for other in range(one + 1, count):
            across = max(zero, min(x2, right[other]) - max(x1, left[other]))
            down = max(zero, min(y2, bottom[other]) - max(y1, top[other]))
            common = across * down
            gone[other] |= common / (area + areas[other] - common) > iou
    return kept[:found]


def nms(boxes: FloatArray, iou: float, limit: int) -> IntArray:
    """Return the first ``limit`` indices that NMS keeps of (n, 4) boxes, best first.

    A box goes where its IoU with a better one that stays is greater than ``iou``, in the float32 arithmetic
    of torchvision's `nms`.
    """
    kept: IntArray = _nms(np.ascontiguousarray(boxes), iou, limit)
    return kept


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(compute_threads(), thread_name_prefix="regions")


def roi_align(
    maps: FloatArray,
    boxes: FloatArray,
    rows: IntArray,
    out: FloatArray,
    *,
    scale: float,
    pool: int,
    channels_first: bool = False,
) -> None:
    """Cut ``pool`` x ``pool`` bins of boxes out of a map: torchvision's `roi_align`, 2 x 2 samples a bin.

    Parameters
    ----------
    maps:
        (h, w, channels), channels last.
    boxes:
        (n, 4) in pixels of the picture.
    rows:
        (m,) boxes to look at.
    out:
        (n, pool * pool, channels), or (n, channels, pool * pool) with ``channels_first``; of it ``rows`` are
        filled.
    scale:
        Cells of the map per pixel of the picture.
    """
    height, width, channels = maps.shape
    cells, flat = maps.reshape(-1, channels), out.reshape(len(out) * out.shape[1], -1)
    workers = min(compute_threads(), max(1, len(rows)))
    parts: list[tuple[Any, ...]] = [
        (cells, height, width, boxes, part, np.float32(scale), pool, not channels_first, flat)
        for part in np.array_split(np.ascontiguousarray(rows, np.int64), workers)
    ]
    if workers == 1:
        _align(*parts[0])
        return
    others = [_threads().submit(_align, *part) for part in parts[1:]]
    _align(*parts[0])
    for other in others:
        other.result()
