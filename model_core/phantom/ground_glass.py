"""Ground glass put into a lung: for computed lesions of training, and for what a person plants in a slice."""

from __future__ import annotations

import numpy as np

from model_core.base.arrays import FloatArray


def add_ground_glass(
    picture: FloatArray,
    cloud: FloatArray,
    *,
    level: float,
    lung: float,
    headroom: float,
    texture: FloatArray | float = 0.0,
) -> FloatArray:
    """Return a picture with ground glass added, so that lung texture stays and vessels are seen through it.

    Parameters
    ----------
    picture:
        In any unit that is linear in HU, as are all levels.
    cloud:
        Its density, 0..1.
    level, lung:
        What lung of level ``lung`` becomes where the cloud is dense.
    headroom:
        Vessels are brighter than ground glass already: nothing is lifted to more than so much above it.
    texture:
        Added where the cloud is.
    """
    lifted = picture + cloud * (max(0.0, level - lung) + texture)
    glass: FloatArray = np.minimum(lifted, np.maximum(picture, level + headroom)).astype(np.float32)
    return glass
