"""The window asks before it stops an export, keeps exports apart from images, and knows weight files."""

import threading
from dataclasses import replace

import pytest
from gui_fakes import FakeEngine, FakeReader, make_volume
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox

from ctmasknet_gui.__main__ import parse
from ctmasknet_gui.app import build
from ctmasknet_gui.app import start as start_module
from ctmasknet_gui.controller import feature_maps
from ctmasknet_gui.controller.script import Options
from ctmasknet_gui.state.case import WEIGHT_SUFFIXES
from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.view.export_dialog import ExportDialog


def answer(monkeypatch, button):
    asked = []

    def question(parent, title, text, *rest):
        asked.append(text)
        return button

    monkeypatch.setattr(QMessageBox, "question", question)
    return asked


@pytest.fixture
def exporting(opened, monkeypatch):
    """A window in which an export waits until ``gate`` is set."""
    gate = threading.Event()

    def export(job):
        assert gate.wait(60)
        job.request.target.write_text("x")
        yield job.request.target

    monkeypatch.setattr(opened.controllers.exporting._exporter, "export", export)
    opened.window.use.export(ExportRequest(kind="png", target=opened.folder / "a.png"))
    assert opened.controllers.jobs.active("export")
    yield opened, gate
    gate.set()


def test_closing_during_an_export_asks_first(exporting, monkeypatch):
    rig, gate = exporting
    asked = answer(monkeypatch, QMessageBox.StandardButton.Cancel)
    assert not rig.window.close()
    assert rig.window.isVisible()
    assert "An export is running" in asked[0]
    gate.set()
    rig.settle()
    assert (rig.folder / "a.png").exists()
    assert rig.window.close()
    assert len(asked) == 1


def test_an_export_is_stopped_when_the_user_says_so(exporting, monkeypatch):
    rig, gate = exporting
    asked = answer(monkeypatch, QMessageBox.StandardButton.Yes)
    gate.set()
    assert rig.window.close()
    assert len(asked) == 1
    assert not rig.controllers.thread.running


def test_leaving_by_signal_asks_nobody(exporting, monkeypatch):
    rig, gate = exporting
    asked = answer(monkeypatch, QMessageBox.StandardButton.Cancel)
    gate.set()
    assert rig.close()
    assert asked == []


def test_exports_are_proposed_apart_from_the_images(opened):
    source = opened.settings.last_folder
    opened.commands.export_png.trigger()
    dialog = opened.window.findChild(ExportDialog)
    assert not dialog.target.text().startswith(str(source))
    folder = opened.folder / "reports"
    folder.mkdir()
    dialog.target.setText(str(folder / "a.png"))
    with opened.qtbot.waitSignal(opened.controllers.exporting.exported):
        dialog.export_button.click()
    assert opened.settings.last_export_folder == folder
    assert opened.settings.last_folder == source
    opened.qtbot.waitUntil(lambda: opened.window.findChild(ExportDialog) is None)
    opened.commands.export_png.trigger()
    dialog = opened.window.findChild(ExportDialog)
    assert dialog.target.text().startswith(str(folder))
    dialog.reject()


def test_overwriting_replaces_what_was_confirmed(analysed, monkeypatch):
    target = analysed.folder / "a.png"
    target.write_text("old")

    def question(*_args):
        # The user looks around while the question is open.
        analysed.window.use.show_slice(0)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", question)
    jobs = []
    export = analysed.controllers.exporting._exporter.export
    monkeypatch.setattr(
        analysed.controllers.exporting._exporter, "export", lambda job: (jobs.append(job), export(job))[1]
    )
    with analysed.qtbot.waitSignal(analysed.controllers.exporting.exported):
        analysed.window.use.export(ExportRequest(kind="png", target=target))
    assert analysed.state.display.slice_index == 0
    assert [job.slices for job in jobs] == [(3,)]
    assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", WEIGHT_SUFFIXES)
def test_weight_files_are_known_everywhere(opened, monkeypatch, suffix):
    volume = opened.state.case.volume
    file = opened.folder / f"own{suffix.upper()}"
    file.touch()
    opened.drop(opened.viewport, file)
    opened.settle()
    assert opened.state.weights.chosen == (str(file),)
    assert opened.state.case.volume is volume
    filters = []
    monkeypatch.setattr(
        QFileDialog,
        "getOpenFileNames",
        lambda _parent, _title, _folder, kinds: (filters.append(kinds), ([], ""))[1],
    )
    opened.commands.load_weights.trigger()
    assert f"*{suffix}" in filters[0]
    assert parse(["--weights", str(file)]).weights == (str(file),)


