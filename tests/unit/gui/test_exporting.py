"""Exports one after another: what was confirmed, what was stopped, what is counted."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt

from ctmasknet_gui.controller.exporter import Exporter, without_arrays, without_free_text
from ctmasknet_gui.state.requests import ExportRequest
from model_core.base.errors import SettingsError
from model_core.base.volume import Window


@pytest.fixture
def gated(opened):
    opened.run_all()
    opened.exporter.gate = threading.Event()
    return opened


def test_the_confirmed_job_is_the_one_that_replaces_files(opened):
    opened.run_all()
    target = opened.folder / "a.png"
    target.write_text("old")
    exporting = opened.controllers.exporting
    with opened.qtbot.waitSignal(exporting.overwrite_asked) as asked:
        exporting.export(ExportRequest(kind="png", target=target))
    opened.settle()
    opened.controllers.display.step(2)
    opened.controllers.display.preset(4)
    job, existing = asked.args
    assert existing == (target,)
    assert target.read_text() == "old"
    with opened.qtbot.waitSignal(exporting.exported):
        exporting.replace_files(job)
    written = opened.exporter.jobs[0]
    assert written.overwrite
    assert written.slices == (3,)
    assert dataclasses.replace(written, overwrite=False).appearance == job.appearance
    assert written.results is job.results


def test_another_series_is_not_exported_in_place_of_the_one_asked_for(two_series):
    rig = two_series
    rig.open()
    exporting = rig.controllers.exporting
    request = ExportRequest(kind="png", target=rig.folder / "a.png", series_id="one")
    rig.controllers.opening.open_series("second")
    rig.settle()
    exporting.export(request)
    rig.settle()
    assert rig.exporter.jobs == []
    assert "meanwhile another series was opened" in rig.texts[-1]
    exporting.export(dataclasses.replace(request, series_id="second"))
    rig.settle()
    assert (rig.folder / "a.png").exists()


def test_findings_of_former_thresholds_are_not_exported(opened):
    opened.run_all()
    thresholds, results = opened.controllers.thresholds, opened.state.results
    thresholds.set_detections(dataclasses.replace(opened.state.thresholds.detections, score=0.99))
    assert results.updating
    exporting = opened.controllers.exporting
    exporting.export(ExportRequest(kind="png", target=opened.folder, slices="findings"))
    assert "findings are being updated" in opened.texts[-1]
    opened.settle()
    assert not results.updating
    exporting.export(ExportRequest(kind="png", target=opened.folder, slices="findings"))
    assert "None of the 7 analysed slices" in opened.texts[-1]
    assert opened.exporter.jobs == []


def test_the_selection_is_marked_on_the_visible_slice_only(opened):
    opened.run_all()
    opened.controllers.selection.pick(1)
    exporting = opened.controllers.exporting
    for index, selected in ((3, 1), (4, None)):
        with opened.qtbot.waitSignal(exporting.exported):
            exporting.export(
                ExportRequest(kind="png", target=opened.folder / f"{index}.png", slice_index=index)
            )
        assert opened.exporter.jobs[-1].slices == (index,)
        assert opened.exporter.jobs[-1].selected == selected
    exporting.export(ExportRequest(kind="plots", target=opened.folder / "p", slice_index=99))
    assert len(opened.exporter.jobs) == 2


def test_exports_run_one_after_the_other(gated):
    exporting = gated.controllers.exporting
    done = []
    exporting.exported.connect(done.append)
    paths = [gated.folder / f"{k}.png" for k in range(3)]
    for path in paths:
        exporting.export(ExportRequest(kind="png", target=path))
    assert len([text for text in gated.texts if "begins once" in text]) == 1, "told, but not piled up"
    gated.exporter.gate.set()
    gated.qtbot.waitUntil(lambda: len(done) == 3)
    assert done == [(path,) for path in paths]


def test_a_failed_export_does_not_hold_up_the_next(gated):
    exporting = gated.controllers.exporting
    exporting.export(ExportRequest(kind="png", target=gated.folder / "gone" / "a.png"))
    exporting.export(ExportRequest(kind="png", target=gated.folder / "b.png"))
    gated.exporter.gate.set()
    gated.qtbot.waitUntil((gated.folder / "b.png").exists)
    gated.settle()
    assert any("folder does not exist" in text for text in gated.texts)


def test_stop_tells_what_was_written_and_leaves_the_run(gated):
    folder = gated.folder / "out"
    folder.mkdir()
    gated.engine.gate = threading.Event()
    gated.state.results.summaries = {}
    gated.controllers.running.run_series()
    gated.qtbot.waitUntil(lambda: gated.state.run.kind == "run")
    request = ExportRequest(kind="png", target=folder, slices="range", first=0, last=4)
    gated.controllers.exporting.export(request)
    gated.qtbot.waitUntil(lambda: gated.exporter.jobs != [])
    assert gated.state.run.kind == "export"
    gated.controllers.stop()
    gated.qtbot.waitUntil(lambda: gated.texts != [])
    assert gated.texts == ["The export was stopped: 0 of 4 pictures are written."]
    assert gated.controllers.jobs.active("run")
    assert gated.state.run.kind == "run"
    gated.controllers.stop()
    assert not gated.controllers.jobs.active("run")


def test_stop_counts_the_files_that_are_there(gated):
    folder = gated.folder / "out"
    folder.mkdir()
    gated.exporter.gate.set()
    worker = gated.controllers.thread.worker

    def stop_at_second(_job, _item):
        if len(list(folder.iterdir())) >= 2:
            gated.controllers.thread.cancel("export")

    # In the worker's own thread, so that it stops exactly there.
    worker.produced.connect(stop_at_second, Qt.ConnectionType.DirectConnection)
    request = ExportRequest(kind="png", target=folder, slices="range", first=0, last=7)
    gated.controllers.exporting.export(request)
    gated.qtbot.waitUntil(lambda: any("stopped" in text for text in gated.texts))
    worker.produced.disconnect(stop_at_second)
    count = len(list(folder.iterdir()))
    assert gated.texts == [f"The export was stopped: {count} of 7 pictures are written."]
    assert 2 <= count < 7


def test_a_waiting_export_goes_on_when_the_one_before_is_stopped(gated):
    exporting = gated.controllers.exporting
    exporting.export(ExportRequest(kind="png", target=gated.folder / "a.png"))
    exporting.export(ExportRequest(kind="png", target=gated.folder / "b.png"))
    gated.qtbot.waitUntil(lambda: gated.exporter.jobs != [])
    gated.controllers.stop()
    gated.qtbot.waitUntil(lambda: len(gated.exporter.jobs) == 2)
    gated.exporter.gate.set()
    gated.settle()
    assert not (gated.folder / "a.png").exists()
    assert (gated.folder / "b.png").exists()


def test_the_count_told_is_that_of_the_job(opened):
    opened.controllers.running.run_slice()
    opened.settle()
    opened.exporter.gate = threading.Event()
    opened.controllers.exporting.export(ExportRequest(kind="csv", target=opened.folder / "a.csv"))
    opened.controllers.running.run_series()
    opened.qtbot.waitUntil(lambda: opened.exporter.jobs != [])
    opened.state.results.slices = dict.fromkeys(range(7), opened.state.results.slices[3])
    opened.exporter.gate.set()
    opened.settle()
    assert any("Only 1 of 7 slices are analysed" in text for text in opened.texts)


def test_rows_of_a_table_keep_no_masks_alive(opened):
    opened.run_all()
    shown = opened.state.results.shown
    bare = without_arrays(shown)
    assert bare.rois is shown.rois
    assert len(bare.detections) == len(shown.detections) > 0
    arrays = (bare.masks, bare.logit_map, bare.detections.mask_logits)
    assert [array.nbytes for array in arrays] == [0, 0, 0]
    assert not np.shares_memory(bare.masks, shown.masks)
    assert all(array.base is None for array in arrays)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("Lung", "Lung"), ("MEDIASTINUM", "MEDIASTINUM"), ("Auto", "Auto"), ("DOE JANE", ""), ("", "")],
)
def test_the_name_that_a_file_gives_a_window_is_in_no_picture_unless_asked(opened, monkeypatch, name, kept):
    """WindowCenterWidthExplanation is free text (PS3.3 C.11.2.1.2)."""
    from model_core import export

    seen = []
    monkeypatch.setattr(
        export, "render_slice", lambda *_, window, **__: seen.append(window) or np.zeros((4, 4, 3), np.uint8)
    )
    opened.state.display.window = Window(1400, -500, name)
    for number, identity in enumerate((False, True)):
        request = ExportRequest(kind="png", target=opened.folder / f"{number}.png", identity=identity)
        with opened.qtbot.waitSignal(opened.controllers.exporting.exported):
            opened.controllers.exporting.export(request)
        request.target.unlink()  # written by the fake
        (_, path) = Exporter(opened.engine).export(opened.exporter.jobs[-1])
        assert path == request.target
    assert seen == [Window(1400, -500, kept), Window(1400, -500, name)]
    assert without_free_text(Window(1400, -500, name)).name == kept


def test_a_figure_with_more_slices_than_a_page_holds_is_refused(opened):
    opened.run_all()
    exporting = opened.controllers.exporting
    exporting.export(ExportRequest(kind="figure", target=opened.folder / "a.pdf", slices="range", last=7))
    assert "room for 5 slices, not for 7" in opened.texts[-1]
    assert opened.exporter.jobs == []


@pytest.mark.parametrize("slices", ["range", "keys"])
def test_a_figure_says_how_many_slices_have_no_result(opened, slices):
    opened.state.display.slice_index = 2
    opened.controllers.running.run_slice()
    opened.settle()
    opened.controllers.key_images.take({1: "", 2: "", 5: ""})
    request = ExportRequest(kind="figure", target=opened.folder / "a.pdf", slices=slices, first=1, last=4)
    opened.controllers.exporting.export(request)
    opened.settle()
    (job,) = opened.exporter.jobs
    assert job.slices == (2,)
    assert "2 slices without a result are not in it." in opened.texts[-1]


def test_thresholds_that_are_compared_differ():
    with pytest.raises(SettingsError, match="two different"):
        ExportRequest(kind="nms_figure", target=Path("a.pdf"), nms=(0.5, 0.5))
