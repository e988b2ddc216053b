"""What an explanation compares a slice with: RoI batches of controls, kept in the model card."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model_core.base.arrays import FloatArray
from model_core.base.errors import SettingsError

# Score and four encoded corrections of a box.
_COLUMNS = 5


@dataclass(frozen=True, kw_only=True)
class References:
    """RoI batches of control slices whose patients module S was not trained on.

    Attributes
    ----------
    slices, size:
        How many batches of how many rows.
    patients, sources:
        Of how many patients they are, and where from.
    rows:
        (slices, size, 5) half floats, little-endian, in Base64: score, dx, dy, dw, dh as module S reads them
        under the evidence settings of the card.
    """

    slices: int
    size: int
    patients: int
    sources: tuple[str, ...]
    rows: str

    def __post_init__(self) -> None:
        try:
            length = len(base64.b64decode(self.rows, validate=True))
        except (binascii.Error, ValueError) as error:
            raise SettingsError("The rows are no Base64 text.") from error
        if min(self.slices, self.size, self.patients) < 1 or length != self.slices * self.size * _COLUMNS * 2:
            raise SettingsError(
                f"{length} bytes do not fit {self.slices} batches of {self.size} rows, or a count is 0."
            )
        if not np.isfinite(self.batches).all():
            raise SettingsError("Some numbers of the rows are not finite.")

    @cached_property
    def batches(self) -> FloatArray:
        """(slices, size, 5) RoI batches."""
        stored = np.frombuffer(base64.b64decode(self.rows), "<f2").astype(np.float32)
        return stored.reshape(self.slices, self.size, _COLUMNS)

    @staticmethod
    def of(batches: FloatArray, *, patients: int, sources: tuple[str, ...]) -> References:
        """Pack (slices, size, 5) RoI batches."""
        packed = base64.b64encode(batches.astype("<f2").tobytes()).decode("ascii")
        return References(
            slices=len(batches), size=batches.shape[1], patients=patients, sources=sources, rows=packed
        )
