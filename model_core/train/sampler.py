"""Which slice comes next: a source by its weight, then a patient, then a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from model_core.base.errors import DataError
from model_core.train.packing import PackedSlice

# A patient with n slices is drawn n ** 0.5 as often as one with a single slice: neighbours are
# near-duplicates, but a whole lung shows more than one slice.
PATIENT_POWER = 0.5


class PatientSampler:
    """Draws training slices weighted by source and patient, never a validation slice.

    Parameters
    ----------
    slices:
        All packed slices; those of validation patients are left out.
    weights:
        Share of each source; sources that are not named are not drawn.

    Raises
    ------
    DataError
        If nothing is left to draw.
    """

    def __init__(self, slices: Sequence[PackedSlice], weights: Mapping[str, float]) -> None:
        self._slices: list[PackedSlice] = []
        probabilities: list[float] = []
        for name, weight in weights.items():
            mine = [one for one in slices if one.source == name and not one.validation]
            counts: dict[str, int] = {}
            for one in mine:
                counts[one.patient] = counts.get(one.patient, 0) + 1
            total = sum(count**PATIENT_POWER for count in counts.values())
            for one in mine:
                share = counts[one.patient] ** PATIENT_POWER / total
                self._slices.append(one)
                probabilities.append(weight * share / counts[one.patient])
        if not sum(probabilities):
            raise DataError("No training slice is left; every patient is held out or every weight is 0.")
        self.probabilities = np.asarray(probabilities) / sum(probabilities)

    @property
    def slices(self) -> tuple[PackedSlice, ...]:
        """The slices that can be drawn, in the order of `probabilities`."""
        return tuple(self._slices)

    def draw(self, generator: np.random.Generator, count: int) -> list[PackedSlice]:
        """Return ``count`` slices, with replacement."""
        picks = generator.choice(len(self._slices), size=count, p=self.probabilities)
        return [self._slices[index] for index in picks]
