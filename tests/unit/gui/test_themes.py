"""The themes of the window: legible, switched without a restart, remembered; slices stay on black."""

import re

import pytest
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication
from window_case import fill, heard_use_cases

from ctmasknet_gui.controller.display import DisplayController
from ctmasknet_gui.controller.remember import RememberController
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state import AppState
from ctmasknet_gui.view import style
from ctmasknet_gui.view.export_dialog import ExportDialog
from ctmasknet_gui.view.help import TextDialog
from ctmasknet_gui.view.main_window import MainWindow
from model_core.base.resources import resource
from model_core.plots.style import THEMES

LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
DARK_SHEET = resource("style", "dark.qss").read_text("utf-8")


@pytest.fixture(autouse=True)
def dark_again(qapp):
    yield
    style.set_theme("dark")


def luminance(colour):
    def linear(part):
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue, _ = QColor(colour).getRgbF()
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast_is_that_of_the_guideline():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", ["dark", "light"])
def test_text_of_both_themes_is_legible(name):
    theme = style.THEMES[name]
    for ground in (theme.background, theme.base):
        for text in (theme.text, theme.muted, theme.selected, *theme.status.values()):
            assert contrast(text, ground) >= LEAST_CONTRAST, (text, ground)
    for ground in (theme.chosen, theme.hovered):
        assert contrast(theme.text, ground) >= LEAST_CONTRAST
        assert contrast(theme.muted, ground) >= LEAST_CONTRAST
    plots = THEMES[theme.plots]
    assert contrast(plots.text, plots.background) >= LEAST_CONTRAST
    assert contrast(plots.muted, plots.background) >= LEAST_CONTRAST


def rules(sheet):
    """Selector and declarations of every rule that says both colour and ground."""
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", sheet)):
        text = re.search(r"(?<![-\w])color: (#\w{6})\b", body)
        ground = re.search(r"background: (#\w{6})\b", body)
        if text and ground and "disabled" not in selector:
            yield selector.strip(), text[1], ground[1]


@pytest.mark.parametrize("name", ["dark", "light"])
def test_what_the_style_sheet_writes_on_its_own_ground_is_legible(qapp, name):
    style.set_theme(name)
    pairs = list(rules(style.style_sheet()))
    assert len(pairs) > 6
    faint = [pair for pair in pairs if contrast(pair[1], pair[2]) < LEAST_CONTRAST]
    assert faint == []


def test_every_colour_of_the_dark_sheet_has_its_light_one():
    used = set(re.findall(r"#[0-9a-f]{6}\b", DARK_SHEET))
    same = {"#ffffff", "#1c66b3", "#e8b04a", "#1a1300"}  # on the accent, and the badge
    assert used - set(style.LIGHT_FOR) == same


def test_light_icons_are_dark_where_they_are_not_checked(qapp):
    style.set_theme("light")

    def darkest(state):
        image = style.icon("labels").pixmap(24, 24, state=state).toImage()
        return min(
            image.pixelColor(x, y).lightness()
            for x in range(24)
            for y in range(24)
            if image.pixelColor(x, y).alpha() > 200
        )

    from PySide6.QtGui import QIcon

    assert darkest(QIcon.State.Off) < 90
    assert darkest(QIcon.State.On) > 180


def test_the_window_follows_the_choice_and_slices_stay_on_black(qtbot, qapp):
    state = fill(AppState())
    window = MainWindow(state, heard_use_cases())
    qtbot.addWidget(window)
    window.resize(1280, 800)
    window.show()
    before = qapp.styleSheet()
    icons = {action.text(): action.icon().cacheKey() for action in window.commands.all}
    state.display.theme = "light"
    assert style.theme() is style.LIGHT
    assert window.commands.theme_light.isChecked()
    assert window.commands.run_series.icon().cacheKey() != icons["Run series"]
    panel = window.explanation.grab().toImage()
    assert panel.pixelColor(2, panel.height() - 3).lightness() > 200
    view = window.viewport.grab().toImage()
    assert view.pixelColor(1, view.height() // 2).lightness() < 60
    state.display.theme = "dark"
    assert qapp.styleSheet() == before
    assert window.commands.run_series.icon().cacheKey() == icons["Run series"]


def test_the_choice_is_remembered_and_a_damaged_one_is_not(tmp_path):
    settings = Settings(tmp_path / "s.ini")
    state = AppState()
    DisplayController(state).set_theme("light")
    RememberController(state, settings).store()
    again = AppState()
    RememberController(again, settings).restore()
    assert again.display.theme == "light"
    settings.put("display/theme", "<b>")
    other = AppState()
    RememberController(other, settings).restore()
    assert other.display.theme == "dark"


def test_as_the_system_takes_one_of_both(qapp):
    assert isinstance(QApplication.instance(), QApplication)
    style.set_theme("system")
    assert style.theme() in (style.DARK, style.LIGHT)


def test_dialogs_that_are_open_follow_the_theme(qtbot, qapp, tmp_path):
    state = fill(AppState())
    window = MainWindow(state, heard_use_cases())
    qtbot.addWidget(window)
    window.show()
    text = TextDialog("Long", "<h2>Title</h2><p>text</p>" * 80, window)
    export = ExportDialog(state, folder=tmp_path, kind="png", parent=window)
    for dialog in (text, export):
        qtbot.addWidget(dialog)
        dialog.show()
    bar = text.browser.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    place = bar.value()
    assert place > 0
    state.display.theme = "light"
    colour = text.browser.document().begin().begin().fragment().charFormat().foreground().color()
    assert contrast(colour.name(), style.LIGHT.base) >= LEAST_CONTRAST
    assert bar.value() == place
    assert style.LIGHT.status["error"] in export.problem.styleSheet()
