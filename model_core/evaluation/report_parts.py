"""Parts that every evaluation report has: how numbers are written, the weights, the settings, the folder."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model_core import DISCLAIMER, __version__
from model_core.evaluation.document import (
    Block,
    Document,
    Heading,
    Notice,
    Paragraph,
    Picture,
    Table,
    to_html,
    to_markdown,
)
from model_core.weights.card import ModelCard

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pycocotools")


def number(value: float | int | None, digits: int = 3) -> str:
    """Write a number for a table; a dash where there is none."""
    if value is None or value != value:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def with_interval(value: Mapping[str, Any], digits: int = 3) -> str:
    """Write a value with its interval: ``0.812 (0.780–0.840)``."""
    text = number(value["value"], digits)
    low, high = number(value["low"], digits), number(value["high"], digits)
    return text if low == "–" else f"{text} ({low}–{high})"


def software() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    found = {"ctmasknet": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def weights_settings(cards: Sequence[ModelCard]) -> list[dict[str, Any]]:
    """Return what identifies each weight file and what it is fed."""
    return [
        {
            "name": card.name,
            "title": card.title,
            "kind": card.kind,
            "sha256": card.sha256,
            "region_classes": list(card.region_classes),
            "image_classes": list(card.image_classes),
            "input": dataclasses.asdict(card.input),
        }
        for card in cards
    ]


def opening(summary: str) -> list[Block]:
    """Return the first blocks: what this is, and what it is not."""
    return [
        Notice(f"{DISCLAIMER} Numbers describe these weights on this data set, nothing else."),
        Paragraph(summary),
    ]


def card_blocks(cards: Sequence[ModelCard]) -> Iterator[Block]:
    """Yield the model cards as tables."""
    yield Heading("Weights")
    for card in cards:
        shape = card.architecture
        rows = [
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
        ]
        yield Table(("Property", "Value"), tuple(rows), numbers=False)


def settings_blocks(settings: Mapping[str, Any]) -> Iterator[Block]:
    """Yield the settings as one table; nested values are written as ``key value``."""
    yield Heading("Settings")
    rows = tuple((key.replace("_", " "), _flat(value)) for key, value in settings.items() if key != "weights")
    yield Table(("Setting", "Value"), rows, numbers=False)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(item) for item in value)
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def write_document(folder: Path, document: Document) -> None:
    """Write report.md, report.html and the pictures."""
    for picture in document.pictures:
        place = folder / picture.name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(picture.png)
    (folder / "report.md").write_text(to_markdown(document), "utf-8")
    (folder / "report.html").write_text(to_html(document), "utf-8")


def figure(name: str, png: bytes, caption: str) -> Picture:
    """Return a picture that lies in the folder ``figures`` of the report."""
    return Picture(f"figures/{name}.png", png, caption)
