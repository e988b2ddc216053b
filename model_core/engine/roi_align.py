"""RoIAlign over one or several maps, with compiled kernels or with ONNX Runtime's operator.

The operator is slower, and differs in the last digit, so that a process keeps to one of them. Compiling takes
some seconds, once: the first process does it for those after it, which import the kernels in half a second,
beside other things.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import logging
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from model_core.base.arrays import FloatArray, IntArray
from model_core.base.cache import Cache, cache_folder

_LOG = logging.getLogger(__name__)
# Boxes of this area belong to the fifth map of ResNet50, counted from one (`LevelMapper` of torchvision).
_CANONICAL_SIDE, _CANONICAL_LEVEL, _EPSILON = 224, 4, 1e-6

# (h, w, channels) map, boxes in its cells -> RoIs, from ONNX Runtime.
Operator = Callable[[FloatArray, FloatArray], FloatArray]


_LATER = 2.0  # seconds
# Says that the kernels were compiled, and kept by numba, before.
_COMPILED = Cache("kernels", limit=4096)


def _fails(kernels: ModuleType) -> str:
    """Say what compiled kernels compute wrongly; empty where they pass.

    Of a map that rises evenly, the mean of the samples of a bin is the value at its centre.
    """
    y, x = np.mgrid[:12, :12].astype(np.float32)
    plane = np.stack((x, y, 3 * x - y), axis=-1)
    box = np.array([[2, 3, 8.5, 7]], np.float32)
    found = np.empty((1, 4, 3), np.float32)
    kernels.roi_align(plane, box, np.zeros(1, np.int64), found, scale=1.0, pool=2)
    centres = np.array([[x, y, 3 * x - y] for y in (4.0, 6.0) for x in (3.625, 6.875)], np.float32)
    if np.abs(found[0] - centres).max() > 1e-5:
        return "RoIAlign is not that of an even slope"
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], np.float32)
    return "" if kernels.nms(boxes, 0.8, 3).tolist() == [0, 2] else "NMS keeps other boxes"


class _Kernels:
    """The module of compiled kernels, imported by a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tried = False
        self._there: bool | None = None
        self.module: ModuleType | None = None

    def begin(self) -> bool:
        """See `begin`."""
        if self._there is None:
            self._there = self.module is not None or _COMPILED.read(_marker()) is not None
            if self._there or cache_folder() is not None:
                # What was compiled before is awaited; else it is for the next program, and slices go first.
                timer = threading.Timer(0.0 if self._there else _LATER, self.load)
                timer.daemon = True
                timer.start()
        return self._there

    def load(self) -> None:
        with self._lock:
            if self._tried:
                return
            self._tried = True
            try:
                module = importlib.import_module("model_core.engine.kernels")
                if wrong := _fails(module):
                    raise ArithmeticError(wrong)
            except Exception as error:  # noqa: BLE001 - whatever the compiler does not like here
                _LOG.warning("RoIAlign runs without compiled kernels: %s: %s", type(error).__name__, error)
            else:
                self.module = module
                if module.KEPT:
                    _COMPILED.write(_marker(), b"1")


_KERNELS = _Kernels()


@cache
def _marker() -> str:
    """Return what tells these kernels, compiled by this numba, from others."""
    try:
        source = Path(__file__).with_name("kernels.py").read_bytes()
        version = importlib.metadata.version("numba")
    except (OSError, importlib.metadata.PackageNotFoundError):
        return "none"
    return hashlib.sha256(source + f"{version} {sys.version} {platform.machine()}".encode()).hexdigest()[:32]


def begin() -> bool:
    """Begin to load the kernels; return whether to wait for them: they are there, or were compiled before.

    What was returned first holds for the process.
    """
    return _KERNELS.begin()


def compiled(*, wait: bool = False) -> ModuleType | None:
    """Return `engine.kernels` if it is there; ``wait``: load it first. None where numba does not work."""
    if wait:
        _KERNELS.load()
    return _KERNELS.module


def channels_last(one: np.typing.NDArray[np.floating]) -> FloatArray:
    """Return a (channels, h, w) map of any precision as (h, w, channels) float32."""
    return np.ascontiguousarray(one.astype(np.float32, copy=False).transpose(1, 2, 0))


def levels_of(boxes: FloatArray, maps: Sequence[FloatArray], *, size: int) -> IntArray:
    """Return the (n,) map that each box is cut from, by its area; ``maps`` from fine to coarse."""
    if len(maps) == 1:
        return np.zeros(len(boxes), np.int64)
    first, last = (round(np.log2(size / len(one))) for one in (maps[0], maps[-1]))
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    with np.errstate(divide="ignore"):
        wanted = np.floor(
            np.float32(_CANONICAL_LEVEL) + np.log2(sides / np.float32(_CANONICAL_SIDE)) + np.float32(_EPSILON)
        )
    levels: IntArray = wanted.clip(first, last).astype(np.int64) - first
    return levels


def align(
    maps: Sequence[FloatArray],
    boxes: FloatArray,
    out: FloatArray,
    *,
    size: int,
    pool: int,
    operator: Operator,
    kernels: ModuleType | None,
    channels_first: bool = False,
) -> None:
    """Fill ``out`` with the RoIs of (n, 4) boxes in a picture of ``size`` pixels, see `kernels.roi_align`.

    Parameters
    ----------
    maps:
        (h, w, channels) from fine to coarse; a box is cut from the one that fits its area.
    out:
        (n, pool * pool, channels), or (n, channels, pool * pool) with ``channels_first``.
    kernels, operator:
        What does it, and what does it where there are no kernels.
    """
    levels = levels_of(boxes, maps, size=size)
    for number, one in enumerate(maps):
        rows = np.flatnonzero(levels == number)
        if not len(rows):
            continue
        scale = 2.0 ** round(np.log2(len(one) / size))
        if kernels is None:
            out[rows] = operator(one, boxes[rows] * np.float32(scale)).reshape(len(rows), *out.shape[1:])
        else:
            kernels.roi_align(one, boxes, rows, out, scale=scale, pool=pool, channels_first=channels_first)
