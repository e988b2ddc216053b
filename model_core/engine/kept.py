"""Results of slices as one file: all that thresholds, known masks and the class need, but no pixels.

An uncompressed ``.npz`` whose arrays are those of all slices behind each other, with JSON beside them that
says which are whose. Nothing in it can run code. Numbers come back to the last bit.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.documents import from_values
from model_core.base.errors import ReadError, SettingsError
from model_core.base.files import atomic_path
from model_core.base.results import Candidates, ImageVerdict, Placement, RoiBatch, SliceResult
from model_core.base.settings import EvidenceBasis, EvidenceSettings

_VERSION = 1
# What counts one for each candidate.
_OF_CANDIDATES = ("proposals", "boxes", "deltas", "scores", "logits", "labels")
_OF_MASKS = ("mask_candidates", "mask_logits")
_OF_CLASS = ("class_logits", "class_probabilities", "rows", "source")
_JSON = "slices"
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What of a class is no array."""

    settings: EvidenceSettings
    basis: EvidenceBasis


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """What of a slice is no array, and how many rows of the arrays are its own."""

    index: int
    placement: Placement
    evidence_placement: Placement
    unlike_training: bool | None
    candidates: int
    own_evidence: int | None
    has_evidence: bool
    masks: int
    verdict: _Verdict | None
    kept: int


@dataclass(frozen=True, kw_only=True)
class _Contents:
    version: int
    weights_id: str
    slices: tuple[_Slice, ...]


def write_results(path: Path, results: Mapping[int, SliceResult]) -> None:
    """Write results of one volume under one set of weights, private to the user (mode 0600).

    FPN maps are left out: they are many times as large, and the next look at the slice makes them anew.

    Raises
    ------
    ExportError
        If the file cannot be written.
    ValueError
        If there is none, or they are of different weights.
    """
    values, arrays = packed([results[index] for index in sorted(results)])
    text = json.dumps(values).encode()
    with atomic_path(path, overwrite=True) as temporary:
        temporary.touch(mode=0o600)
        with temporary.open("wb") as stream:
            stored: dict[str, Any] = {_JSON: np.frombuffer(text, np.uint8), **arrays}
            np.savez(stream, **stored)