def test_images_dropped_with_weights_are_opened(rig):
    file = rig.folder / "own.pth"
    rig.drop(rig.viewport, file, rig.case())
    rig.settle()
    assert rig.state.weights.chosen == (str(file),)
    assert rig.state.case.volume is not None


def test_a_path_that_is_gone_leaves_the_recent_list(rig):
    gone = rig.folder / "gone"
    rig.settings.add_recent(gone)
    rig.window.use.open_paths((gone,))
    rig.settle()
    assert rig.settings.recent == ()
    assert not rig.window.menus.recent_menu.isEnabled()


def test_a_broken_weight_file_leaves_the_mark_where_it_was(analysed):
    analysed.window.use.choose_weights(("nothing",))
    analysed.settle()
    assert "no weights" in analysed.window.message_bar.text.text()
    assert len(analysed.state.results.slices) == 7
    marked = [action for action in analysed.window.menus.weights_menu.actions() if action.isChecked()]
    assert [action.text() for action in marked] == ["&Default weights"]


def test_size_holds_after_a_maximised_session(make_app, monkeypatch):
    first = make_app()
    first.window.showMaximized()
    first.close()
    built = []

    def build_again(**_settings):
        built.append(build(settings=first.settings, engine=FakeEngine(), reader=FakeReader()))
        assert built[0].window.isMaximized()
        return built[0]

    monkeypatch.setattr(start_module, "build", build_again)
    monkeypatch.setattr(start_module, "Settings", lambda **_: first.settings)
    monkeypatch.setattr(QApplication, "exec", staticmethod(lambda: 0))
    assert start_module.execute(Options(size=(1300, 810))) == 0
    window = built[0].window
    assert not window.isMaximized()
    assert (window.width(), window.height()) == (1300, 810)


def test_real_masks_survive_dropped_maps_until_new_ones_are_wanted(real, monkeypatch):
    monkeypatch.setattr(feature_maps.within_budget, "__kwdefaults__", {"budget": 0})
    real.run_series()
    results, engine = real.state.results, real.controllers.running._engine
    assert [k for k, result in results.slices.items() if result.features] == [2]
    assert len(results.summaries) == 4
    real.window.use.show_slice(0)
    assert results.shown is not None
    detections = replace(real.state.thresholds.detections, score=0.0, nms_iou=None)
    needs = not engine.can_show(results.slices[0], detections)
    real.window.use.set_detections(detections)
    real.settle()
    assert needs
    assert results.slices.keys() == results.summaries.keys()
    assert 0 in results.slices
    assert all(engine.can_show(result, detections) for result in results.slices.values())
    assert any("must be run again" in text for text in real.texts)


def test_caution_is_shown_for_a_coronal_series(make_app):
    rig = make_app(engine=FakeEngine(), reader=FakeReader([make_volume(plane="coronal")]))
    rig.open()
    rig.run_slice()
    assert "this coronal series" in rig.window.message_bar.text.text()


def test_the_list_marks_the_open_series_when_another_cannot_be_read(make_app):
    volumes = [make_volume("one"), make_volume("second")]
    reader = FakeReader(volumes)
    rig = make_app(reader=reader)
    rig.open()
    series = rig.window.series.list

    def click(row):
        place = series.visualItemRect(series.item(row)).center()
        rig.qtbot.mouseClick(series.viewport(), Qt.MouseButton.LeftButton, pos=place)

    click(0)
    rig.settle()
    assert rig.state.case.volume is volumes[0]
    reader.gate = threading.Event()
    click(1)
    rig.qtbot.waitUntil(lambda: rig.state.run.kind == "open")
    assert series.currentRow() == 1
    rig.commands.stop.trigger()
    assert series.currentRow() == 0
    reader.gate.set()
    rig.settle()
    assert rig.state.case.volume is volumes[0]
    click(1)
    rig.settle()
    assert rig.state.case.volume is volumes[1]
    assert series.currentRow() == 1
