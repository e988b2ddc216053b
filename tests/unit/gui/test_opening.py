"""What stays of the open series while something else is opened, and what does not."""

import dataclasses
import queue
import threading
from pathlib import Path

import numpy as np
import pytest
from gui_fakes import FakeReader, make_volume, warning

from ctmasknet_gui.controller.script import Options, ScriptController
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state.display import LUNG, PRESETS
from ctmasknet_gui.state.requests import ExportRequest
from model_core.base.errors import ReadError
from model_core.base.jobs import Progress
from model_core.base.volume import Catalogue, FileReport, PartialVolume


class GatedReader(FakeReader):
    """Reads series and masks only while its gates are open; "cut" series cannot be read."""

    def __init__(self, *volumes):
        super().__init__(list(volumes) or [make_volume("one"), make_volume("second", slices=7)])
        self.gate, self.labels = threading.Event(), threading.Event()
        self.gate.set()
        self.labels.set()
        self.loads = []
        self.reports = ()

    def scan(self, path, *more):
        for item in super().scan(path, *more):
            yield dataclasses.replace(item, files=self.reports) if isinstance(item, Catalogue) else item

    def load(self, entry):
        self.loads.append(entry.series_id)
        for item in super().load(entry):
            if entry.series_id == "cut" and not hasattr(item, "done"):
                raise ReadError("The series is cut off.")
            yield item

    def read_labels(self, path, volume):
        assert self.labels.wait(60)
        return super().read_labels(path, volume)


@pytest.fixture
def rig(make_rig):
    rig = make_rig(reader=GatedReader(make_volume("one"), make_volume("second"), make_volume("cut")))
    rig.open()
    return rig


def test_a_mask_read_for_one_series_is_not_laid_over_another(rig):
    rig.reader.labels.clear()
    volume = rig.state.case.volume
    rig.controllers.opening.open_reference(Path("mask.nii"))
    take = rig.controllers.jobs._active[max(rig.controllers.jobs._active)].handlers.produced
    rig.controllers.opening.open_series("second")
    rig.reader.labels.set()
    rig.settle()
    assert rig.state.case.volume.series_id == "second"
    # Even a mask that comes in spite of the cancelled job is told apart by its volume.
    take(np.ones(volume.voxels.shape, np.uint8))
    assert rig.state.case.reference is None
    assert rig.state.case.reference_name == ""


def test_what_a_stopped_opening_left_out_is_not_told_of_another(rig):
    rig.reader.gate.clear()
    path = rig.folder / "notes.txt"
    path.write_text("x")
    rig.reader.reports = (FileReport(str(path), "error", "not an image"),)
    rig.controllers.opening.open_paths([path, rig.folder / "case"], choose_best=True)
    rig.qtbot.waitUntil(lambda: rig.state.case.opening == "one")
    # What can be opened is remembered, not what comes first.
    assert rig.settings.recent[0] == rig.folder / "case"
    with rig.qtbot.waitSignal(rig.controllers.opening.cancelled):
        rig.controllers.stop()
    rig.reader.gate.set()
    rig.settle()
    rig.controllers.opening.open_series("second")
    rig.settle()
    assert rig.state.case.volume.series_id == "second"
    assert not any("notes.txt" in text for text in rig.texts)


def test_a_series_without_a_tilt_says_so_when_it_is_to_be_corrected(rig):
    volume = rig.state.case.volume
    rig.reader.straighten = lambda entry: entry
    rig.controllers.opening.correct_tilt()
    rig.settle()
    assert rig.state.case.volume is volume
    assert "no tilt to correct" in rig.texts[-1]


def test_a_demo_shows_its_reference_mask(rig):
    rig.state.display.reference = False
    rig.controllers.opening.open_demo()
    rig.settle()
    assert rig.state.display.reference


def test_the_next_series_opens_the_right_way_round(rig):
    display = rig.state.display
    display.inverted = display.flip_horizontal = display.flip_vertical = True
    display.cine = True
    rig.controllers.display.file_window()
    assert display.window.name == "File's own"
    rig.controllers.opening.open_series("second")
    rig.settle()
    switches = (display.inverted, display.flip_horizontal, display.flip_vertical, display.cine)
    assert switches == (False, False, False, False)
    assert display.window == LUNG


