"""Case files and kept results while something else goes on: a run, weights being loaded, another series."""

import json
import os
import threading
import time
from dataclasses import replace

import pytest
from gui_fakes import FakeEngine, FakeReader, make_card, make_volume
from PySide6.QtWidgets import QFileDialog, QMessageBox

from ctmasknet_gui.controller.jobs import Handlers
from ctmasknet_gui.controller.kept_results import ResultFiles
from ctmasknet_gui.state.privacy import shown_text
from ctmasknet_gui.worker import Priority
from model_core.base.jobs import Progress
from model_core.base.volume import fingerprint


class SlowLoading(FakeEngine):
    """Networks take their time to load, as real ones do."""

    hold = None

    def load(self, names):
        if self.hold is not None:
            assert self.hold.wait(60)
        return super().load(names)


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Save the case of a window as a user does, and return the file."""

    def save(rig, name="here.ctmn"):
        path = tmp_path / "saved" / name
        path.parent.mkdir(exist_ok=True)
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
        rig.commands.save_case.trigger()
        rig.settle()
        return path

    return save


def test_a_case_with_kept_results_opens_as_it_was_left_while_its_weights_are_loaded(analysed, make_app, save):
    use = analysed.window.use
    use.set_detections(replace(analysed.state.thresholds.detections, score=0.61))
    use.exclude((1, 3))
    analysed.settle()
    before = analysed.state.thresholds.values
    file = save(analysed)
    analysed.close()
    engine = SlowLoading(known={(): (make_card(),)})
    engine.hold = threading.Event()
    later = make_app(engine=engine, reader=FakeReader())
    later.window.use.open_paths((file,))
    jobs = later.controllers.jobs
    later.qtbot.waitUntil(lambda: later.state.case.volume is not None)
    later.qtbot.waitUntil(lambda: not jobs.active("case") and not jobs.active("recall"))
    engine.hold.set()
    later.settle()
    assert later.state.thresholds.values == before
    assert len(later.state.results.slices) == 7
    assert later.engine.backbone_calls == []
    assert later.engine.loads == [()]


def test_a_case_of_an_earlier_version_under_other_weights_opens_as_it_was_left(make_app, save):
    first = make_app(engine=FakeEngine(), reader=FakeReader())
    first.window.use.choose_weights(("other",))
    first.settle()
    first.open()
    first.run_series()
    first.window.use.set_detections(replace(first.state.thresholds.detections, score=0.61))
    first.settle()
    file = save(first)
    first.close()
    document = json.loads(file.read_text("utf-8"))
    document["case"]["fast"] = True  # a fast analysis, without the mirror image
    file.write_text(json.dumps(document), "utf-8")
    later = make_app(engine=FakeEngine(), reader=FakeReader())
    later.open()
    later.run_slice()
    later.open(file)
    assert later.state.weights.chosen == ("other",)
    assert later.state.thresholds.detections.score == 0.61
    assert not any("are not those of the case" in text for text in later.texts)


def test_a_slice_without_lung_that_was_run_by_hand_is_in_the_case_again(make_app, tmp_path, save):
    first = make_app(engine=FakeEngine(no_lung={0, 1}), reader=FakeReader())
    first.open()
    first.window.use.show_slice(1)
    first.run_slice()
    assert sorted(first.state.results.slices) == [1]
    file = save(first)
    later = make_app(engine=FakeEngine(no_lung={0, 1}), reader=FakeReader())
    later.controllers.kept.files.folder = tmp_path / "another"
    later.open(file)
    assert sorted(later.state.results.slices) == [1]


def test_what_was_selected_in_a_case_is_not_selected_on_another_slice_or_series(make_app, tmp_path, save):
    volumes = [make_volume("one"), make_volume("second", slices=5)]
    first = make_app(engine=FakeEngine(), reader=FakeReader(volumes))
    first.open()
    first.window.use.open_series("one")
    first.settle()
    first.run_series()
    first.window.use.show_slice(4)
    first.window.use.pick(2)
    file = save(first)
    elsewhere = (lambda use: use.show_slice(1), lambda use: use.open_series("second"))
    for number, leave in enumerate(elsewhere):
        engine = FakeEngine(gate=threading.Event())
        later = make_app(engine=engine, reader=FakeReader(volumes))
        later.controllers.kept.files.folder = tmp_path / f"another{number}"
        later.window.use.open_paths((file,))
        later.qtbot.waitUntil(lambda later=later: later.controllers.jobs.active("run"))
        leave(later.window.use)
        engine.gate.set()
        later.settle()
        assert later.state.selection.candidate is None
        later.close()


def test_kept_results_outlive_a_run_of_one_slice_before_they_were_there(analysed, make_app):
    analysed.close()
    engine = SlowLoading()
    engine.hold = threading.Event()
    later = make_app(engine=engine, reader=FakeReader())
    later.window.use.open_paths((later.case(),))
    later.qtbot.waitUntil(lambda: later.state.case.volume is not None)
    later.commands.run_slice.trigger()
    engine.hold.set()
    later.settle()
    assert len(later.state.results.slices) == 7
    later.close()
    again = make_app(engine=FakeEngine(), reader=FakeReader())
    again.open()
    assert len(again.state.results.slices) == 7


def test_kept_results_outlive_that_some_are_forgotten_under_other_thresholds(tmp_path):
    engine = FakeEngine()
    pipeline, volume = engine.load(()), make_volume()
    files = ResultFiles(tmp_path / "results")
    results = {k: engine.result(pipeline, volume, k) for k in range(7)}
    files.write(fingerprint(volume), results)
    files.write(fingerprint(volume), {2: results[2]})
    assert sorted(files.read(volume, pipeline.weights_id)) == list(range(7))


def test_saving_neither_stops_a_case_from_opening_nor_is_stopped_by_it(analysed, save, tmp_path):
    file = save(analysed)
    second = tmp_path / "saved" / "second.ctmn"
    analysed.window.use.show_slice(0)
    analysed.controllers.case_files.save(second)
    analysed.window.use.open_paths((file,))
    analysed.settle()
    assert second.is_file()
    assert analysed.state.display.slice_index == 3
    second.unlink()
    analysed.window.use.show_slice(0)
    analysed.window.use.open_paths((file,))
    analysed.controllers.case_files.save(second)
    analysed.settle()
    assert analysed.state.display.slice_index == 3
    assert second.is_file()


def test_a_case_is_saved_though_the_window_is_closed_at_once(analysed, tmp_path):
    def busy():
        for _ in range(100):
            time.sleep(0.01)
            yield Progress(0, 0)

    jobs = analysed.controllers.jobs
    jobs.submit("other", busy, Handlers(), priority=Priority.ASKED, visible=False, beside=True)
    analysed.controllers.case_files.save(tmp_path / "last.ctmn")
    assert analysed.close()
    assert (tmp_path / "last.ctmn").is_file()


@pytest.mark.parametrize("answer", [QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Yes])
def test_a_case_of_the_name_that_was_completed_is_replaced_only_where_that_is_wanted(
    analysed, tmp_path, monkeypatch, answer
):
    there = tmp_path / "here.ctmn"
    there.write_text("precious")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "here"), ""))
    asked = []

    def question(*arguments, **_):
        asked.append(arguments[2])
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    analysed.commands.save_case.trigger()
    analysed.settle()
    assert "here.ctmn" in asked[0]
    assert (there.read_text() == "precious") is (answer == QMessageBox.StandardButton.Cancel)


def test_in_privacy_mode_the_place_of_a_series_that_is_gone_names_nobody(make_app, tmp_path, save):
    first = make_app(engine=FakeEngine(), reader=FakeReader())
    home = tmp_path / "Smith, O'Brien" / "chest"
    home.mkdir(parents=True)
    first.open(home)
    first.run_slice()
    file = save(first)
    home.rename(tmp_path / "moved")
    first.close()
    later = make_app(engine=FakeEngine(), reader=FakeReader())
    later.open(file)
    assert any(str(home) in text for text in later.texts)
    later.commands.privacy.trigger()
    (message,) = [m for m in later.state.messages.messages if "is not there" in m.text]
    text = shown_text(message.text, later.state)
    assert "Smith" not in text
    assert "Brien" not in text
    assert text.endswith("Open it from where it is now: the case goes on with it.")


def test_a_series_opened_by_its_case_is_called_as_before(analysed, make_app, save):
    file = save(analysed)
    root = analysed.state.case.catalogue.root
    analysed.close()
    later = make_app(engine=FakeEngine(), reader=FakeReader())
    later.open(file)
    assert later.state.case.catalogue.root == root
    assert len(later.settings.recent) == len(set(map(os.path.realpath, later.settings.recent))) == 2


def test_a_run_of_the_series_asked_for_while_other_weights_are_loaded_runs_under_them(make_app):
    engine = SlowLoading()
    rig = make_app(engine=engine, reader=FakeReader())
    rig.open()
    rig.run_series()
    engine.hold = threading.Event()
    rig.window.use.choose_weights(("other",))
    rig.commands.run_series.trigger()
    engine.hold.set()
    rig.settle()
    assert {result.weights_id for result in rig.state.results.slices.values()} == {"id-other"}
    assert len(rig.state.results.slices) == 7


def test_saving_opens_no_series_that_a_lost_case_waits_for(make_app, tmp_path, save):
    first = make_app(engine=FakeEngine(), reader=FakeReader([make_volume("lost", slices=5)]))
    first.open()
    file = save(first)
    first.close()
    (tmp_path / "case").rename(tmp_path / "moved")
    volumes = [make_volume("one"), make_volume("second", slices=5)]
    later = make_app(engine=FakeEngine(), reader=FakeReader(volumes))
    later.open(later.case("others"))
    later.window.use.open_series("one")
    later.settle()
    later.open(file)
    assert any("is not there" in text for text in later.texts)
    mine = save(later, "mine.ctmn")
    assert later.state.case.volume.series_id == "one"
    assert mine in later.settings.recent


def test_what_a_run_found_is_kept_though_the_window_is_closed_in_the_midst_of_it(make_app):
    class Slowing(FakeEngine):
        def run(self, pipeline, volume, slices):
            if len(self.backbone_calls) >= 3 and self.gate is None:
                self.gate = threading.Event()
            yield from super().run(pipeline, volume, slices)

    rig = make_app(engine=Slowing(), reader=FakeReader())
    rig.open()
    rig.commands.run_series.trigger()
    rig.qtbot.waitUntil(lambda: len(rig.state.results.slices) == 3)
    assert rig.close()
    later = make_app(engine=FakeEngine(), reader=FakeReader())
    later.open()
    assert len(later.state.results.slices) == 3
