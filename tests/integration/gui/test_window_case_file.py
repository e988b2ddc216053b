"""A case that was saved opens as it was left, and a study opened again shows its findings at once."""

import json
import shutil
import stat
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import FakeEngine, FakeReader, make_volume
from PySide6.QtWidgets import QFileDialog

from ctmasknet_gui.controller.kept_results import ResultFiles
from model_core.base.asked import AskedAnswer, AskedRegion
from model_core.base.settings import DetectionSettings, EvidenceEdit


class ClassEngine(FakeEngine):
    """A run gives each slice its class too, as real networks do."""

    def result(self, pipeline, volume, index):
        found = super().result(pipeline, volume, index)
        return replace(found, verdict=self.judge(pipeline, found, pipeline.evidence, None))


@pytest.fixture
def opened(make_app):
    rig = make_app(engine=ClassEngine(), reader=FakeReader())
    rig.open()
    return rig


@pytest.fixture
def path(tmp_path):
    return tmp_path / "saved" / "here.ctmn"


@pytest.fixture
def save(path, monkeypatch):
    """Save the case of a window as a user does, and return the file."""

    def save(rig):
        path.parent.mkdir(exist_ok=True)
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path.with_suffix("")), ""))
        rig.commands.save_case.trigger()
        rig.settle()
        return path

    return save


def left(rig):
    """Everything that a case consists of."""
    state = rig.state
    display, results, thresholds = state.display, state.results, state.thresholds
    return {
        "slice": display.slice_index,
        "window": display.window,
        "flips": (display.inverted, display.flip_horizontal, display.flip_vertical),
        "zoom": (display.zoom, display.pan),
        "overlays": display.overlays,
        "thresholds": thresholds.values,
        "summaries": results.summaries,
        "scan": results.scan,
        "selected": state.selection.candidate,
        "key images": state.case.key_images,
        "shown": None if results.shown is None else results.shown.summary,
    }


def leave_somewhere(rig):
    """Analyse the series, edit, and look at a slice in an own way."""
    rig.run_series()
    use = rig.window.use
    use.show_slice(5)
    use.set_window(777.0, -123.0)
    use.toggle_key_image()
    use.note_key_image(1, "compare")
    use.toggle("flip_horizontal")
    use.toggle("boxes")
    use.set_zoom(3.5, (12.0, -7.0))
    use.set_detections(replace(rig.state.thresholds.detections, score=0.61))
    use.set_evidence(replace(rig.state.thresholds.evidence, score=0.2))
    rig.settle()
    use.pick(2)
    use.exclude((1, 3))
    rig.settle()
    thresholds = rig.controllers.thresholds
    asked = AskedRegion(
        box=(1.0, 2.0, 30.5, 40.0),
        proposal=(1.5, 2.0, 30.0, 41.0),
        answers=(
            AskedAnswer(
                label=1, score=0.25, logit=-1.5, deltas=(0.1, 0.2, 0.3, 0.4), box=(2.0, 3.0, 29.0, 39.0),
                mask_box=(2.0, 3.0, 29.0, 39.0),
                mask_logits=np.linspace(-3, 3, 784, dtype=np.float32).reshape(28, 28),
            ),
        ),
    )  # fmt: skip
    edits = rig.state.thresholds.edits
    thresholds.set_edits(edits.put(2, EvidenceEdit(only=frozenset({0, 4})).ask(asked)), "a question")
    rig.settle()
    use.pick(2)
    return left(rig)


def other_window(make_app, tmp_path, **ports):
    """A window of a program started anew, whose results are kept elsewhere."""
    folder = tmp_path / "another"
    folder.mkdir(exist_ok=True)
    rig = make_app(engine=ClassEngine(), reader=FakeReader(), **ports)
    rig.controllers.kept.files.folder = folder
    return rig


