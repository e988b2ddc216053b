"""Graphs for ONNX Runtime, made once from a weight file and kept, with the numbers of the reference."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import json
import logging
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from model_core.base.cache import Cache
from model_core.engine import roi_align
from model_core.engine.module_s import ModuleS
from model_core.engine.onnx_backend import OnnxBackend
from model_core.engine.self_test import Numbers, difference, identity, numbers_of, shipped_numbers
from model_core.weights.store import LoadedWeights

if TYPE_CHECKING:
    from model_core.engine.torch_backend import TorchBackend

_LOG = logging.getLogger(__name__)
# Counts up when graphs are made otherwise: those made before are not read any more.
_FORMAT = 1
_CACHE = Cache("graphs", limit=600 << 20)
_NUMBERS = "numbers.json"


class Unusable(Exception):  # noqa: N818 - says why the reference runs instead; no user sees it as an error
    """The backend cannot be used here; the text says why."""


def open_onnx(weights: LoadedWeights, head: ModuleS | None) -> OnnxBackend:
    """Return a backend for a network that gave the reference's numbers in its self-test.

    Raises
    ------
    Unusable
        If it did not, or cannot be made.
    """
    roi_align.begin()
    key = hashlib.sha256(f"{_FORMAT} {identity(weights.card)}".encode()).hexdigest()[:32]
    kept = _unpacked(_CACHE.read(key))
    if kept is not None:
        graphs, wanted = kept
    else:
        wanted = shipped_numbers(weights.card) or _reference_numbers(weights)
        graphs = _graphs(weights)
    backend = OnnxBackend(graphs, weights.card, head=head, reference=functools.partial(_reference, weights))
    try:
        found = numbers_of(backend, weights.card)
    except Exception as error:  # whatever the runtime does not like here
        raise Unusable(f"it failed in its self-test ({type(error).__name__}: {error})") from error
    if wrong := difference(found, wanted):
        raise Unusable(f"it failed its self-test ({wrong})")
    if kept is None:
        _CACHE.write(key, _packed(graphs, wanted))
    backend.use(compiled=roi_align.begin())
    return backend


def _graphs(weights: LoadedWeights) -> dict[str, bytes]:
    if importlib.util.find_spec("onnx") is None:
        raise Unusable("the package onnx is not installed")
    try:
        from model_core.engine.onnx_graph import build_graphs
    except ImportError as error:  # there, but broken
        raise Unusable(f"the package onnx cannot be loaded ({error})") from error

    card = weights.card
    return build_graphs(card.architecture, card.input, weights.arrays)


def _reference_numbers(weights: LoadedWeights) -> Numbers:
    """Return the numbers of the torch network, whose loading also tells entries that do not fit the card."""
    _LOG.info("Preparing %s", weights.path.name)
    return numbers_of(_reference(weights), weights.card)


def _reference(weights: LoadedWeights) -> TorchBackend:
    from model_core.engine.torch_backend import TorchBackend, load_network

    return TorchBackend(load_network(weights))


def _packed(graphs: Mapping[str, bytes], numbers: Numbers) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_NUMBERS, json.dumps(numbers))
        for part, graph in graphs.items():
            archive.writestr(part, graph)
    return stream.getvalue()


def _unpacked(data: bytes | None) -> tuple[dict[str, bytes], Numbers] | None:
    """Return graphs and numbers; None where there are none or they are damaged (each has a checksum)."""
    if data is None:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        numbers: Numbers = json.loads(parts.pop(_NUMBERS))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError):
        return None
    return parts, numbers