def test_presets_stay_and_windows_by_hand_do_not(rig):
    rig.controllers.display.preset(3)
    rig.controllers.opening.open_series("second")
    rig.settle()
    assert rig.state.display.window == PRESETS[1]
    rig.controllers.display.set_window(PRESETS[1].width + 1, 0)
    rig.controllers.opening.open_series("one")
    rig.settle()
    assert rig.state.display.window == LUNG


def test_opening_that_fails_leaves_run_and_results(rig):
    rig.engine.gate = threading.Event()
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    for name in ("broken", "empty"):
        (rig.folder / name).mkdir()
        with rig.qtbot.waitSignal(rig.controllers.opening.failed):
            rig.controllers.opening.open_paths([rig.folder / name])
        assert rig.controllers.jobs.active("run")
    rig.engine.gate.set()
    rig.settle()
    assert len(rig.state.results.slices) == 7


def test_an_export_goes_on_while_another_series_is_opened(rig):
    rig.exporter.gate = threading.Event()
    rig.controllers.exporting.export(ExportRequest(kind="png", target=rig.folder / "a.png"))
    rig.qtbot.waitUntil(lambda: rig.exporter.jobs != [])
    rig.controllers.opening.open_series("second")
    assert rig.controllers.jobs.active("export")
    rig.exporter.gate.set()
    rig.settle()
    assert (rig.folder / "a.png").exists()
    assert rig.exporter.jobs[0].volume.series_id == "one"
    assert rig.state.case.volume.series_id == "second"


def test_warnings_of_the_open_series_outlive_a_failed_opening(make_rig):
    rig = make_rig(reader=GatedReader(make_volume(problems=(warning(),)), make_volume("second")))
    rig.open()
    rig.open("broken")
    assert "missing" in rig.texts[0]
    rig.controllers.opening.open_series("second")
    rig.settle()
    assert rig.texts == []


# --------------------------------------------------------------------------------- choice of a series


def test_a_series_that_is_being_read_is_not_read_again(rig):
    rig.reader.gate.clear()
    for _ in range(3):
        rig.controllers.opening.open_series("second")
        assert rig.state.case.opening == "second"
    rig.reader.gate.set()
    rig.settle()
    assert rig.reader.loads == ["one", "second"]
    assert rig.state.case.opening == ""


def test_choosing_the_open_series_again_calls_the_other_off(rig):
    volume = rig.state.case.volume
    rig.reader.gate.clear()
    rig.controllers.opening.open_series("second")
    rig.controllers.opening.open_series("one")
    assert rig.state.case.opening == ""
    rig.reader.gate.set()
    rig.settle()
    assert rig.state.case.volume is volume
    assert rig.reader.loads.count("one") == 1


def test_a_failed_or_cancelled_series_leaves_the_shown_one(rig):
    volume = rig.state.case.volume
    rig.controllers.opening.open_series("cut")
    rig.settle()
    assert "cut off" in rig.texts[-1]
    assert (rig.state.case.opening, rig.state.case.volume) == ("", volume)
    rig.reader.gate.clear()
    rig.controllers.opening.open_series("second")
    rig.qtbot.waitUntil(lambda: "second" in rig.reader.loads)
    rig.controllers.stop()
    assert (rig.state.case.opening, rig.state.case.volume) == ("", volume)
    rig.controllers.opening.open_series("second")
    rig.reader.gate.set()
    rig.settle()
    assert rig.state.case.volume.series_id == "second"


def test_the_only_series_of_a_path_counts_as_being_read(make_rig):
    rig = make_rig(reader=GatedReader(make_volume("one")))
    rig.reader.gate.clear()
    (rig.folder / "case").mkdir()
    rig.controllers.opening.open_paths([rig.folder / "case"])
    rig.qtbot.waitUntil(lambda: rig.state.case.opening == "one")
    rig.controllers.opening.open_series("one")
    rig.reader.gate.set()
    rig.settle()
    assert rig.reader.loads == ["one"]
    assert rig.state.case.volume is not None


# ------------------------------------------------------------------------------------------- settings


