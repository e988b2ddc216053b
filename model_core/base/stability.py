"""How far numbers move with small changes of the picture that mean nothing to a reader."""

from __future__ import annotations

from dataclasses import dataclass

from model_core.base.arrays import FloatArray
from model_core.base.results import Verdict

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Stability:
    """What a slice gives after small changes.

    Attributes
    ----------
    changes:
        What was done to the picture, in words.
    logits:
        (R, C) of the image classes; None without a class.
    ill:
        Probability of pneumonia of any kind; empty without a calibration, or outside the lungs.
    lesion_mm2:
        Marked area, in pixels of the slice where their size is unknown (``in_mm`` is False).
    step_mm:
        How thick the slice counts in the volume of the scan; None where that is unknown.
    """

    changes: tuple[str, ...]
    logits: FloatArray | None
    ill: tuple[float, ...]
    lesion_mm2: tuple[float, ...]
    in_mm: bool
    step_mm: float | None = None

    @property
    def ill_range(self) -> Range | None:
        """The lowest and the highest probability."""
        return (min(self.ill), max(self.ill)) if self.ill else None

    @property
    def area_range(self) -> Range:
        """The smallest and the largest marked area."""
        return min(self.lesion_mm2), max(self.lesion_mm2)

    def ml(self, area: float) -> float | None:
        """Return the part of the slice in the volume of the scan: marked area times slice distance."""
        return area * self.step_mm / 1000.0 if self.in_mm and self.step_mm is not None else None


@dataclass(frozen=True)
class ScanStability:
    """What a scan gives after small changes of some of its lung slices, all changed alike.

    Attributes
    ----------
    slices:
        Which ones, from 0: those that the verdict counts, at least 10 mm apart.
    changes:
        What was done to each picture, in words.
    lesion_ml:
        Of the scan after each change. Slices that hold more than a twentieth of the volume are run for
        themselves; the rest of it is taken times what is marked in the others of these slices after the
        change over before. Where nothing is marked before, what is marked after it is added, as if the other
        lung slices had as much. Empty where no volume is known.
    own_ill, ill:
        How many of these slices look ill, and after each change.
    own_verdict, verdicts:
        What the rule of the scan says of these slices and the volume, and after each change.
    """

    slices: tuple[int, ...]
    changes: tuple[str, ...]
    lesion_ml: tuple[float, ...]
    own_ill: int
    ill: tuple[int, ...]
    own_verdict: Verdict
    verdicts: tuple[Verdict, ...]

    @property
    def ill_range(self) -> tuple[int, int]:
        """The fewest and the most slices that look ill, with the unchanged picture among them."""
        every = (self.own_ill, *self.ill)
        return min(every), max(every)

    def ml_range(self, own: float) -> Range | None:
        """Return the least and the largest volume (ml), with that of the unchanged scan among them."""
        every = (own, *self.lesion_ml)
        return (min(every), max(every)) if self.lesion_ml else None

    @property
    def turned(self) -> tuple[tuple[str, Verdict], ...]:
        """The changes after which the rule says something else of these slices, and what."""
        pairs = zip(self.changes, self.verdicts, strict=True)
        return tuple((name, verdict) for name, verdict in pairs if verdict != self.own_verdict)
