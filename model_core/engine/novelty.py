"""Whether a slice is unlike those of the training: Mahalanobis distance on features of what the network sees.

A network answers to a head as it does to a chest; this says that it was never shown one. It marks a slice and
changes no class.
"""

from __future__ import annotations

import numpy as np

from model_core.base.arrays import DoubleArray, FloatArray
from model_core.base.calibration import TrainingCloud

# Greys of the network's input at the borders of air, lung, haze, fat, soft tissue and bone.
_GREYS = (0.05, 0.2, 0.35, 0.6, 0.8, 0.9)
_GREY_NAMES = ("air", "thin lung", "lung", "haze", "fat", "soft tissue", "dense")
_BLOCK = 8  # pixels of the input, so that features do not hang on noise or sharpness
_BEST = 16  # regions
_LEAST_SCORE = 1e-4

FEATURES = (
    *(f"share of {name}" for name in _GREY_NAMES),
    "mean grey",
    "spread of greys",
    "steps between neighbours",
    "left-right likeness",
    "mean grey of the corners",
    "mean grey of the middle",
    "mean grey where lungs are",
    "share of lung in the middle third of columns",
    "lung, height of its centre",
    "lung, vertical spread",
    "lung, horizontal spread",
    "best score",
    "mean score of the best 16 regions",
)


def features_of(picture: FloatArray, rows: FloatArray) -> DoubleArray:
    """Return the (F,) `FEATURES` of a slice.

    Parameters
    ----------
    picture:
        (S, S) network input in 0..1.
    rows:
        (M, 5) RoI batch or ranked regions, score first.
    """
    return np.concatenate((_of_picture(picture), _of_regions(rows)))


def distance(cloud: TrainingCloud, features: DoubleArray) -> float:
    """Return the Mahalanobis distance of (F,) features from the training data."""
    apart = (features - np.array(cloud.mean)) / np.array(cloud.scale)
    return float(np.sqrt(max(0.0, apart @ np.array(cloud.precision) @ apart)))


def _of_picture(picture: FloatArray) -> DoubleArray:
    side = len(picture) // _BLOCK
    blocks = picture[: side * _BLOCK, : side * _BLOCK].reshape(side, _BLOCK, side, _BLOCK)
    coarse = blocks.mean(axis=(1, 3), dtype=np.float64)
    kinds = np.digitize(coarse, _GREYS)
    shares = np.bincount(kinds.ravel(), minlength=len(_GREY_NAMES)) / coarse.size
    steps = np.abs(np.diff(coarse, axis=0)).mean() + np.abs(np.diff(coarse, axis=1)).mean()
    spread = float(coarse.std())
    mirrored = coarse - coarse.mean()
    likeness = float((mirrored * mirrored[:, ::-1]).mean()) / max(spread**2, 1e-9)
    lung = np.argwhere((kinds == 1) | (kinds == 2)) / side
    if not len(lung):
        lung = np.full((1, 2), 0.5)
    middle = float((np.abs(lung[:, 1] - 0.5) < 1 / 6).mean())
    places = (float(lung[:, 0].mean()), float(lung[:, 0].std()), float(lung[:, 1].std()))
    fifth, third = max(1, side // 5), max(1, side // 3)
    ends = (slice(None, fifth), slice(-fifth, None))
    corners = np.mean([coarse[rows, columns].mean() for rows in ends for columns in ends])
    rows = slice(third, side - third)
    centre = coarse[rows, rows].mean()
    beside = np.mean([coarse[rows, fifth:third].mean(), coarse[rows, side - third : side - fifth].mean()])
    # Shares of a few per cent tell as much as larger ones.
    greys = (coarse.mean(), spread, steps, likeness, corners, centre, beside)
    return np.array([*np.sqrt(shares), *greys, middle, *places])


def _of_regions(rows: FloatArray) -> DoubleArray:
    scores = np.clip(rows[:_BEST, 0].astype(np.float64), _LEAST_SCORE, 1 - _LEAST_SCORE)
    odds = np.log(scores / (1 - scores))
    return np.array([odds[0], odds.mean()])
