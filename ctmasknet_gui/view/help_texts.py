"""What the help dialogs say, as HTML. Everything that comes from a file is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from PySide6.QtGui import QKeySequence

from ctmasknet_gui.view.card_html import card_html, table
from ctmasknet_gui.view.status import DISCLAIMER
from model_core import __version__
from model_core.weights.card import ModelCard

if TYPE_CHECKING:
    from ctmasknet_gui.view.actions import Actions

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

    parts = ["<h3>Mouse</h3>", table(MOUSE, "key")]
    for category in CATEGORIES:
        rows = [
            (
                key.toString(QKeySequence.SequenceFormat.NativeText),
                action.property("name").replace("…", "").replace("&", ""),
            )
            for action in actions.in_category(category)
            for key in action.shortcuts()
        ]
        if rows:
            parts += [f"<h3>{category}</h3>", table(rows, "key")]
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
    return "<hr>".join(card_html(card) for card in cards)
