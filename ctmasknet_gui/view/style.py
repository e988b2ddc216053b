"""Themes: style sheet, palette, icons, and the plain widgets that they know by their role."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QByteArray, QEvent, QObject, Qt
from PySide6.QtGui import (
    QAction,
    QColor,
    QFontDatabase,
    QFontMetrics,
    QIcon,
    QPainter,
    QPalette,
    QPixmap,
)
from PySide6.QtWidgets import QAbstractButton, QApplication, QFrame, QLabel, QMenu, QWidget

from model_core.base.resources import resource
from model_core.scene.palette import WHITE

ThemeName = Literal["dark", "light"]

# What is painted over slices is the same in every theme.
ACCENT = "#2f7fd1"


@dataclass(frozen=True)
class Theme:
    """Colours of one theme that widgets paint with; those of the style sheet follow `LIGHT_FOR`.

    Attributes
    ----------
    plots:
        The theme of plots, see `model_core.plots.style`.
    selected:
        What stands out from ``text``.
    status:
        By level, of text.
    """

    plots: ThemeName
    background: str
    base: str
    text: str
    muted: str
    selected: str
    track: str
    frame: str
    empty: str
    dimmed: str
    chosen: str
    hovered: str
    focus: str
    icon: str
    status: Mapping[str, str]


DARK = Theme(
    plots="dark",
    background="#1a2028",
    base="#161b22",
    text="#dbe3ec",
    muted="#9fb0c2",
    selected="#ffffff",
    track="#2a3441",
    frame="#2c3641",
    empty="#1b222b",
    dimmed="#7d8b9a",
    chosen="#21344a",
    hovered="#222b36",
    focus="#7fc0ff",
    icon="#d3dce6",
    status={"ok": "#5fc795", "info": "#6fb7f2", "warning": "#f0b93a", "error": "#ff7d6b"},
)
LIGHT = Theme(
    plots="light",
    background="#f3f5f8",
    base="#ffffff",
    text="#1b2530",
    muted="#4a5a6b",
    selected="#000000",
    track="#d8dfe7",
    frame="#c6cfd9",
    empty="#e8ecf1",
    dimmed="#6a7785",
    chosen="#d3e4f6",
    hovered="#e4e9ef",
    focus="#1c66b3",
    icon="#2f3d4b",
    status={"ok": "#1d7a4d", "info": "#1559a5", "warning": "#7d5600", "error": "#b3261e"},
)
THEMES = {"dark": DARK, "light": LIGHT}
# What the colours of the dark style sheet are in the light theme; others stay as they are.
LIGHT_FOR = {
    DARK.background: LIGHT.background,
    DARK.base: LIGHT.base,
    DARK.text: LIGHT.text,
    DARK.muted: LIGHT.muted,
    DARK.track: LIGHT.track,
    DARK.frame: LIGHT.frame,
    DARK.focus: LIGHT.focus,
    "#12161c": "#fbfcfd",
    "#1b3147": "#e3eefa",
    "#1e252e": "#ffffff",
    "#1f262f": "#eceff3",
    "#23527f": "#2470bd",
    "#262f3a": "#e2e8ee",
    "#2a67a5": "#b9cfe6",
    "#2b3643": "#e8ecf1",
    "#2f7fd1": "#2470bd",
    "#313c4a": "#d5dde6",
    "#33404d": "#ccd4dd",
    "#364352": "#dbe2ea",
    "#3a4653": "#bcc6d1",
    "#3a4756": "#c3ccd6",
    "#3b4756": "#a9b5c2",
    "#3d3114": "#fbf0d3",
    "#414e5d": "#b7c1cc",
    "#45201d": "#fbe4e1",
    "#4a586a": "#8c9bab",
    "#4cc38a": "#2f9e6b",
    "#4d89c4": "#2470bd",
    "#5a6a7c": "#93a1b0",
    "#5c6876": "#a9b3be",
    "#6d7b8a": "#8793a0",
    "#708193": "#6b7a8a",
    "#9fc9ef": "#1559a5",
    "#dfe9f4": "#ffffff",
    WHITE.lower(): "#10161d",
}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
# Sizes in pixels that icons are drawn in.
_ICON_SIZES = (16, 20, 24, 32, 48, 64)

# Status is told by shape and colour.
STATUS_SHAPES = {"ok": "●", "info": "●", "warning": "▲", "error": "✕"}

_now = {"theme": "dark"}
_icon_names: dict[int, str] = {}


def theme() -> Theme:
    """Return the theme in force."""
    return THEMES[_now["theme"]]


def colour(name: str) -> QColor:
    """Return a colour of the theme in force, by the name of its field."""
    return QColor(getattr(theme(), name))


def status_colour(level: str) -> QColor:
    """Return the colour that tells a level."""
    return QColor(theme().status[level])


def icon(name: str) -> QIcon:
    """Return the icon ``resources/icons/NAME.svg`` in the theme in force."""
    return _icon(name, _now["theme"])


@cache
def _icon(name: str, theme_name: str) -> QIcon:
    path = resource("icons", f"{name}.svg")
    made = QIcon(str(path)) if theme_name == "dark" else _light_icon(path.read_text("utf-8"))
    _icon_names[made.cacheKey()] = name
    return made


def _light_icon(svg: str) -> QIcon:
    """Return a drawing in the lines of the light theme, and in those of the dark one where it is checked."""
    from PySide6.QtSvg import QSvgRenderer

    made = QIcon()
    for state, text in ((QIcon.State.Off, svg.replace(DARK.icon, LIGHT.icon)), (QIcon.State.On, svg)):
        drawing = QSvgRenderer(QByteArray(text.encode()))
        for size in _ICON_SIZES:
            picture = QPixmap(size, size)
            picture.fill(Qt.GlobalColor.transparent)
            painter = QPainter(picture)
            drawing.render(painter)
            painter.end()
            made.addPixmap(picture, QIcon.Mode.Normal, state)
    return made


def themed(text: str) -> str:
    """Return a style sheet that is written for the dark theme in the colours of the one in force."""
    if theme() is DARK:
        return text
    return _COLOUR.sub(lambda found: LIGHT_FOR.get(found[0], found[0]), text)


def style_sheet() -> str:
    """Return the style sheet of the theme in force, with the icons' folder filled in."""
    text = themed(resource("style", "dark.qss").read_text("utf-8"))
    folder = resource("icons").as_posix()
    if theme() is LIGHT:
        text += resource("style", "light.qss").read_text("utf-8")
        text = text.replace("@ICONS@/chevron", f"{folder}/light-chevron")
    return text.replace("@ICONS@", folder)