def test_a_recent_path_is_forgotten_when_it_cannot_be_opened(rig):
    for name, stays in (("broken", False), ("empty", False), ("gone", False), ("case", True)):
        path = rig.folder / name
        rig.settings.add_recent(path)
        if name != "gone":
            path.mkdir(exist_ok=True)
        rig.controllers.opening.open_paths([path])
        rig.settle()
        assert (path in rig.settings.recent) == stays, name


def test_start_does_not_look_at_remembered_paths(tmp_path, monkeypatch):
    settings = Settings(tmp_path / "s.ini")
    share = Path("/net/dead/share")
    settings.add_recent(share / "case")
    settings.last_folder = share
    settings.last_export_folder = share / "out"

    def hang(*_args, **_kwargs):
        raise AssertionError("a dead network share was asked")

    for name in ("exists", "is_dir", "is_file", "stat"):
        monkeypatch.setattr(Path, name, hang)
    assert settings.recent == (share / "case",)
    assert settings.last_folder == share
    assert settings.last_export_folder == share / "out"


def test_exports_go_to_a_folder_of_their_own(tmp_path, monkeypatch):
    settings = Settings(tmp_path / "s.ini")
    settings.last_folder = tmp_path / "source"
    assert settings.last_export_folder != settings.last_folder
    monkeypatch.setattr("ctmasknet_gui.settings.QStandardPaths.writableLocation", lambda _place: "")
    assert settings.last_export_folder == Path.home()
    monkeypatch.setattr(
        "ctmasknet_gui.settings.QStandardPaths.writableLocation", lambda _place: str(tmp_path)
    )
    assert settings.last_export_folder == tmp_path
    settings.last_export_folder = tmp_path / "reports"
    assert settings.last_export_folder == tmp_path / "reports"


def test_what_is_opened_instead_of_what_was_asked_for_at_the_start_runs_nothing(rig):
    """--slice and --run hold for the path of the command line; stopped, they are forgotten."""
    controllers, said = rig.controllers, []
    script = ScriptController(
        rig.state,
        Options(paths=(rig.folder / "case",), slice_index=200, run=True),
        jobs=controllers.jobs,
        opening=controllers.opening,
        case_files=controllers.case_files,
        running=controllers.running,
        weights=controllers.weights,
        display=controllers.display,
        grab=lambda path: True,
    )
    script.leave.connect(lambda code, text: said.append((code, text)))
    rig.reader.gate.clear()
    script.start()
    rig.qtbot.waitUntil(lambda: rig.state.case.opening == "one")
    controllers.stop()
    rig.reader.gate.set()
    controllers.opening.open_series("second")
    rig.settle()
    assert rig.state.case.volume.series_id == "second"
    assert said == []
    assert rig.engine.backbone_calls == []


# ------------------------------------------------------------------------- looked at while it is read


