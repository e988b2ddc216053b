"""The dark theme: style sheet, palette, icons, and the plain widgets that it knows by their role."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QColor, QFontDatabase, QFontMetrics, QIcon, QPalette
from PySide6.QtWidgets import QApplication, QFrame, QLabel, QWidget

from model_core.base.resources import resource

BACKGROUND = "#1a2028"
BASE = "#161b22"
TEXT = "#dbe3ec"
MUTED = "#9fb0c2"
ACCENT = "#2f7fd1"
TRACK = "#2a3441"

# Status is told by shape and colour.
STATUS_SHAPES = {"ok": "●", "info": "●", "warning": "▲", "error": "✕"}
STATUS_COLOURS = {"ok": "#5fc795", "info": "#6fb7f2", "warning": "#f0b93a", "error": "#ff7d6b"}


@cache
def icon(name: str) -> QIcon:
    """Return the icon ``resources/icons/NAME.svg``."""
    return QIcon(str(resource("icons", f"{name}.svg")))


def style_sheet() -> str:
    """Return the style sheet with the icons' folder filled in."""
    text = resource("style", "dark.qss").read_text("utf-8")
    return text.replace("@ICONS@", resource("icons").as_posix())


def apply_style(app: QApplication) -> None:
    """Give the whole application the dark theme, its icon, and a font where the system has none."""
    if not QFontMetrics(app.font()).inFont("a"):
        _take_font_of_plots()
    app.setStyle("Fusion")
    palette = QPalette(QColor(BACKGROUND))
    roles = {
        QPalette.ColorRole.Window: BACKGROUND,
        QPalette.ColorRole.Base: BASE,
        QPalette.ColorRole.AlternateBase: BACKGROUND,
        QPalette.ColorRole.Text: TEXT,
        QPalette.ColorRole.WindowText: TEXT,
        QPalette.ColorRole.ButtonText: TEXT,
        QPalette.ColorRole.Highlight: ACCENT,
        QPalette.ColorRole.HighlightedText: "#ffffff",
        QPalette.ColorRole.Link: "#7fc0ff",
        QPalette.ColorRole.PlaceholderText: MUTED,
    }
    for role, colour in roles.items():
        palette.setColor(role, QColor(colour))
    app.setPalette(palette)
    app.setStyleSheet(style_sheet())
    app.setWindowIcon(icon("app"))


def _take_font_of_plots() -> None:
    """Register the font that comes with matplotlib (found, not imported): without any, letters are boxes."""
    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations if found is not None else None) or ():
        for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf"):
            QFontDatabase.addApplicationFont(str(Path(folder, "mpl-data", "fonts", "ttf", name)))


def restyle(widget: QWidget, **properties: object) -> None:
    """Set dynamic properties and let the style sheet see them."""
    for name, value in properties.items():
        widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)
    # Frames learn of another padding by this alone.
    QApplication.sendEvent(widget, QEvent(QEvent.Type.StyleChange))


def label(text: str = "", *, role: str = "", wrap: bool = False) -> QLabel:
    """Return a label in a role of the style sheet; its text is never markup, for it may come from a file."""
    result = QLabel(text)
    result.setTextFormat(Qt.TextFormat.PlainText)
    result.setWordWrap(wrap)
    if role:
        result.setProperty("role", role)
    return result


def rule() -> QFrame:
    """Return a horizontal line between two parts of a panel."""
    result = QFrame()
    result.setProperty("role", "rule")
    return result
