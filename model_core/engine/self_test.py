"""Whether a backend computes what the reference computes with these weights: a small picture, a few numbers.

The numbers of the reference (`TorchBackend`) for the shipped weights come with them, so that no torch is
needed to compare; `python -m model_core.engine.self_test` writes them anew. Those of other weights are kept
beside their graphs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from model_core.base.arrays import FloatArray
from model_core.base.files import write_text
from model_core.base.resources import resource
from model_core.engine.backend import Backend
from model_core.weights.card import ModelCard

Numbers = Mapping[str, Sequence[float]]

_SIZE = 128  # a sixteenth of the work of a slice
_SHIPPED = "self_test.json"
_SHARES = 48  # numbers that are kept of each array
# Differences that another order of additions makes stay under a tenth of it: 5 decimal places of a logit.
_TOLERANCE = 1e-4
_PROPOSALS, _MOST_APART = 10, 0.1
# How many of the best proposals may differ: of two that overlap and are as good, NMS keeps either.
_OTHERS = 2


def identity(card: ModelCard) -> str:
    """Return what the numbers of a network depend on: entries, architecture, RPN, input."""
    parts = repr((card.sha256, card.architecture, card.detector, card.input))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def shipped_numbers(card: ModelCard) -> Numbers | None:
    """Return the numbers of the reference that come with the program; None for other weights."""
    return _shipped().get(identity(card))


@cache
def _shipped() -> dict[str, Numbers]:
    try:
        found: dict[str, Numbers] = json.loads(resource(_SHIPPED).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def numbers_of(backend: Backend, card: ModelCard) -> dict[str, list[float]]:
    """Run a backend over the picture of the test and return what is compared."""
    look = backend.look(_picture())
    numbers = {f"map {level}": _some(array) for level, array in look.maps.items()}
    numbers["proposals"] = _some(look.proposals[:_PROPOSALS])
    boxes = _boxes()
    for branch in ("detections", "evidence")[: card.architecture.branches]:
        found = backend.regions(look, boxes, branch=branch)  # type: ignore[arg-type]
        numbers[f"logits {branch}"], numbers[f"deltas {branch}"] = _some(found.logits), _some(found.deltas)
    if card.architecture.has_masks:
        labels = np.ones(len(boxes), np.int64)
        numbers["masks"] = _some(backend.masks(look.maps, boxes, labels, size=_SIZE))
    return numbers


def difference(found: Numbers, wanted: Numbers) -> str:
    """Say in which of the numbers two backends differ; empty where they are the same network."""
    if set(found) != set(wanted):
        return f"other parts: {', '.join(sorted(set(found) ^ set(wanted)))}"
    for name, reference in wanted.items():
        one, other = (np.array(values, np.float64) for values in (found[name], reference))
        if one.shape != other.shape or not np.isfinite(one).all():
            return f"{name}: not as many numbers, or some that are none"
        if name == "proposals":
            apart = np.abs(one.reshape(-1, 1, 4) - other.reshape(1, -1, 4)).max(axis=2).min(axis=0)
            if (apart > _MOST_APART).sum() > _OTHERS:
                return f"{name}: {int((apart > _MOST_APART).sum())} of {len(apart)} are others"
            continue
        apart = np.abs(one - other).max(initial=0.0)
        if apart > _TOLERANCE * max(1.0, np.abs(other).max(initial=0.0)):
            return f"{name}: off by {apart:.1e}"
    return ""


def _picture() -> FloatArray:
    """Return a (128, 128) picture with edges and slopes of all directions."""
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32) / np.float32(_SIZE)
    waves = np.sin(40 * x * x + 9 * y) * np.cos(31 * y - 7 * x * y)
    picture: FloatArray = (0.5 + 0.3 * waves + 0.2 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05)).clip(0, 1)
    return picture.astype(np.float32)


def _boxes() -> FloatArray:
    """Return boxes of all sizes, one of them empty and one that reaches the rim."""
    return np.array(
        [
            [20, 30, 24, 37],
            [10.3, 12.7, 40.1, 61.9],
            [64, 5, 128, 90.5],
            [0, 0, 128, 128],
            [77.7, 80.2, 77.7, 95],
            [100, 101, 121.5, 119],
        ],
        np.float32,
    )


def _some(array: FloatArray) -> list[float]:
    """Return some numbers of an array, evenly spread."""
    flat = array.ravel()
    places = np.unique(np.linspace(0, flat.size - 1, min(_SHARES, flat.size)).round().astype(np.int64))
    return [float(np.float32(f"{value:.7g}")) for value in flat[places]]


def main() -> None:
    """Write the numbers of the shipped weights."""
    from model_core.engine.torch_backend import TorchBackend, load_network
    from model_core.weights.store import load_weights, shipped

    found = {}
    for card in shipped():
        weights = load_weights(card.name)
        if any(not name.startswith("s2new.") for name in weights.arrays):
            backend = TorchBackend(load_network(weights))
            found[identity(weights.card)] = numbers_of(backend, weights.card)
    lines = ",\n".join(f'"{key}": {json.dumps(numbers)}' for key, numbers in found.items())
    write_text(resource(_SHIPPED), f"{{\n{lines}\n}}\n", overwrite=True)


if __name__ == "__main__":
    main()