class GradualReader(GatedReader):
    """Shows a series from its middle slice on, and reads each further slice when it is told to."""

    def __init__(self, *volumes):
        super().__init__(*volumes)
        self.steps = queue.SimpleQueue()
        self.partial = None

    def load(self, entry):
        volume = next(v for v in self.volumes if v.series_id == entry.series_id)
        ready = np.zeros(volume.slices, bool)
        whole = dataclasses.replace(volume, problems=())
        self.partial = PartialVolume(whole, ready, volume.slices // 2)
        ready[volume.slices // 2] = True
        try:
            yield self.partial
            while (step := self._next()) != "end":
                if step == "cut":
                    raise ReadError("The series is cut off.")
                elif step is None:
                    yield Progress(int(ready.sum()), volume.slices, "Reading slices")
                else:
                    ready[step] = True
                    yield self.partial
            yield next(v for v in self.volumes if v.series_id == entry.series_id)
        finally:
            self.closed.append(entry.series_id)

    def _next(self):
        try:
            return self.steps.get(timeout=0.01)
        except queue.Empty:
            return None


@pytest.fixture
def gradual(make_rig):
    """A series of which only the middle slice is read yet."""
    rig = make_rig(reader=GradualReader(make_volume("one", slices=9), make_volume("second")))
    rig.path = rig.folder / "case"
    rig.path.mkdir()

    def begin(series_id=None):
        rig.reader.partial = None
        if series_id is None:
            rig.controllers.opening.open_paths([rig.path], choose_best=True)
        else:
            rig.controllers.opening.open_series(series_id)
        rig.qtbot.waitUntil(lambda: rig.state.case.partial is not None)

    rig.begin = begin
    begin()
    yield rig
    rig.reader.steps.put("end")


def test_a_series_is_in_view_before_all_of_it_is_read(gradual):
    case, display = gradual.state.case, gradual.state.display
    assert case.volume is None
    assert case.in_view.series_id == "one"
    assert display.slice_index == 4
    assert not case.unread(4)
    gradual.controllers.display.step(2)
    assert display.slice_index == 6
    assert case.unread(6)
    assert case.partial.wanted == 6
    gradual.controllers.display.last()
    assert display.slice_index == 8


def test_nothing_is_done_with_a_series_that_is_half_read(gradual):
    gradual.controllers.running.run_series()
    gradual.controllers.running.run_slice()
    assert not gradual.controllers.jobs.active("run")
    assert gradual.state.case.lungs.inside == ()
    assert gradual.state.open_case() is None
    window = gradual.state.display.window
    gradual.controllers.display.show_slice(0)
    gradual.controllers.display.auto_window()  # its voxels mean nothing yet
    assert gradual.state.display.window == window


def test_who_looks_at_a_series_goes_on_when_all_of_it_is_read(gradual):
    display = gradual.state.display
    gradual.controllers.display.show_slice(2)
    gradual.controllers.display.set_zoom(3.0, (5.0, 5.0))
    gradual.controllers.display.preset(3)
    gradual.reader.steps.put("end")
    gradual.settle()
    case = gradual.state.case
    assert case.volume is gradual.reader.volumes[0]
    assert case.partial is None
    assert (display.slice_index, display.zoom, display.window) == (2, 3.0, PRESETS[1])


def test_slices_that_are_left_out_in_the_end_do_not_move_the_visible_one(gradual):
    whole = gradual.reader.volumes[0]
    names = tuple("abcdefghi")
    partial = dataclasses.replace(gradual.reader.partial.volume, slice_names=names)
    keep = [0, 2, 4, 5, 6, 7]
    final = dataclasses.replace(
        whole, voxels=whole.voxels[keep], slice_names=tuple(names[k] for k in keep), problems=(warning(),)
    )
    gradual.state.case.partial.volume = partial
    gradual.controllers.display.show_slice(5)
    gradual.reader.volumes[0] = final
    gradual.reader.steps.put("end")
    gradual.settle()
    assert final.slice_names[gradual.state.display.slice_index] == "f"
    assert warning().text in " ".join(gradual.texts)


@pytest.mark.parametrize("way", ["cancel", "cut"])
def test_a_series_that_is_called_off_half_read_gives_the_former_one_back(gradual, way):
    gradual.reader.steps.put("end")
    gradual.settle()
    former = gradual.state.case.volume
    gradual.controllers.display.show_slice(7)
    gradual.run_all()
    gradual.begin("second")
    assert gradual.state.case.volume is None
    assert gradual.state.results.slices == {}
    if way == "cancel":
        gradual.controllers.stop()
    else:
        gradual.reader.steps.put("cut")
    gradual.settle()
    assert gradual.state.case.volume is former
    assert gradual.state.case.partial is None
    assert gradual.state.display.slice_index == 7
    assert set(gradual.state.results.slices) == set(range(9))
    assert ("cut off" in " ".join(gradual.texts)) == (way == "cut")


def test_a_series_that_is_closed_half_read_leaves_nothing(gradual):
    gradual.controllers.opening.close_case()
    gradual.settle()
    assert gradual.state.case.in_view is None
    assert gradual.state.case.catalogue is None


def test_a_run_is_stopped_by_what_is_there_and_not_before(gradual):
    gradual.reader.steps.put("end")
    gradual.settle()
    gradual.engine.gate = threading.Event()
    gradual.controllers.running.run_series()
    gradual.qtbot.waitUntil(lambda: gradual.controllers.jobs.active("run"))
    gradual.controllers.opening.open_series("second")
    gradual.engine.gate.set()
    gradual.qtbot.waitUntil(lambda: gradual.reader.partial.volume.series_id == "second")
    assert gradual.state.case.volume.series_id == "one"
    gradual.reader.steps.put("end")
    gradual.settle()
    assert gradual.state.case.volume.series_id == "second"
