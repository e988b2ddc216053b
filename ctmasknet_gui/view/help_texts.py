"""What the help dialogs say, as HTML. Everything that comes from a file is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from PySide6.QtGui import QKeySequence

from ctmasknet_gui.view.status import DISCLAIMER
from model_core import __version__
from model_core.weights.card import ModelCard

if TYPE_CHECKING:
    from ctmasknet_gui.view.actions import Actions

# Equal in every table, so that the second columns stand below each other.
_NAME_WIDTH = 190

MOUSE = (
    ("Wheel", "previous, next slice"),
    ("Ctrl + wheel", "zoom at the pointer"),
    ("Left drag", "window: right is wider, up is a lower level (brighter)"),
    ("Middle drag", "pan"),
    ("Right drag", "zoom"),
    ("Right click", "menu"),
    ("Click on box, row or point", "select the region everywhere"),
)

NOT_YET = (
    "The crosshair that links axial, coronal and sagittal planes comes with those planes: not yet there.",
    "The keys are fixed: they cannot be assigned anew yet.",
)


def keys_html(actions: Actions) -> str:
    """Return the list of mouse actions, then of the keys by category, read from the actions themselves."""
    from ctmasknet_gui.view.actions import CATEGORIES

    parts = ["<h3>Mouse</h3>", _table(MOUSE, "key")]
    for category in CATEGORIES:
        rows = [
            (_keys(action.shortcuts()), action.text().replace("…", "").replace("&", ""))
            for action in actions.in_category(category)
            if action.shortcuts()
        ]
        if rows:
            parts += [f"<h3>{category}</h3>", _table(rows, "key")]
    parts += [f"<p class='muted'>{note}</p>" for note in NOT_YET]
    return "".join(parts)


def about_html() -> str:
    """Return version, purpose, papers and licence."""
    return (
        f"<h2>CTMaskNet {escape(__version__)}</h2>"
        "<p>Opens chest CT, finds and segments lesions with a lightweight Mask R-CNN, classifies slices "
        "with COVID-CT-Mask-Net, and shows which regions the class rests on.</p>"
        f"<p><b>{DISCLAIMER}.</b> Do not use it for diagnosis or treatment.</p>"
        "<h3>Method</h3>"
        "<p>A. Ter-Sarkisov: <i>COVID-CT-Mask-Net: Prediction of COVID-19 from CT Scans Using Regional "
        "Features</i>; <i>Lightweight Model for the Prediction of COVID-19 through the Detection and "
        "Segmentation of Lesions in Chest CT Scans</i>; <i>One Shot Model for COVID-19 Classification and "
        "Lesions Segmentation in Chest CT Scans Using LSTM with Attention Mechanism</i>.</p>"
        "<h3>Licence</h3>"
        "<p>The program is free software under the MIT licence. Weights carry their own licence: see "
        "About these weights.</p>"
    )


def weights_html(cards: Sequence[ModelCard]) -> str:
    """Return the cards of the weights that run: what they are, how they were trained, how good they are."""
    if not cards:
        return "<p>No weights are loaded. They are loaded with the first run.</p>"
    return "<hr>".join(_card_html(card) for card in cards)


def _card_html(card: ModelCard) -> str:
    shape, spec = card.architecture, card.input
    nms = "off" if card.detections.nms_iou is None else f"{card.detections.nms_iou:g}"
    rows = [
        ("Name", card.name),
        ("Kind", card.kind.replace("_", "-")),
        ("Backbone", f"{shape.backbone}, truncation {shape.truncation}"),
        ("Regions", ", ".join(card.region_classes) or "none"),
        ("Image classes", ", ".join(card.image_classes) or "none"),
        ("Input", str(spec)),
        ("Shown detections", f"score > {card.detections.score:g}, NMS IoU {nms}"),
        ("Licence", card.licence or "not stated"),
        ("SHA-256", card.sha256 or "not stated"),
    ]
    parts = [f"<h2>{escape(card.title)}</h2>"]
    if card.notes:
        parts.append(f"<p>{escape(card.notes)}</p>")
    parts.append(_table(rows, "name"))
    for title, values in (("Measured quality", card.metrics), ("Training", card.training)):
        flat = _flatten(values)
        parts.append(f"<h3>{title}</h3>")
        parts.append(_table(flat, "name") if flat else "<p class='muted'>Not stated.</p>")
    return "".join(parts)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{name} › ")
        elif isinstance(value, float):
            rows.append((name, f"{value:.4g}"))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(str(item) for item in value)))
        else:
            rows.append((name, str(value)))
    return rows


def _table(rows: Sequence[tuple[str, str]], kind: str) -> str:
    lines = (
        f"<tr><td class='{kind}' width='{_NAME_WIDTH}'>{escape(name)}</td><td>{escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table cellspacing='0' cellpadding='2'>{''.join(lines)}</table>"


def _keys(sequences: Sequence[QKeySequence]) -> str:
    return ", ".join(key.toString(QKeySequence.SequenceFormat.NativeText) for key in sequences)
