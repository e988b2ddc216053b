"""Export dialog, help texts, file dialogs, messages: real widgets, nothing written."""

from dataclasses import replace
from pathlib import Path

import pytest
from gui_fakes import make_card
from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QCursor, QEnterEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QWidget
from window_case import fill, hear, heard_use_cases

from ctmasknet_gui.state import AppState, Message
from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.view import message_bar
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.export_dialog import ExportDialog, with_suffix
from ctmasknet_gui.view.file_dialogs import FileDialogs
from ctmasknet_gui.view.help import TextDialog, about_html, keys_html, weights_html
from ctmasknet_gui.view.message_bar import MessageBar
from model_core.base.errors import SettingsError
from model_core.weights.store import shipped


@pytest.fixture
def state():
    return fill(AppState())


@pytest.fixture
def ask(qtbot, state, tmp_path):
    def make(kind="png"):
        dialog = ExportDialog(state, kind=kind, folder=tmp_path)
        qtbot.addWidget(dialog)
        dialog.show()
        return dialog

    return make


# -------------------------------------------------------------------------------------------- export


def test_identity_that_was_ticked_for_another_kind_is_not_asked_for(ask):
    dialog = ask()
    dialog.identity.setChecked(True)
    dialog.kind.setCurrentIndex(dialog.kind.findData("figure"))
    dialog.export_button.click()
    assert not dialog.request.identity


def test_two_equal_nms_thresholds_are_not_compared(ask):
    dialog = ask("nms_figure")
    dialog.nms[0].setValue(dialog.nms[1].value())
    dialog.export_button.click()
    assert dialog.request is None
    assert "two different" in dialog.problem.text()


def test_export_of_this_slice_is_proposed_without_identity(ask, tmp_path, qtbot):
    dialog = ask()
    with qtbot.waitSignal(dialog.accepted):
        dialog.export_button.click()
    assert dialog.request == ExportRequest(
        kind="png",
        target=tmp_path / "ctmasknet_slice_0004.png",
        slices="current",
        first=0,
        last=7,
        slice_index=3,
        series_id="one",
    )
    assert not dialog.request.identity
    assert not dialog.request.plots


def test_this_slice_stays_the_one_that_was_asked_for(ask, state, tmp_path):
    dialog = ask()
    state.display.slice_index = 6
    dialog.scale.setValue(3.0)
    assert "(4)" in dialog.current.text()
    dialog.export_button.click()
    assert dialog.request.slice_index == 3
    assert dialog.request.target == tmp_path / "ctmasknet_slice_0004.png"
    with pytest.raises(SettingsError, match="counted from 0"):
        replace(dialog.request, slice_index=-1)


def test_the_hint_promises_what_a_picture_holds(ask):
    assert "whole slice" in ask().hint.text()


def test_range_counts_from_one_on_screen_and_is_half_open_inside(ask, tmp_path, qtbot):
    dialog = ask()
    dialog.first.setValue(2)
    dialog.last.setValue(5)
    assert dialog.range.isChecked(), "setting a number chooses the range"
    dialog.scale.setValue(3.5)
    dialog.plots.click()
    dialog.identity.click()
    dialog.export_button.click()
    request = dialog.request
    assert (request.slices, request.first, request.last) == ("range", 1, 5)
    assert (request.scale, request.plots, request.identity) == (3.5, True, True)
    assert request.target == tmp_path / "ctmasknet_pictures"


def test_reversed_range_is_told_and_can_be_corrected(ask):
    dialog = ask()
    dialog.first.setValue(5)
    dialog.last.setValue(2)
    dialog.export_button.click()
    assert dialog.request is None
    assert dialog.problem.isVisible()
    assert "holds no slice" in dialog.problem.text()
    dialog.last.setValue(6)
    assert not dialog.problem.isVisible()
    dialog.export_button.click()
    assert dialog.request.last == 6


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("csv", "ctmasknet_regions.csv"),
        ("plots", "ctmasknet_plots_slice_0004"),
        ("lesions", "ctmasknet_lesions.nii.gz"),
    ],
)
def test_other_kinds_show_only_what_concerns_them(ask, tmp_path, kind, name):
    dialog = ask()
    dialog.kind.setCurrentIndex(dialog.kind.findData(kind))
    assert not dialog.slices_box.isVisible()
    assert not dialog.pictures_box.isVisible()
    assert dialog.format_box.isVisible() == (kind == "plots")
    dialog.format.setCurrentIndex(1)
    dialog.export_button.click()
    assert (dialog.request.kind, dialog.request.target) == (kind, tmp_path / name)
    assert dialog.request.plot_format == "svg"


