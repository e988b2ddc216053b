"""Maps of what the logit of a region hangs on: numbers at a place of the slice, and their colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from model_core.base.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from model_core.scene.palette import CIVIDIS, ORANGE, SKY, rgb

Box = Sequence[float] | FloatArray
# By what it is made: raw mask logits, gradient times activation, integrated gradients, occlusion (fall of the
# logit at the fixed proposal, fall of the score of the best region).
Kind = Literal["", "mask", "cells", "gradients", "fixed", "found"]
# No colour hides more of the slice than this; what is near 0 hides nothing.
STRONG = 0.75
# Of the pixels of a map that are not 0, those beyond have the strongest colour.
_MOST = 0.99
# Lines run where a map has half of its strongest colour; single pixels are smoothed by so many before.
LINE_AT, SMOOTHED_PX = 0.5, 2.0
_LEAST = 1e-9
SHORT_TITLES: dict[Kind, str] = {
    "mask": "Mask logit",
    "cells": "HiResCAM",
    "gradients": "Int. gradients",
    "fixed": "Occl. (logit)",
    "found": "Occl. (score)",
}


@dataclass(frozen=True, eq=False)
class RegionMap:
    """A map of one panel: its title, its numbers, and the box in slice pixels that it fills.

    ``interpolated`` maps are pixels; others are drawn as the cells that they are. ``filling`` is what they
    are compared with, in a word or two, where they are.
    """

    title: str
    values: FloatArray | DoubleArray
    box: Box
    interpolated: bool = False
    kind: Kind = ""
    unit: str = "logit"
    filling: str = ""

    @property
    def largest(self) -> float:
        """What the strongest colour stands for; a few pixels would take the colours of all others."""
        sizes = np.abs(self.values)
        if self.interpolated and sizes.any():
            return max(float(np.quantile(sizes[sizes > 0], _MOST)), _LEAST)
        return max(float(sizes.max(initial=0.0)), _LEAST)

    @property
    def colours(self) -> ByteArray:
        """(256, 4) red, green, blue and opacity from minus ``largest`` to it; mask logits have cividis."""
        return np.insert(cividis(), 3, 255, axis=1) if self.kind == "mask" else _diverging()

    def picture(self) -> ByteArray:
        """Return (H, W, 4) its colours."""
        levels = np.clip((self.values / self.largest + 1.0) * 127.5, 0, 255)
        found: ByteArray = self.colours[np.rint(levels).astype(np.int64)]
        return found

    @property
    def legend(self) -> str:
        """What it is, in a few words with its unit."""
        name = SHORT_TITLES.get(self.kind, self.title)
        if self.kind == "cells":
            (left, top, right, bottom), (rows, columns) = self.box, self.values.shape
            name += f", cell {(right - left) / columns:.1f} × {(bottom - top) / rows:.1f} px"
        name = name if self.unit in name else f"{name} ({self.unit})"
        return f"{name}, {self.filling}" if self.filling else name

    def at(self, x: float, y: float) -> float | None:
        """Return the number at a place of the slice; None beside the map."""
        left, top, right, bottom = (float(edge) for edge in self.box)
        rows, columns = self.values.shape
        if not (left <= x < right and top <= y < bottom):
            return None
        row = min(rows - 1, math.floor((y - top) / (bottom - top) * rows))
        column = min(columns - 1, math.floor((x - left) / (right - left) * columns))
        return float(self.values[row, column])

    def beyond(self, share: float = LINE_AT) -> tuple[BoolArray, BoolArray]:
        """Return where it is above this share of the strongest colour, and where below minus that.

        Of raw mask logits: above 0, which is a probability of one half.
        """
        if self.kind == "mask":
            return self.values > 0, np.zeros(self.values.shape, np.bool_)
        values, largest = self.values, self.largest
        if self.interpolated:
            from scipy import ndimage  # takes a moment, and not every window gets here

            values = ndimage.gaussian_filter(values, SMOOTHED_PX)
            largest = max(float(np.abs(values).max(initial=0.0)), _LEAST)
        return values > share * largest, values < -share * largest


@cache
def _diverging() -> ByteArray:
    """Return colours that hide nothing at 0, blue below and orange above it."""
    where = np.linspace(-1.0, 1.0, 256)
    table = np.empty((256, 4))
    for colour, side in ((SKY, where < 0), (ORANGE, where >= 0)):
        table[side, :3] = rgb(colour)
    table[:, 3] = 255 * STRONG * np.abs(where)
    rounded: ByteArray = np.rint(table).astype(np.uint8)
    return rounded


@cache
def cividis() -> ByteArray:
    """Return (256, 3) colours of raw mask logits."""
    stops = np.array([rgb(colour) for colour in CIVIDIS], np.float64)
    where = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(where, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    rounded: ByteArray = np.rint(np.stack(channels, 1)).astype(np.uint8)
    return rounded
