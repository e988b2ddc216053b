"""What is open: the catalogue of a path, the chosen series, the reference mask, the weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.arrays import ByteArray
from model_core.base.calibration import Calibration
from model_core.base.volume import Catalogue, PartialVolume, Volume
from model_core.weights.card import ModelCard, names_text

# What counts as a weight file when it is dropped, chosen, or named on the command line.
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")
# Of a case file, see `model_core.export.case_file`.
CASE_SUFFIX = ".ctmn"


@dataclass(frozen=True)
class LungSlices:
    """Which slices of the open series lie where there is lung, and the volume of the lungs.

    Attributes
    ----------
    inside:
        Per slice; None where that is unknown. Empty until the lungs were looked for.
    ml:
        None where it is unknown.
    """

    inside: tuple[bool | None, ...] = ()
    ml: float | None = None

    def outside(self, index: int) -> bool:
        """Whether a slice is known to lie outside the lungs."""
        return index in self._outside

    def left_out(self, index: int) -> bool:
        """Whether a run of the series leaves a slice out: those outside, where any other may show lung."""
        return index in self._left_out

    @cached_property
    def _outside(self) -> frozenset[int]:
        return frozenset(k for k, inside in enumerate(self.inside) if inside is False)

    @cached_property
    def _left_out(self) -> frozenset[int]:
        return self._outside if len(self._outside) < len(self.inside) else frozenset()

    def wanted(self, slices: Collection[int]) -> int:
        """Return how many of these slices the verdict wants: not those without lung, analysed or not."""
        return len(slices) - sum(k in slices for k in self._left_out)


@dataclass(eq=False)
class CaseState:
    """The open series. ``reference`` is a (D, H, W) label volume of the same grid, or None.

    ``opening`` is the series that is being read, or "". Once it is "" again, what is open is ``volume``,
    whether the reading came to its end or not. ``partial`` is what is there of it meanwhile, to be looked at
    and for nothing else; ``volume`` is None then. ``keeps_results``: what was found is kept on the disk.
    ``key_images`` are the slices that a person marked, from 0, each with a note, perhaps empty.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    catalogue: Catalogue | None = None
    volume: Volume | None = None
    partial: PartialVolume | None = None
    lungs: LungSlices = LungSlices()
    opening: str = ""
    keeps_results: bool = True
    reference: ByteArray | None = None
    reference_name: str = ""
    key_images: Mapping[int, str] = field(default_factory=dict)

    @property
    def in_view(self) -> Volume | None:
        """What is looked at: the open volume, else the one that is being read."""
        if self.volume is None and self.partial is not None:
            return self.partial.volume
        return self.volume

    def unread(self, index: int) -> bool:
        """Whether a slice of what is in view is still to be read."""
        return self.volume is None and self.partial is not None and not self.partial.ready[index]


@dataclass(eq=False)
class WeightsState:
    """The weights that run: one single-shot card, or a segmentation and perhaps a classifier card.

    ``available`` are the shipped ones; ``chosen`` the names or files given by the user. ``computes``: the
    backend and its device, for people; empty before the first networks are loaded.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    available: tuple[ModelCard, ...] = ()
    chosen: tuple[str, ...] = ()
    cards: tuple[ModelCard, ...] = ()
    computes: str = ""

    @property
    def text(self) -> str:
        """Which weights run, for people."""
        return names_text(self.cards)

    @property
    def image_classes(self) -> tuple[str, ...]:
        """Names of the image classes of what runs; empty without a classifier."""
        return next((card.image_classes for card in self.cards if card.image_classes), ())

    @property
    def calibration(self) -> Calibration | None:
        """What turns the classes of what runs into a verdict; None where there is none."""
        return next((card.calibration for card in self.cards if card.image_classes), None)

    @property
    def region_classes(self) -> tuple[str, ...]:
        """Names of the positive region classes of what runs."""
        return self.cards[0].region_classes if self.cards else ()
