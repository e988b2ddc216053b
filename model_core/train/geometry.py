"""Geometric augmentation: one affine map moves picture and labels together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from model_core.base.arrays import ByteArray, DoubleArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How a picture lies in the square input.

    Attributes
    ----------
    zoom:
        Scale relative to filling the input with the longer side.
    stretch:
        Width over height, 1 keeps the aspect.
    angle:
        Radians, counter-clockwise.
    shift:
        Of the picture's centre, in fractions of the input (x, y).
    """

    zoom: float = 1.0
    stretch: float = 1.0
    angle: float = 0.0
    flip: bool = False
    shift: tuple[float, float] = (0.0, 0.0)


def draw_motion(
    generator: np.random.Generator, *, shape: tuple[int, int], zoom: tuple[float, float], centre: float = 0.05
) -> Motion:
    """Draw a motion; where the zoomed picture is larger than the input, any part may be in view.

    ``centre`` is the spread of the shift where it is not.
    """
    factor = float(np.exp(generator.uniform(*np.log(zoom))))
    longer = max(shape)
    spare = [max(0.0, factor * side / longer - 1.0) / 2 for side in (shape[1], shape[0])]
    room = [max(0.0, 1.0 - factor * side / longer) / 2 for side in (shape[1], shape[0])]
    x, y = (
        float(generator.uniform(-1, 1) * (over + min(under, centre) + 0.02))
        for over, under in zip(spare, room, strict=True)
    )
    return Motion(
        zoom=factor,
        stretch=float(np.exp(generator.normal(0, 0.05))),
        angle=float(np.clip(generator.normal(0, 0.1), -0.3, 0.3)),
        flip=bool(generator.random() < 0.5),
        shift=(x, y),
    )


def matrix(motion: Motion, *, shape: tuple[int, int], size: int) -> DoubleArray:
    """Return the (2, 3) map from input pixels (x, y, 1) to picture pixels, both as pixel edges."""
    height, width = shape
    scale = motion.zoom * size / max(shape)
    across, down = scale * motion.stretch**0.5, scale / motion.stretch**0.5
    cos, sin = np.cos(motion.angle), np.sin(motion.angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    back = np.diag([(-1 if motion.flip else 1) / across, 1 / down]) @ turn
    middle = np.array([size / 2 + motion.shift[0] * size, size / 2 + motion.shift[1] * size])
    offset = np.array([width / 2, height / 2]) - back @ middle
    return np.column_stack((back, offset))


def warp(
    image: ByteArray, labels: ByteArray, motion: Motion, *, size: int
) -> tuple[FloatArray, ByteArray, FloatArray]:
    """Move a picture and its labels into the square input.

    Returns
    -------
    picture:
        (size, size) float32 in 0..1, 0 outside.
    labels:
        (size, size) uint8, nearest neighbour of the same map.
    inside:
        (size, size) float32, 1 where the picture is.
    """
    height, width = image.shape
    affine = matrix(motion, shape=(height, width), size=size)
    columns = (np.arange(size) + 0.5).astype(np.float64)
    x = affine[0, 0] * columns[None, :] + affine[0, 1] * columns[:, None] + affine[0, 2]
    y = affine[1, 0] * columns[None, :] + affine[1, 1] * columns[:, None] + affine[1, 2]
    grid = np.stack((2 * x / width - 1, 2 * y / height - 1), axis=-1).astype(np.float32)
    where = torch.from_numpy(grid)[None]
    source = torch.from_numpy(image.astype(np.float32) / 255.0)[None, None]
    step = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if step > 1.5:  # shrinking: average first, or fine structure turns into noise
        kernel = 2 * int(step / 2) + 1
        source = F.avg_pool2d(source, kernel, stride=1, padding=kernel // 2, count_include_pad=False)
    both = torch.cat((source, torch.ones_like(source)), dim=1)
    moved = F.grid_sample(both, where, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    kept = F.grid_sample(
        torch.from_numpy(labels.astype(np.float32))[None, None],
        where,
        mode="nearest",
        padding_mode="zeros",
        align_corners=False,
    )[0, 0]
    return moved[0].numpy(), kept.numpy().astype(np.uint8), moved[1].numpy()
