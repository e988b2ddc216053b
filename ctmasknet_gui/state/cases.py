"""A case as one value: a series under one set of weights. Several are held while the program runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ctmasknet_gui.state.thresholds import SliceEdits, Thresholds
from model_core.base.arrays import ByteArray
from model_core.base.results import SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import Volume, fingerprint

# Without images and FPN maps a slice holds 20 to 400 kB: its candidates, and the masks that were ever shown.
BUDGET_BYTES = 400_000_000
Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Case:
    """What is open of a series, what was found in it, and where it was left.

    Attributes
    ----------
    fingerprint:
        Of the volume, see `fingerprint`; empty for the open one.
    weights_id:
        Of the pipeline whose results these are; empty without any.
    volume, reference:
        None where the images were let go.
    settings:
        The thresholds that ``summaries`` were made under; slices that were following others have no summary.
    slice_index, candidate:
        The visible slice, and the selected region of it.
    edits:
        What is taken out of the evidence of its slices, by hand.
    """

    series_id: str
    weights_id: str
    volume: Volume | None
    slices: Mapping[int, SliceResult]
    summaries: Mapping[int, SliceSummary]
    settings: tuple[DetectionSettings, EvidenceSettings] | None
    slice_index: int
    candidate: int | None = None
    reference: ByteArray | None = None
    reference_name: str = ""
    fingerprint: str = ""
    edits: SliceEdits = Thresholds.edits

    def put_away(self) -> Case:
        """Return the case without images and FPN maps: they are read and computed again where needed."""
        known = "" if self.volume is None else fingerprint(self.volume)
        slices = {k: replace(result, features={}) for k, result in self.slices.items()}
        return replace(self, volume=None, reference=None, reference_name="", slices=slices, fingerprint=known)


class Cases:
    """The cases that were put away; the ones put in longest ago go first when memory runs short.

    A case is found by its series and what the networks see of it: a file that changed on the disk has new
    results. And by its weights: `Pipeline.weights_id` changes with all that changes candidates.
    """

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self._budget = budget
        self._cases: OrderedDict[Key, Case] = OrderedDict()
        self._bytes: dict[Key, int] = {}

    def __iter__(self) -> Iterator[Case]:
        """Iterate over the cases, the one put in last at the end."""
        return iter(tuple(self._cases.values()))

    def put(self, case: Case) -> None:
        """Keep a case that was put away."""
        key = (case.series_id, case.fingerprint, case.weights_id)
        self._forget(key)
        self._cases[key] = case
        self._bytes[key] = sum(held_bytes(result) for result in case.slices.values())
        while self._cases and sum(self._bytes.values()) > self._budget:
            self._forget(next(iter(self._cases)))

    def take(self, volume: Volume, weights_id: str) -> Case | None:
        """Return the case of a volume under these weights, and keep it no longer; None for none."""
        # The voxels are looked at only where there may be one.
        if not any(key[0] == volume.series_id and key[2] == weights_id for key in self._cases):
            return None
        key = (volume.series_id, fingerprint(volume), weights_id)
        case = self._cases.get(key)
        self._forget(key)
        return case

    def _forget(self, key: Key) -> None:
        self._cases.pop(key, None)
        self._bytes.pop(key, None)


def held_bytes(result: SliceResult) -> int:
    """Return the memory that a slice's candidates and known masks hold."""
    sets = {id(c): c for c in (result.detection_candidates, result.evidence_candidates) if c is not None}
    numbers = [array for c in sets.values() for array in (c.boxes, c.deltas, c.scores, c.logits, c.labels)]
    runs = [own for known in tuple(result.span_cache.values()) for own in tuple(known.values())]
    masks = tuple(result.mask_cache.values())
    return sum(array.nbytes for arrays in (numbers, masks, runs) for array in arrays)