def packed(slices: Sequence[SliceResult]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return results as values that JSON can hold and arrays by name; without FPN maps.

    Raises
    ------
    ValueError
        If there is none, or they are of different weights.
    """
    (weights_id,) = {result.weights_id for result in slices}
    arrays: dict[str, list[Array]] = {}

    def put(name: str, array: Array) -> int:
        arrays.setdefault(name, []).append(array)
        return len(array)

    described = [_described(result, put) for result in slices]
    contents = _Contents(version=_VERSION, weights_id=weights_id, slices=tuple(described))
    return asdict(contents), {name: np.concatenate(parts) for name, parts in arrays.items()}


def unpacked(values: Any, arrays: Mapping[str, Array], *, series_id: str) -> tuple[SliceResult, ...]:
    """Return the results that `packed` got.

    Raises
    ------
    ReadError, ValueError, KeyError, IndexError, SettingsError
        If they are of another version of the program, or what is given is no such thing.
    """
    contents = from_values(_Contents, values)
    if contents.version != _VERSION:
        raise ReadError("The results are of another version of the program.")
    return tuple(_slices(contents, arrays, series_id=series_id))


def _described(result: SliceResult, put: Any) -> _Slice:
    """Put the arrays of a slice behind those of the others; return the rest of it."""
    shared = result.evidence_candidates in (None, result.detection_candidates)
    for name in _OF_CANDIDATES:
        put(name, getattr(result.detection_candidates, name))
        if not shared:
            put(f"evidence_{name}", getattr(result.evidence_candidates, name))
    # Of a thread that shows the slice meanwhile some may be missed.
    masks = dict(result.mask_cache)
    put("mask_candidates", np.array(list(masks), np.int64))
    put("mask_logits", np.array(list(masks.values()), np.float32).reshape(-1, 28, 28))
    verdict = result.verdict
    if verdict is not None:
        put("class_logits", verdict.logits[None])
        put("class_probabilities", verdict.probabilities[None])
        put("rows", verdict.batch.rows[None])
        put("source", verdict.batch.source[None])
        put("kept", verdict.batch.kept)
    return _Slice(
        index=result.slice_index,
        placement=result.placement,
        evidence_placement=result.evidence_placement,
        unlike_training=result.unlike_training,
        candidates=len(result.detection_candidates),
        own_evidence=None
        if shared or result.evidence_candidates is None
        else len(result.evidence_candidates),
        has_evidence=result.evidence_candidates is not None,
        masks=len(masks),
        verdict=None if verdict is None else _Verdict(settings=verdict.settings, basis=verdict.basis),
        kept=0 if verdict is None else len(verdict.batch.kept),
    )


def read_results(path: Path, *, series_id: str) -> dict[int, SliceResult]:
    """Return what `write_results` wrote, as results of the open series.

    Raises
    ------
    ReadError
        If the file is missing, damaged or of another version of the program.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as stored:
            arrays = {name: stored[name] for name in stored.files}
        values = json.loads(arrays.pop(_JSON).tobytes())
        return {result.slice_index: result for result in unpacked(values, arrays, series_id=series_id)}
    except (OSError, EOFError, ValueError, KeyError, IndexError, SettingsError, zipfile.BadZipFile) as error:
        raise ReadError(
            f"'{path.name}' holds no results that can be read.", details=f"{type(error).__name__}: {error}"
        ) from error


def _slices(contents: _Contents, arrays: Mapping[str, Array], *, series_id: str) -> Iterable[SliceResult]:
    slices = contents.slices
    classes = [int(one.verdict is not None) for one in slices]
    parts = {name: _split(arrays[name], [one.candidates for one in slices]) for name in _OF_CANDIDATES}
    own = [one.own_evidence or 0 for one in slices]
    apart = {
        name: _split(arrays[f"evidence_{name}"], own)
        for name in _OF_CANDIDATES
        if f"evidence_{name}" in arrays
    }
    masks = {name: _split(arrays[name], [one.masks for one in slices]) for name in _OF_MASKS}
    verdicts = {name: _split(arrays[name], classes) for name in _OF_CLASS} if any(classes) else {}
    kept = _split(arrays["kept"], [one.kept for one in slices]) if any(classes) else []
    for number, one in enumerate(slices):
        candidates = Candidates(**{name: rows[number] for name, rows in parts.items()})
        evidence = candidates if one.has_evidence else None
        if one.own_evidence is not None:
            evidence = Candidates(**{name: rows[number] for name, rows in apart.items()})
        verdict = None
        if one.verdict is not None:
            logits, probabilities, rows, source = (verdicts[name][number][0] for name in _OF_CLASS)
            batch = RoiBatch(rows=rows, source=source, kept=kept[number])
            verdict = ImageVerdict(logits, probabilities, batch, one.verdict.settings, one.verdict.basis)
        yield SliceResult(
            series_id=series_id,
            weights_id=contents.weights_id,
            slice_index=one.index,
            placement=one.placement,
            evidence_placement=one.evidence_placement,
            detection_candidates=candidates,
            evidence_candidates=evidence,
            verdict=verdict,
            features={},
            mask_cache=dict(
                zip(masks["mask_candidates"][number].tolist(), masks["mask_logits"][number], strict=True)
            ),
            unlike_training=one.unlike_training,
        )


def _split(array: Array, counts: Sequence[int]) -> list[Array]:
    """Return the rows of each slice, which together are all there are."""
    ends = np.cumsum([0, *counts])
    if min(counts, default=0) < 0 or ends[-1] != len(array):
        raise ValueError(f"{len(array)} rows where {ends[-1]} were announced")
    return [array[first:last] for first, last in pairwise(ends)]
