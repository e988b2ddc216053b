"""Results of series and weights that are not in use, kept while the program runs."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model_core.base.results import SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import Volume

# Without FPN maps a slice holds 20 to 400 kB: its candidates, and the masks that were ever shown.
BUDGET_BYTES = 400_000_000
Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Kept:
    """Results of one series under one set of weights, and where in the series they were left.

    ``summaries`` were made under ``settings``; slices that followed changed thresholds then have none.
    """

    slices: Mapping[int, SliceResult]
    summaries: Mapping[int, SliceSummary]
    settings: tuple[DetectionSettings, EvidenceSettings] | None
    slice_index: int


class KeptResults:
    """Holds results by series and weights; the ones put in longest ago go first when memory runs short.

    The key of a series is its id and what the networks see of it: a file that changed on the disk has new
    results. That of weights is `Pipeline.weights_id`, which changes with all that changes candidates.
    """

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self._budget = budget
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes: dict[Key, int] = {}

    def put(self, volume: Volume, weights_id: str, kept: Kept) -> None:
        """Keep results of a volume."""
        key = (volume.series_id, fingerprint(volume), weights_id)
        self._forget(key)
        self._kept[key] = kept
        self._bytes[key] = sum(held_bytes(result) for result in kept.slices.values())
        while self._kept and sum(self._bytes.values()) > self._budget:
            self._forget(next(iter(self._kept)))

    def take(self, volume: Volume, weights_id: str) -> Kept | None:
        """Return what is kept of a volume under these weights, and keep it no longer; None for nothing."""
        # The voxels are looked at only where something may be kept.
        if not any(key[0] == volume.series_id and key[2] == weights_id for key in self._kept):
            return None
        key = (volume.series_id, fingerprint(volume), weights_id)
        kept = self._kept.get(key)
        self._forget(key)
        return kept

    def _forget(self, key: Key) -> None:
        self._kept.pop(key, None)
        self._bytes.pop(key, None)


def fingerprint(volume: Volume) -> str:
    """Return what tells two volumes apart in whatever the networks see of them."""
    checksum = 0
    for slice_ in volume.voxels:
        checksum = zlib.crc32(np.ascontiguousarray(slice_).data, checksum)
    seen = (volume.voxels.shape, volume.geometry.spacing_mm, volume.unit, volume.plane, volume.inverted)
    return f"{checksum:08x} {seen}"


def held_bytes(result: SliceResult) -> int:
    """Return the memory that a slice's candidates and known masks hold."""
    sets = {id(c): c for c in (result.detection_candidates, result.evidence_candidates) if c is not None}
    arrays = [
        array for c in sets.values() for array in (c.boxes, c.deltas, c.scores, c.logits, c.labels)
    ] + list(result.mask_cache.values())
    return sum(array.nbytes for array in arrays)