def test_a_saved_case_opens_as_it_was_left_on_another_machine(opened, make_app, tmp_path, save):
    before = leave_somewhere(opened)
    file = save(opened)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert "Doe" not in text
    assert "4711" not in text
    other = other_window(make_app, tmp_path)
    other.drop(other.window, file)
    other.settle()
    assert left(other) == before
    ((_, mine),) = [pair for pair in other.state.thresholds.edits.edits if pair[0] == 2]
    ((_, saved),) = [pair for pair in opened.state.thresholds.edits.edits if pair[0] == 2]
    (answer,), (original,) = mine.asked[0].answers, saved.asked[0].answers
    assert answer == original
    assert np.array_equal(answer.mask_logits, original.mask_logits)
    assert mine.asked[0].proposal == saved.asked[0].proposal
    assert sorted(other.engine.backbone_calls) == list(range(7))
    assert any("as it was left: all 7 slices" in text for text in other.texts)
    assert not other.commands.undo.isEnabled(), "nothing of it was done here"
    other.commands.restore_all.trigger()
    other.settle()
    assert other.state.results.summaries[5].edited is False


def test_only_the_slices_that_were_analysed_run(opened, make_app, tmp_path, save):
    opened.window.use.show_slice(2)
    opened.run_slice()
    file = save(opened)
    other = other_window(make_app, tmp_path)
    other.open(file)
    assert other.engine.backbone_calls == [2]
    assert sorted(other.state.results.slices) == [2]


def test_the_open_series_is_taken_where_it_is_that_of_the_case(analysed, save):
    file = save(analysed)
    volume = analysed.state.case.volume
    analysed.window.use.show_slice(0)
    analysed.open(file)
    assert analysed.state.case.volume is volume, "not read again"
    assert analysed.state.display.slice_index == 3
    assert len(analysed.engine.backbone_calls) == 7, "nor run again"


def test_a_series_moved_together_with_its_case_is_found(opened, make_app, tmp_path, save):
    opened.run_slice()
    save(opened)
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(tmp_path / "saved", moved / "saved")
    shutil.move(tmp_path / "case", moved / "case")
    other = other_window(make_app, tmp_path)
    other.open(moved / "saved" / "here.ctmn")
    assert other.state.case.volume is not None
    assert sorted(other.state.results.slices) == [3]


def test_a_series_that_is_gone_is_asked_for_and_the_case_goes_on_with_it(opened, make_app, tmp_path, save):
    before = leave_somewhere(opened)
    file = save(opened)
    shutil.move(tmp_path / "case", tmp_path / "elsewhere")
    other = other_window(make_app, tmp_path)
    other.open(file)
    assert other.state.case.volume is None
    assert any("is not there" in text for text in other.texts)
    other.open(tmp_path / "elsewhere")
    assert left(other) == before


def test_another_series_in_its_place_is_not_taken_for_it(opened, make_app, tmp_path, save):
    leave_somewhere(opened)
    file = save(opened)
    other = other_window(make_app, tmp_path)
    changed = make_volume()
    changed = replace(changed, voxels=changed.voxels + np.int16(1))
    other.reader.volumes[0] = changed
    other.open(file)
    assert any("its voxels are others" in text for text in other.texts)
    assert other.state.thresholds.edits.edits == ()
    assert other.engine.backbone_calls == []


def test_of_several_series_that_of_the_case_is_opened(make_app, tmp_path, save):
    volumes = [make_volume("one"), make_volume("second", slices=5)]
    rig = make_app(engine=FakeEngine(), reader=FakeReader(volumes))
    rig.open()
    rig.window.use.open_series("second")
    rig.settle()
    rig.run_slice()
    file = save(rig)
    other = other_window(make_app, tmp_path)
    # The same files elsewhere have another name.
    other.reader.volumes[:] = [volumes[0], replace(volumes[1], series_id="moved")]
    other.open(file)
    assert other.state.case.volume.series_id == "moved"
    assert sorted(other.state.results.slices) == [2]


def test_weights_that_are_others_are_told_and_edits_left_out(opened, make_app, tmp_path, save):
    leave_somewhere(opened)
    file = save(opened)
    document = json.loads(file.read_text())
    document["case"]["weights_id"] = "of-another-file"
    file.write_text(json.dumps(document))
    other = other_window(make_app, tmp_path)
    other.open(file)
    assert any("are not those of the case" in text for text in other.texts)
    assert other.state.thresholds.edits.edits == ()
    assert other.state.thresholds.detections.score == 0.61
    assert other.engine.backbone_calls == []


def test_weights_that_are_not_there_are_told(opened, make_app, tmp_path, save):
    leave_somewhere(opened)
    file = save(opened)
    document = json.loads(file.read_text())
    document["case"]["weights"][0]["name"] = "nothing"
    file.write_text(json.dumps(document))
    other = other_window(make_app, tmp_path)
    other.open(file)
    assert any("There are no weights" in text for text in other.texts)
    assert other.state.display.slice_index == 5, "what needs no weights is there"


