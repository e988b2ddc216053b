"""Parts that every evaluation report has: what it was made with, and how it opens and ends."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from model_core import DISCLAIMER, __version__
from model_core.report.document import Block, Document, Table
from model_core.weights.card import ModelCard

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pycocotools")


def common_settings(
    cards: Sequence[ModelCard], *, data: str, device: str, own: Mapping[str, Any], draws: int | None = None
) -> dict[str, Any]:
    """Return everything that the numbers of a report depend on, as JSON-ready values.

    ``own`` are the settings of one kind of evaluation; ``draws`` is of the bootstrap, None where limits are
    exact.
    """
    return {
        "data": data,
        "date": date.today().isoformat(),
        "weights": [_weights(card) for card in cards],
        **own,
        "intervals": "95 %, exact limits of a share (Clopper and Pearson)"
        if draws is None
        else f"95 %, percentile bootstrap over patients, {draws} draws, seed 0",
        "device": device,
        "software": _software(),
    }


def _weights(card: ModelCard) -> dict[str, Any]:
    """Return what identifies a weight file and what it is fed."""
    return {
        "name": card.name,
        "title": card.title,
        "kind": card.kind,
        "sha256": card.sha256,
        "region_classes": list(card.region_classes),
        "image_classes": list(card.image_classes),
        "input": dataclasses.asdict(card.input),
    }


def _software() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    found = {"ctmasknet": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def evaluation_document(
    title: str,
    summary: str,
    sections: Mapping[str, Sequence[Block]],
    *,
    cards: Sequence[ModelCard],
    about: Mapping[str, Any],
) -> Document:
    """Return a report: what it is and is not, its sections, the model cards and the settings."""
    settings = [(key.replace("_", " "), _flat(value)) for key, value in about.items() if key != "weights"]
    return Document(
        title,
        (summary,),
        {
            **sections,
            "Weights": [_card(card) for card in cards],
            "Settings": [Table(("Setting", "Value"), settings)],
        },
        notice=f"{DISCLAIMER} Numbers describe these weights on this data set, nothing else.",
    )


def _card(card: ModelCard) -> Table:
    shape = card.architecture
    rows = (
        ("Name", card.name),
        ("Title", card.title),
        ("Kind", card.kind.replace("_", "-")),
        ("Backbone", f"{shape.backbone}, truncation {shape.truncation}"),
        ("Lesion classes", ", ".join(card.region_classes)),
        ("Image classes", ", ".join(card.image_classes) or "none"),
        ("Input", f"{card.input.size} px, {card.input.low_hu:g} to {card.input.high_hu:g} HU"),
        ("Licence", card.licence or "not stated"),
        ("SHA-256", card.sha256),
        ("Notes", card.notes or "–"),
    )
    return Table(("Property", "Value"), rows)


def _flat(value: Any) -> str:
    """Write a setting; nested values as ``key value``."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(item) for item in value)
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