def test_what_the_user_typed_stays(ask, tmp_path):
    dialog = ask()
    dialog.target.selectAll()
    dialog.target.insert("größe ä")
    dialog.kind.setCurrentIndex(dialog.kind.findData("csv"))
    dialog.export_button.click()
    assert dialog.request.target == tmp_path / "größe ä.csv"


def test_targets_that_cannot_be_are_told(ask, tmp_path):
    dialog = ask("csv")
    for text, words in (
        ("", "Choose where"),
        (str(tmp_path / "absent" / "x.csv"), "does not exist"),
        ("   ", "Choose where"),
    ):
        dialog.target.setText(text)
        dialog.export_button.click()
        assert dialog.request is None
        assert words in dialog.problem.text()
    (tmp_path / "folder.csv").mkdir()
    dialog.target.setText(str(tmp_path / "folder.csv"))
    dialog.export_button.click()
    assert "a folder" in dialog.problem.text()


@pytest.mark.parametrize("kind", ["csv", "plots"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("~nobody-of-this-name/a", "no home folder"),
        ("/", "folder"),
        (".", "folder"),
        ("..", "folder"),
        ("n" * 300, "too long"),
        ("a\0b", "character"),
    ],
)
def test_hostile_targets_become_messages(ask, monkeypatch, kind, text, words):
    dialog = ask(kind)
    dialog.target.setText(text)
    # A line edit may drop what it cannot show; the check does not rely on it.
    monkeypatch.setattr(dialog.target, "text", lambda: text)
    dialog.export_button.click()
    if kind == "plots" and text in ("/", ".", ".."):
        assert dialog.request.target.is_dir()
        return
    assert dialog.request is None
    assert dialog.problem.isVisible()
    assert words in dialog.problem.text()


def test_file_where_a_folder_is_needed_is_told(ask, tmp_path):
    dialog = ask("plots")
    (tmp_path / "file").write_bytes(b"")
    dialog.target.setText(str(tmp_path / "file"))
    dialog.export_button.click()
    assert "choose a folder" in dialog.problem.text()


def test_privacy_mode_and_missing_findings_take_options_away(qtbot, state, tmp_path):
    state.display.privacy = True
    state.results.summaries = {k: replace(s, detections=0) for k, s in state.results.summaries.items()}
    dialog = ExportDialog(state, kind="png", folder=tmp_path)
    qtbot.addWidget(dialog)
    assert not dialog.identity.isEnabled()
    assert not dialog.findings.isEnabled()
    dialog.identity.setChecked(True)
    dialog.export_button.click()
    assert not dialog.request.identity


