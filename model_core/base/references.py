"""What the regions of a slice or scan are compared with: those of controls, kept in the model card."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model_core.base.arrays import DoubleArray, FloatArray
from model_core.base.errors import SettingsError

# Score and four encoded corrections of a box.
_COLUMNS = 5
# Histograms of regions: equal bins of the raw score; half doublings of the box area in pixels of the network
# input. What lies beyond counts in the outermost bins.
SCORE_EDGES: DoubleArray = np.linspace(0.0, 1.0, 21)
AREA_EDGES: DoubleArray = 2.0 ** np.linspace(4.0, 18.0, 29)
# Mean shares add up to 1 but for rounding.
_ROUNDED = 0.001


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


@dataclass(frozen=True, kw_only=True)
class ControlShares:
    """Which share of the regions of a control slice lies in each bin of one of their numbers.

    Attributes
    ----------
    mean:
        (B,) over the patients, a slice each; they add up to 1.
    low, middle, high:
        (B,) 5 %, median and 95 % of the patients, each bin for itself. Empty where that is not known.
    wasserstein, jensen_shannon:
        Median and 95 % of the distances of each patient from the mean of all others (`explain.distribution`).
        Empty where that is not known.
    """

    mean: tuple[float, ...]
    low: tuple[float, ...] = ()
    middle: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    wasserstein: tuple[float, ...] = ()
    jensen_shannon: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        every = (self.mean, self.low, self.middle, self.high)
        if not all(0 <= share <= 1 for some in every for share in some):
            raise SettingsError("A share of regions lies outside 0 to 1.")
        if abs(sum(self.mean) - 1) > _ROUNDED:
            raise SettingsError("The mean shares do not add up to 1.")
        if {len(some) for some in every[1:]} not in ({0}, {len(self.mean)}):
            raise SettingsError("The shares are not of equally many bins.")
        distances = self.wasserstein, self.jensen_shannon
        if {len(some) for some in distances} not in ({0}, {2}):
            raise SettingsError("Distances of controls are a median and a limit.")
        if not all(0 <= usual <= most for usual, most in filter(None, distances)):
            raise SettingsError("A distance of controls is negative, or its median above its limit.")


@dataclass(frozen=True, kw_only=True)
class ControlRois:
    """How the regions of control patients are distributed, one slice a patient.

    Attributes
    ----------
    patients, sources:
        How many they are, and where from.
    seen:
        How many of the slices the detector was trained on; None where that is not known.
    scores, areas:
        In the bins of `SCORE_EDGES` and `AREA_EDGES`.
    """

    patients: int
    sources: tuple[str, ...]
    seen: int | None = None
    scores: ControlShares
    areas: ControlShares

    def __post_init__(self) -> None:
        bins = len(self.scores.mean), len(self.areas.mean)
        if bins != (len(SCORE_EDGES) - 1, len(AREA_EDGES) - 1) or self.patients < 1:
            raise SettingsError(f"Histograms of {bins[0]} and {bins[1]} bins, or no patient.")
        if self.seen is not None and not 0 <= self.seen <= self.patients:
            raise SettingsError(f"The detector saw {self.seen} of {self.patients} slices.")