def test_other_numbers_are_told(opened, make_app, tmp_path, save):
    opened.run_series()
    file = save(opened)
    document = json.loads(file.read_text())
    document["case"]["classes"] = [{"slice_number": 2, "logits": [0.0, 1.0]}]
    file.write_text(json.dumps(document))
    other = other_window(make_app, tmp_path)
    other.open(file)
    assert any("1 of 1 slices are not those of the case" in text for text in other.texts)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda case: case.clear(), "series is missing"),
        (lambda case: case["series"].update(size=[7, 64]), "size"),
        (lambda case: case["view"].update(slice_number=8), "beyond the 7 of its series"),
        (lambda case: case.update(key_images=[{"slice_number": 8}]), "beyond the 7 of its series"),
        (lambda case: case["view"].update(width=float("nan")), "width"),
        (lambda case: case["view"].update(curve="xyz"), "is damaged"),
        (lambda case: case.update(analysed=[[1, 10**12]]), "does not lie in"),
        (lambda case: case.update(edits=[{"slice_number": 1, "excluded": [[-5, 2]]}]), "does not lie in"),
        (lambda case: case["detections"].update(score=7), "score"),
    ],
)
def test_a_damaged_case_is_refused_with_what_is_wrong(opened, save, change, told):
    opened.run_slice()
    file = save(opened)
    document = json.loads(file.read_text())
    change(document["case"])
    file.write_text(json.dumps(document))
    before = left(opened)
    opened.open(file)
    assert told in opened.texts[-1]
    assert "here.ctmn" in opened.texts[-1]
    assert left(opened) == before


def test_a_case_from_before_there_were_key_images_opens(opened, save):
    file = save(opened)
    document = json.loads(file.read_text())
    del document["case"]["key_images"]
    file.write_text(json.dumps(document))
    opened.window.use.toggle_key_image()
    opened.open(file)
    assert list(opened.state.case.key_images) == [opened.state.display.slice_index], "of this computer"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no case file"),
        (b"\xff\xfe\x00", "no case file"),
        (b"[" * 100_000, "no case file"),
        (b"{}", "no case file of this program"),
        (b'{"schema_version": 99}', "later version"),
    ],
)
def test_what_is_no_case_is_told(rig, tmp_path, content, told):
    file = tmp_path / "x.ctmn"
    file.write_bytes(content)
    rig.open(file)
    assert told in rig.texts[-1]
    assert rig.state.case.catalogue is None


def test_in_privacy_mode_no_path_is_written(opened, tmp_path, save):
    opened.commands.privacy.trigger()
    text = save(opened).read_text()
    assert str(tmp_path) not in text
    assert "../case" not in text


# -------------------------------------------------------------------------------------------- kept results


def again(make_app, **engine):
    """A window of the program started again by the same user."""
    return make_app(engine=FakeEngine(**engine), reader=FakeReader())


def test_a_study_opened_again_shows_its_findings_without_a_run(analysed, make_app):
    summaries, scan = analysed.state.results.summaries, analysed.state.results.scan
    analysed.close()
    later = again(make_app, maps=100)
    later.open()
    assert later.engine.backbone_calls == []
    assert later.state.results.summaries == summaries
    assert later.state.results.scan == scan
    assert later.state.results.shown is not None
    files = list(later.controllers.kept.files.folder.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in files if file.suffix == ".npz"} == {0}


def test_results_of_other_weights_or_voxels_are_not_taken(analysed, make_app):
    analysed.close()
    later = again(make_app)
    later.window.use.choose_weights(("other",))
    later.settle()
    later.open()
    assert later.state.results.slices == {}
    later.window.use.choose_weights(())
    later.settle()
    assert len(later.state.results.slices) == 7
    volume = later.reader.volumes[0]
    later.reader.volumes[0] = replace(volume, voxels=volume.voxels + np.int16(1))
    later.open()
    assert later.state.results.slices == {}


