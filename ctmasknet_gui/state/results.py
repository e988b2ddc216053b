"""What the network found, and what of it is selected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.results import ImageVerdict, ScanVerdict, ShownSlice, SliceResult, SliceSummary

if TYPE_CHECKING:
    from model_core.explain import Burden


@dataclass(frozen=True, eq=False)
class Effect:
    """What the class of the slice would be with the selected regions out of the evidence, or in it again.

    ``ranks`` are those regions, ``restored`` whether they would come back. ``alone``: from them and nothing
    else.
    """

    verdict: ImageVerdict
    ranks: tuple[int, ...]
    restored: bool = False
    alone: ImageVerdict | None = None


@dataclass(eq=False)
class ResultState:
    """Results of the open volume under the weights that run.

    ``slices`` and ``summaries`` are replaced, never mutated in place, so that observers hear of it.
    ``shown`` is what is drawn over the current slice; None where it has no result yet. ``computing``: not all
    of its masks are there yet (`ShownSlice.pending`), or none.
    ``updating``: the summaries follow new thresholds; where these change the evidence, ``scan`` is None: a
    class mixed of old and new ones would be wrong. ``effect`` is that of the selected regions; None where
    none is selected, or nothing reads them.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    slices: dict[int, SliceResult] = field(default_factory=dict)
    summaries: dict[int, SliceSummary] = field(default_factory=dict)
    shown: ShownSlice | None = None
    computing: bool = False
    scan: ScanVerdict | None = None
    updating: bool = False
    effect: Effect | None = None


@dataclass(eq=False)
class LesionState:
    """The lesions of the scan through its slices, while somebody looks at them.

    Attributes
    ----------
    found:
        None before the first slice is analysed; of former thresholds while ``computing``.
    slices:
        How many slices it is of.
    chosen:
        Number of the lesion that was gone to last; None where none was since they changed.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    found: Burden | None = None
    slices: int = 0
    computing: bool = False
    chosen: int | None = None


@dataclass(eq=False)
class SelectionState:
    """The selected RoI: its candidate number on the current slice, or None.

    ``others`` are those that are selected together with it. ``top`` is how many of the best RoIs are listed;
    None lists all. Evidence and detections share candidate numbers where one pass serves both; else those of
    the evidence begin after those of the detections, so that a number means one region.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    candidate: int | None = None
    others: tuple[int, ...] = ()
    top: int | None = 16

    @property
    def chosen(self) -> tuple[int, ...]:
        """Every selected RoI."""
        return () if self.candidate is None else (self.candidate, *self.others)