def apply_style(app: QApplication) -> None:
    """Give the whole application the theme in force, its icon, and a font where the system has none."""
    if not QFontMetrics(app.font()).inFont("a"):
        _take_font_of_plots()
    app.setStyle("Fusion")
    now = theme()
    palette = QPalette(QColor(now.background))
    roles = {
        QPalette.ColorRole.Window: now.background,
        QPalette.ColorRole.Base: now.base,
        QPalette.ColorRole.AlternateBase: now.background,
        QPalette.ColorRole.Text: now.text,
        QPalette.ColorRole.WindowText: now.text,
        QPalette.ColorRole.ButtonText: now.text,
        QPalette.ColorRole.Highlight: ACCENT,
        QPalette.ColorRole.HighlightedText: "#ffffff",
        QPalette.ColorRole.Link: now.focus,
        QPalette.ColorRole.PlaceholderText: now.muted,
    }
    for role, value in roles.items():
        palette.setColor(role, QColor(value))
    app.setPalette(palette)
    app.setStyleSheet(style_sheet())
    app.setWindowIcon(icon("app"))


def set_theme(name: str) -> bool:
    """Put a theme in force: "dark", "light" or as the "system" has it; return whether it changed."""
    app = QApplication.instance()
    if not isinstance(app, QApplication):
        return False
    if name == "system":
        bright = app.styleHints().colorScheme() == Qt.ColorScheme.Light
        name = "light" if bright else "dark"
    if name == _now["theme"]:
        return False
    _now["theme"] = name
    apply_style(app)
    for widget in app.allWidgets():
        for one in (widget, *widget.actions()):
            _renew_icon(one)
        widget.update()
    return True


def _renew_icon(one: QObject) -> None:
    """Give what has an icon of ours the same in the theme in force."""
    if isinstance(one, QMenu):
        one = one.menuAction()
    if isinstance(one, QAction | QAbstractButton):
        name = _icon_names.get(one.icon().cacheKey())
        if name is not None and name != "app":
            one.setIcon(icon(name))


def _take_font_of_plots() -> None:
    """Register the font that comes with matplotlib (found, not imported): without any, letters are boxes."""
    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations if found is not None else None) or ():
        for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf"):
            QFontDatabase.addApplicationFont(str(Path(folder, "mpl-data", "fonts", "ttf", name)))


def restyle(widget: QWidget, **properties: object) -> None:
    """Set dynamic properties and let the style sheet see them, if they are others than before."""
    if all(widget.property(name) == value for name, value in properties.items()):
        return
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