def test_results_that_made_way_before_all_was_done_are_kept_too(make_app):
    first = make_app(engine=FakeEngine(), reader=FakeReader([make_volume("one"), make_volume("b", slices=5)]))
    first.open()
    first.window.use.open_series("one")
    first.settle()
    first.commands.run_series.trigger()
    first.qtbot.waitUntil(lambda: len(first.state.results.slices) == 7)
    first.window.use.open_series("b")
    first.settle()
    first.close()
    later = again(make_app)
    later.window.use.choose_weights(())
    later.settle()
    later.open()
    assert len(later.state.results.slices) == 7


def test_keeping_can_be_switched_off_and_what_is_kept_removed(analysed, make_app):
    folder = analysed.controllers.kept.files.folder
    assert list(folder.iterdir())
    analysed.commands.clear_kept.trigger()
    assert list(folder.iterdir()) == []
    assert "removed" in analysed.texts[-1]
    assert len(analysed.state.results.slices) == 7, "on screen they stay"
    analysed.commands.keep_results.trigger()
    assert not analysed.commands.keep_results.isChecked()
    analysed.close()
    later = again(make_app)
    assert not later.commands.keep_results.isChecked(), "remembered"
    later.open()
    later.run_series()
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_damaged_file_counts_as_none_and_goes(analysed, make_app):
    folder = analysed.controllers.kept.files.folder
    analysed.close()
    (file,) = folder.glob("*.npz")
    whole = file.read_bytes()
    for damage in (b"", whole[:500], whole[: len(whole) // 2] + b"x" * 50 + whole[len(whole) // 2 + 50 :]):
        file.write_bytes(damage)
        later = again(make_app)
        later.open()
        assert later.state.results.slices == {}
        assert later.texts == []
        assert not file.exists()
        later.close()


def test_the_ones_used_longest_ago_go_first(tmp_path):
    import os

    engine = FakeEngine()
    pipeline = engine.load(())
    volumes = [make_volume(name, slices=3) for name in ("a", "bb", "ccc")]
    files = ResultFiles(tmp_path / "results")
    from model_core.base.volume import fingerprint

    for number, volume in enumerate(volumes):
        results = {k: engine.result(pipeline, volume, k) for k in range(3)}
        engine.show(pipeline, volume, results[1], DetectionSettings(), pipeline.evidence)
        if number == 2:
            # Of the two that are there the second was used last; both and a third are too much.
            files = ResultFiles(files.folder, budget=files.size() + 100)
            for place, one in enumerate(files.folder.iterdir()):
                os.utime(one, (place, place))
            assert files.read(volumes[1], pipeline.weights_id)
        files.write(fingerprint(volume), results)
    assert [bool(files.read(volume, pipeline.weights_id)) for volume in volumes] == [False, True, True]
    back = files.read(volumes[2], pipeline.weights_id)
    assert all(result.series_id == "ccc" for result in back.values())
    assert np.array_equal(back[1].detection_candidates.boxes, results[1].detection_candidates.boxes)
    assert back[1].mask_cache.keys() == results[1].mask_cache.keys()


def test_real_results_come_back_to_the_last_bit(real, tmp_path):
    from model_core.engine.kept import read_results, write_results

    real.run_series()
    held = real.state.results.slices
    write_results(tmp_path / "kept.npz", held)
    back = read_results(tmp_path / "kept.npz", series_id="again")
    assert sorted(back) == sorted(held)
    for index, one in back.items():
        was = held[index]
        for name in ("proposals", "boxes", "deltas", "scores", "logits", "labels"):
            mine = getattr(one.detection_candidates, name)
            assert np.array_equal(mine, getattr(was.detection_candidates, name))
        assert one.evidence_candidates is one.detection_candidates
        assert np.array_equal(one.verdict.logits, was.verdict.logits)
        assert np.array_equal(one.verdict.batch.rows, was.verdict.batch.rows)
        assert np.array_equal(one.verdict.batch.kept, was.verdict.batch.kept)
        assert (one.verdict.settings, one.verdict.basis) == (was.verdict.settings, was.verdict.basis)
        assert (one.placement, one.evidence_placement) == (was.placement, was.evidence_placement)
        # More of them may be made ahead since.
        assert 0 < len(one.mask_cache) <= len(was.mask_cache)
        assert one.mask_cache.keys() <= was.mask_cache.keys()
        assert all(np.array_equal(one.mask_cache[k], was.mask_cache[k]) for k in one.mask_cache)
        assert (one.weights_id, one.unlike_training) == (was.weights_id, was.unlike_training)