def test_target_is_chosen_without_a_second_question_about_replacing(ask, tmp_path, monkeypatch):
    asked = {}

    def answer(*args, **kwargs):
        asked.update(kwargs)
        return str(tmp_path / "chosen.csv"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    dialog = ask("csv")
    dialog.browse.click()
    assert asked["options"] == QFileDialog.Option.DontConfirmOverwrite
    dialog.export_button.click()
    assert dialog.request.target.name == "chosen.csv"


def test_cancel_asks_for_nothing(ask, qtbot):
    dialog = ask()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.request is None
    assert not dialog.isVisible()


@pytest.mark.parametrize(
    ("given", "suffix", "expected"),
    [
        ("a", ".png", "a.png"),
        ("a.PNG", ".png", "a.PNG"),
        ("a.nii", ".nii.gz", "a.nii.gz"),
        ("a.b", ".csv", "a.b.csv"),
        ("a", "", "a"),
    ],
)
def test_suffix(given, suffix, expected):
    assert with_suffix(Path(given), suffix) == Path(expected)


def test_requests_check_themselves():
    with pytest.raises(SettingsError, match="holds no slice"):
        ExportRequest(kind="png", target=Path("x"), slices="range", first=4, last=4)
    with pytest.raises(SettingsError, match="scale"):
        ExportRequest(kind="png", target=Path("x"), scale=0.0)


# ---------------------------------------------------------------------------------------------- help


def test_every_shortcut_of_the_program_is_in_the_list(qtbot, state):
    actions = Actions(state)
    html = keys_html(actions)
    for action in actions.all:
        for key in action.shortcuts():
            shown = key.toString(key.SequenceFormat.NativeText)
            assert f">{shown}<" in html or f", {shown}" in html, action.text()


def test_the_list_of_keys_tells_what_is_not_there_yet(qtbot, state):
    text = keys_html(Actions(state))
    assert "crosshair" in text
    assert "cannot be assigned" in text


def test_no_two_actions_share_a_key(qtbot, state):
    """But Escape, which leaves a tool before it stops a run: one of the two can be used at a time."""
    actions = Actions(state)
    keys = [key.toString() for action in actions.all for key in action.shortcuts()]
    assert sorted(key for key in set(keys) if keys.count(key) > 1) == ["Esc"]
    for state.run.kind in ("run", ""):
        for state.display.tool in ("ask", "area", ""):
            assert not (actions.stop.isEnabled() and actions.leave_tool.isEnabled())


def test_card_is_shown_escaped_with_its_measured_quality(qtbot):
    card = replace(
        make_card(),
        title="<b>Bold & sneaky</b>",
        metrics={"test": {"dice": 0.61234567, "slices": 91}},
        training={"sets": ["A", "A3"], "epochs": 12},
        notes="Modest.",
    )
    dialog = TextDialog("About these weights", weights_html((card,)))
    qtbot.addWidget(dialog)
    text = dialog.browser.toPlainText()
    for words in ("<b>Bold & sneaky</b>", "Test › dice", "0.6123", "A, A3", "Modest.", "COVID-19"):
        assert words in text
    assert "No weights are loaded" in weights_html(())
    assert "not a medical device" in about_html()


def leaves(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


@pytest.mark.parametrize("card", shipped(), ids=lambda card: card.name)
def test_shipped_cards_are_laid_out_and_hide_nothing(qtbot, card):
    dialog = TextDialog("About these weights", weights_html((card,)))
    qtbot.addWidget(dialog)
    text = " ".join(dialog.browser.toPlainText().split())
    if card.kind != "classifier":
        low, high = card.metrics["all"]["dice_interval"]
        assert f"Dice, mean over slices {card.metrics['all']['dice']:.3f}" in text
        assert f"{low:.3f}–{high:.3f}" in text
        last = card.training["stages"][-1]
        assert f"{len(card.training['stages'])} {last['kind']} {last['steps']} {last['batch']}" in text
    sources = dict(card.metrics.get("within_source", {}))
    unseen = sources.pop("unseen_by_the_detector", {})
    assert text.count("slices that the detector never saw") == len(unseen)
    for source in (*sources.values(), *unseen.values()):
        for number, count, row in zip(source["classes"], source["slices"], source["confusion"], strict=True):
            name = card.image_classes[number]
            assert f"{name} ({count} slices) " + " ".join(map(str, row)) in text
    for value in leaves({**card.metrics, **{k: v for k, v in card.training.items() if k != "stages"}}):
        if isinstance(value, float):
            assert f"{value:.3f}" in text or f"{value:.4g}" in text
        elif not isinstance(value, bool):
            assert " ".join(str(value).split()) in text


def test_a_card_of_another_program_is_shown_as_it_stands(qtbot):
    metrics = {
        "note": ["no", "text"],
        "all": {"images": "many", "dice": None, "dice_interval": "wide", "F1": 0.5},
        "x": {"images": 3, "dice_interval": [0.1, "<b>"], "dice": 0.2},
        "by_class": {"GGO": {"dice": 0.25}, "note": 3, "GGO2": 4},
        "within_source": {"s": 31, "t": {"classes": [9], "confusion": [[17]]}, "u": {"classes": [[0]]}},
        "scan_check": 71,
        "calibration": "none made",
        "cross_validation": 51,
    }
    training = {"stages": [{"kind": "dense"}, "later"], "sources": ["Rome"], "notes": {"a": {"b": None}}}
    html = weights_html((replace(make_card(), metrics=metrics, training=training),))
    dialog = TextDialog("About these weights", html)
    qtbot.addWidget(dialog)
    text = dialog.browser.toPlainText()
    for words in (
        "no, text",
        "many",
        "F1",
        "0.100–<b>",
        "GGO2",
        "31",
        "17",
        "71",
        "none made",
        "51",
        "later",
    ):
        assert words in text, words
    assert "Rome" in text
    assert "Notes › a › b" in text


# -------------------------------------------------------------------------------------- file dialogs


def test_file_dialogs_start_in_the_last_folder_and_emit_paths(qtbot, monkeypatch, tmp_path):
    window = QWidget()
    qtbot.addWidget(window)
    use = heard_use_cases()
    dialogs = FileDialogs(window, use)
    dialogs.folder = tmp_path
    started = []
    paths, references, weights = hear(use.open_paths), hear(use.open_reference), hear(use.choose_weights)

    def answer(value):
        def choose(parent, title, folder, *rest):
            started.append(folder)
            return value

        return choose

    monkeypatch.setattr(QFileDialog, "getOpenFileNames", answer((["/a/ü.dcm", "/a/2.dcm"], "")))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", answer("/b"))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", answer(("/c/mask.nii", "")))
    dialogs.ask_files()
    dialogs.ask_folder()
    dialogs.ask_reference()
    dialogs.ask_weights()
    assert paths == [(Path("/a/ü.dcm"), Path("/a/2.dcm")), (Path("/b"),)]
    assert references == [Path("/c/mask.nii")]
    assert weights == [("/a/ü.dcm", "/a/2.dcm")]
    assert set(started) == {str(tmp_path)}


def test_cancelled_file_dialogs_open_nothing(qtbot, monkeypatch):
    window = QWidget()
    qtbot.addWidget(window)
    use = heard_use_cases()
    dialogs = FileDialogs(window, use)
    heard = [hear(wanted) for wanted in (use.open_paths, use.open_reference, use.choose_weights)]
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([], ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    for ask_for in (dialogs.ask_files, dialogs.ask_folder, dialogs.ask_reference, dialogs.ask_weights):
        ask_for()
    assert heard == [[], [], []]


# ------------------------------------------------------------------------------------------ messages


def test_messages_are_shown_newest_first_browsed_copied_and_dismissed(qtbot):
    state = AppState()
    bar = MessageBar(state)
    qtbot.addWidget(bar)
    bar.show()
    assert bar.isHidden() or bar.message is None
    state.messages.messages = (
        Message("warning", "One slice is missing."),
        Message("error", "The file is cut off.", "frame 7\noffset 12"),
    )
    assert bar.isVisible()
    assert bar.text.text() == "The file is cut off."
    assert bar.property("level") == "error"
    assert bar.count.text() == "2 / 2"
    assert not bar.details.isVisible()
    bar.details_button.click()
    assert bar.details.isVisible()
    assert bar.details.toPlainText() == "frame 7\noffset 12"
    bar.copy_button.click()
    assert QGuiApplication.clipboard().text() == "The file is cut off.\nframe 7\noffset 12"
    bar.older_button.click()
    assert bar.text.text() == "One slice is missing."
    assert not bar.details_button.isVisible()
    assert not bar.details.isVisible()
    with qtbot.waitSignal(bar.dismissed):
        bar.close_button.click()
    state.messages.messages = ()
    assert not bar.isVisible()


@pytest.fixture
def over_a_picture(qtbot):
    """Bars where they are in the window; the mouse rests beside them."""
    picture = QWidget()
    qtbot.addWidget(picture)
    picture.setGeometry(200, 200, 700, 400)
    QCursor.setPos(20, 700)  # a test before may have left it where the bar is to be
    picture.show()
    yield lambda state: MessageBar(state, picture)
    picture.hide()


def test_a_long_text_has_the_width_of_a_narrow_picture(qtbot, over_a_picture):
    state = AppState()
    bar = over_a_picture(state)
    long = "Slices are not evenly spaced: 1.08 mm between 14.dcm and 15.dcm. Shown as they are."
    warning = Message("warning", long, details="Files: 14.dcm")
    state.messages.messages = (Message("warning", "Short."), warning)
    picture = bar.parentWidget()
    picture.resize(1400, 400)  # wide enough in any font
    qtbot.waitUntil(lambda: bar.text.geometry().bottom() > bar.details_button.mapTo(bar, QPoint(0, 0)).y())
    assert bar.text.geometry().right() < bar.details_button.mapTo(bar, QPoint(0, 0)).x()
    picture.resize(390, 400)
    qtbot.waitUntil(lambda: bar.width() <= 390)
    qtbot.wait(10)
    assert bar.details_button.mapTo(bar, QPoint(0, 0)).y() > bar.text.geometry().bottom()
    assert bar.text.width() > 250
    for button in (bar.details_button, bar.copy_button, bar.close_button):
        assert bar.rect().contains(QRect(button.mapTo(bar, QPoint(0, 0)), button.size()))


def test_notes_fade_and_errors_stay(qtbot, over_a_picture, monkeypatch):
    monkeypatch.setattr(message_bar, "_NOTE_MS", 30)
    monkeypatch.setattr(message_bar, "_NOTE_WITH_PATH_MS", 30)
    state = AppState()
    bar = over_a_picture(state)
    note = Message("info", "1 picture is written to a.png.", path="/somewhere/a.png")
    with qtbot.waitSignal(bar.faded) as faded:
        state.messages.messages = (Message("error", "The disk is full."), note)
    assert faded.args == [note]
    for lasting in (
        Message("error", "The disk is full."),
        Message("info", "A mask is here.", offer="Use it"),
    ):
        with qtbot.assertNotEmitted(bar.faded, wait=700):
            state.messages.messages = (lasting,)
        assert bar.isVisible()


def test_a_note_that_is_pointed_at_stays(qtbot, over_a_picture, monkeypatch):
    monkeypatch.setattr(message_bar, "_NOTE_MS", 30)
    state = AppState()
    bar = over_a_picture(state)
    state.messages.messages = (Message("info", "All slices are analysed."),)
    QApplication.sendEvent(bar, QEnterEvent(QPointF(5, 5), QPointF(5, 5), QPointF(5, 5)))
    with qtbot.assertNotEmitted(bar.faded, wait=700):
        pass
    with qtbot.waitSignal(bar.faded):
        QApplication.sendEvent(bar, QEvent(QEvent.Type.Leave))


def test_a_message_gives_the_whole_path_and_its_folder(qtbot, over_a_picture):
    state = AppState()
    bar = over_a_picture(state)
    state.messages.messages = (Message("error", "'a.dcm' cannot be opened.", path="/data/DOE/a.dcm"),)
    assert bar.path.isVisible()
    assert bar.path.text() == "/data/DOE/a.dcm"
    with qtbot.waitSignal(bar.folderRequested) as asked:
        bar.folder_button.click()
    assert asked.args == ["/data/DOE/a.dcm"]
    state.display.privacy = True
    assert not bar.path.isVisible()
    assert bar.path.text() == ""
    state.messages.messages = (Message("error", "No weights."),)
    assert not bar.folder_button.isVisible()


def test_an_offer_is_a_button(qtbot, over_a_picture):
    state = AppState()
    bar = over_a_picture(state)
    offer = Message("info", "A mask of this series is here.", offer="Use as reference mask")
    state.messages.messages = (offer,)
    assert bar.offer_button.text() == "Use as reference mask"
    with qtbot.waitSignal(bar.offerTaken) as taken:
        bar.offer_button.click()
    assert taken.args == [offer]


def test_markup_in_a_message_is_text(qtbot):
    state = AppState()
    bar = MessageBar(state)
    qtbot.addWidget(bar)
    state.messages.messages = (Message("info", "<img src=x> & co"),)
    assert bar.text.textFormat() == Qt.TextFormat.PlainText
    assert bar.text.text() == "<img src=x> & co"
