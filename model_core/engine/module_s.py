"""Module S in use: NumPy alone, for thresholds that move and for what takes it apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import FloatArray

Floating = TypeVar("Floating", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class ModuleS:
    """Module S as numbers, see `networks.image_head`: (outputs, inputs) weights and biases of each layer."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]

    def __call__(self, rows: npt.NDArray[Floating]) -> npt.NDArray[Floating]:
        """Map (..., N, 5) RoI batches, score first, to (..., classes) logits, in their kind of floats."""
        values = rows.reshape(*rows.shape[:-2], -1)
        *hidden, (weights, biases) = self.layers
        for inner, offsets in hidden:
            values = np.maximum(values @ inner.T + offsets, 0)
        return values @ weights.T + biases
