"""Help and information: the dialog that shows it, and its texts, made by the templates in resources/help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.status import DISCLAIMER
from ctmasknet_gui.view.style import themed
from ctmasknet_gui.view.weights_text import Block, card_blocks
from model_core import __version__
from model_core.base.resources import resource
from model_core.scene import ScanWords
from model_core.scene.palette import WHITE
from model_core.weights.card import ModelCard

if TYPE_CHECKING:
    from model_core.explain import RuleAnswer

MOUSE = (
    ("Wheel", "previous, next slice"),
    ("Ctrl + wheel", "zoom at the pointer"),
    ("Left drag", "window: right is wider, up is a lower level (brighter)"),
    ("Middle drag", "pan"),
    ("Right drag", "zoom"),
    ("Right click", "menu"),
    ("Click on box, row or point", "select the region everywhere"),
    ("Ctrl + click on one", "select every region on its lesion"),
    ("Right click on one", "menu: exclude it from the evidence, keep it only"),
    (
        "Drag around points",
        "select their regions (with Shift a box); the line above the plots says what they do",
    ),
    ("Drag over the histogram", "select every region with a score in that range"),
    ("Left drag with a tool", "E: select the regions in an area; Q: ask about a box; Esc leaves the tool"),
)

NOT_YET = (
    "The crosshair that links axial, coronal and sagittal planes comes with those planes: not yet there.",
    "The keys are fixed: they cannot be assigned anew yet.",
)

_OTHER_RULES = (
    "None of these was checked on scans of known patients, and several can be wrong together. A rule that "
    "takes one slice for enough calls more healthy scans ill the more slices they have."
)

_STYLE = (
    f"h2 {{ color: {WHITE.lower()}; font-size: 17px; margin-top: 14px; }} "
    "h3 { color: #9fb0c2; margin-top: 12px; }"
    "h4 { color: #9fb0c2; margin-top: 10px; margin-bottom: 2px; }"
    "th { padding: 2px 10px 2px 0; color: #9fb0c2; }"
    "table { margin-top: 5px; margin-bottom: 5px; }"
    "td { padding: 2px 16px 2px 0; } td.key { color: #9fc9ef; } .muted { color: #9fb0c2; }"
    "td.whole { white-space: nowrap; padding-right: 10px; } td.name { color: #9fb0c2; }"
)


class TextDialog(QDialog):
    """Shows HTML made by this program (never text from files unescaped)."""

    def __init__(self, title: str, html: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.browser = QTextBrowser()
        self._html, self._style = html, ""
        self.browser.setOpenExternalLinks(True)
        self._write()
        self.browser.setAccessibleName(title)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 14, 14, 12)
        layout.setSpacing(10)
        layout.addWidget(self.browser)
        layout.addWidget(buttons)
        self.resize(900, 680)

    def changeEvent(self, event: QEvent) -> None:
        """Write it anew in the colours of another theme, where it was read to."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange and self._style != themed(_STYLE):
            place = self.browser.verticalScrollBar().value()
            self._write()
            self.browser.verticalScrollBar().setValue(place)

    def _write(self) -> None:
        self._style = themed(_STYLE)
        self.browser.document().setDefaultStyleSheet(self._style)
        self.browser.setHtml(self._html)


def keys_html(actions: Actions) -> str:
    """Return the list of mouse actions, then of the keys by category, read from the actions themselves."""
    blocks: list[Block] = [("h3", "Mouse"), ("keys", MOUSE)]
    for category, members in actions.by_category():
        rows = [
            (key.toString(QKeySequence.SequenceFormat.NativeText), _plain(action.property("name")))
            for action in members
            for key in action.shortcuts()
        ]
        if rows:
            blocks += [("h3", category), ("keys", rows)]
    return _render("blocks", blocks=[*blocks, *(("muted", note) for note in NOT_YET)])


def _plain(text: str) -> str:
    return text.replace("…", "").replace("&", "")


def about_html() -> str:
    """Return version, purpose, papers and licence."""
    return _render("about", version=__version__, disclaimer=DISCLAIMER)


def weights_html(cards: Sequence[ModelCard]) -> str:
    """Return the cards of the weights that run: what they are, how they were trained, how good they are."""
    blocks: list[Block] = []
    for card in cards:
        blocks += [("line", ""), *card_blocks(card)]
    nothing = [("p", "No weights are loaded. They are loaded with the first run.")]
    return _render("blocks", blocks=blocks[1:] or nothing)


def rules_html(words: ScanWords, rule: str, answers: Sequence[RuleAnswer]) -> str:
    """Return the verdict of the scan with its rule, and what other rules say of the same slices."""
    says = {True: "ill", False: "not ill", None: "cannot say"}
    rows = [(says[one.ill], f"{one.rule}: {one.because}") for one in answers]
    blocks: list[Block] = [
        ("h3", "The verdict"),
        ("p", f"{words.answer} {words.where}."),
        ("muted", rule),
        ("h3", "Other rules, from the same slices"),
        ("keys", rows),
        ("muted", _OTHER_RULES),
    ]
    return _render("blocks", blocks=blocks)


def _render(name: str, **values: Any) -> str:
    """Fill a template; everything is escaped, for cards come from files."""
    # The empty window does not wait for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(resource("help")), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(f"{name}.html.jinja").render(values)
