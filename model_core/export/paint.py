"""Masks, outlines and the logit map painted into an RGB array, in place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, ByteArray, FloatArray
from model_core.export.look import DARK
from model_core.scene import rgb as parts

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_DASH = 6


def fill(rgb: ByteArray, mask: BoolArray, colour: str, *, opacity: float) -> None:
    """Blend a colour over the (h, w) pixels of a mask."""
    under = rgb[mask].astype(np.float32)
    rgb[mask] = np.rint(under + opacity * (np.array(parts(colour), np.float32) - under)).astype(np.uint8)


def rim(mask: BoolArray, *, line: int = 1) -> BoolArray:
    """Return the pixels of a mask within ``line`` steps of its outside; the picture's border is outside."""
    inner = mask
    for _ in range(line):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def outline(rgb: ByteArray, mask: BoolArray, colour: str, *, line: int = 1) -> None:
    """Draw the rim of a mask, inside it."""
    rgb[rim(mask, line=line)] = parts(colour)


def dashed_outline(rgb: ByteArray, mask: BoolArray, colour: str, *, line: int = 1) -> None:
    """Draw the rim of a mask in dashes of equal length, the gaps dark."""
    from contourpy import contour_generator

    rgb[rim(mask, line=line)] = parts(DARK)
    padded = np.pad(mask, 1)
    dash = _DASH * line
    lit = np.zeros(mask.shape, np.bool_)
    for vertices in contour_generator(z=padded.astype(np.float32)).lines(0.5):
        points = np.asarray(vertices)
        steps = np.hypot(*np.diff(points, axis=0).T)
        length = float(steps.sum())
        # A whole number of dashes and gaps, so that none is cut where the outline closes.
        period = length / max(1, round(length / (2 * dash)))
        along = np.concatenate([[0.0], np.cumsum(steps)])
        for x, y in points[along % period < period * 0.6]:
            row, column = _inside(padded, float(x), float(y))
            lit[row - 1, column - 1] = True
    if line > 1:
        # The contour is one pixel wide; its neighbours within the rim belong to the same dash.
        from scipy.ndimage import binary_dilation

        lit = binary_dilation(lit, np.ones((3, 3), np.bool_), iterations=line - 1)
    rgb[lit & rim(mask, line=line)] = parts(colour)


def _inside(padded: BoolArray, x: float, y: float) -> tuple[int, int]:
    """Return the pixel of the mask beside a contour vertex, which lies between two pixel centres."""
    low = (int(np.floor(y)), int(np.floor(x)))
    return low if padded[low] else (int(np.ceil(y)), int(np.ceil(x)))


def dashed_box(draw: ImageDraw, box: Sequence[float], colour: str, *, line: int = 1) -> None:
    """Draw a box (pixel edges) in dashes, the gaps dark."""
    left, top, right, bottom = (round(edge) for edge in box)
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    draw.rectangle((left, top, right, bottom), outline=DARK, width=line)
    dash = _DASH * line
    for x in range(left, right + 1, 2 * dash):
        end = min(x + dash, right)
        draw.rectangle((x, top, end, top + line - 1), fill=colour)
        draw.rectangle((x, bottom - line + 1, end, bottom), fill=colour)
    for y in range(top, bottom + 1, 2 * dash):
        end = min(y + dash, bottom)
        draw.rectangle((left, y, left + line - 1, end), fill=colour)
        draw.rectangle((right - line + 1, y, right, end), fill=colour)


@cache
def logit_colours() -> npt.NDArray[np.uint8]:
    """Return the (256, 3) colour map of logits: cividis, even to the eye and to the colour-blind."""
    from matplotlib import colormaps

    return (np.asarray(colormaps["cividis"](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)


def paint_logits(rgb: ByteArray, logits: FloatArray, limits: tuple[float, float]) -> None:
    """Paint a (h, w) logit map over the picture where it is not NaN; opaque, as its colours are a scale."""
    where = np.isfinite(logits)
    low, high = limits
    level = np.rint(np.clip((logits[where] - low) / (high - low) * 255, 0, 255)).astype(np.uint8)
    rgb[where] = logit_colours()[level]
