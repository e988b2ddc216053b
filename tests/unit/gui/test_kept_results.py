"""Results come back with their series and weights, and never with others."""

from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import FakeEngine, FakeReader, make_volume

from ctmasknet_gui.state.cases import Case, Cases, held_bytes
from model_core.base.geometry import Geometry
from model_core.base.volume import fingerprint


def show(rig, series_id):
    rig.controllers.opening.open_series(series_id)
    rig.settle()
    assert rig.state.case.volume.series_id == series_id


def choose(rig, *names):
    rig.controllers.weights.choose(names)
    rig.settle()
    assert rig.state.weights.chosen == names


def snapshot(rig):
    """What is known of the open volume, in words that can be compared."""
    results = rig.state.results
    return (
        {k: (r.series_id, r.weights_id) for k, r in results.slices.items()},
        results.summaries,
        results.scan,
        None if results.shown is None else results.shown.summary,
    )


@pytest.fixture
def rig(two_series):
    two_series.open()
    show(two_series, "one")
    return two_series


def test_a_series_has_its_results_at_once_on_return(rig):
    rig.controllers.display.show_slice(5)
    rig.controllers.running.run_slice()
    rig.settle()
    rig.controllers.selection.pick(2)
    before = snapshot(rig)
    assert before[3] is not None
    show(rig, "second")
    assert rig.state.results.slices == rig.state.results.summaries == {}
    assert rig.state.results.shown is rig.state.results.scan is None
    rig.run_all()
    second = snapshot(rig)
    show(rig, "one")
    assert rig.state.display.slice_index == 5, "where it was left"
    assert rig.state.selection.candidate == 2
    assert snapshot(rig) == before
    show(rig, "second")
    assert snapshot(rig) == second
    assert len(rig.engine.backbone_calls) == 1 + 5, "nothing ran twice"
    assert {key for key, _ in second[0].values()} == {"second"}


def test_a_run_goes_on_with_what_is_missing(rig):
    rig.controllers.running.run_slice()
    rig.settle()
    show(rig, "second")
    show(rig, "one")
    rig.run_all()
    assert sorted(rig.engine.backbone_calls) == list(range(7))
    assert sorted(rig.state.results.summaries) == list(range(7))


def test_closing_a_series_and_opening_the_path_again_brings_them_back(rig):
    rig.run_all()
    before = snapshot(rig)
    rig.controllers.opening.close_case()
    assert rig.state.results.slices == {}
    rig.open()
    show(rig, "one")
    assert snapshot(rig) == before


def test_weights_have_their_results_at_once_on_return(rig):
    choose(rig)
    rig.run_all()
    before = snapshot(rig)
    choose(rig, "other")
    assert rig.state.results.slices == {}
    rig.controllers.running.run_slice()
    rig.settle()
    choose(rig)
    assert snapshot(rig) == before
    choose(rig, "other")
    assert snapshot(rig)[0] == {3: ("one", "id-other")}
    show(rig, "second")
    assert rig.state.results.slices == {}
    choose(rig)
    assert rig.state.results.slices == {}, "those of the first weights are of the other series"
    show(rig, "one")
    assert snapshot(rig) == before


@pytest.mark.parametrize(
    "change",
    [
        {"voxels": np.zeros((7, 64, 80), np.int16)},
        {"unit": "values"},
        {"inverted": True},
        {"plane": "coronal"},
        {"geometry": Geometry(spacing_mm=(2.0, 0.8, 1.6), axes=np.eye(3))},
    ],
)
def test_a_file_that_changed_has_no_results(rig, change):
    rig.run_all()
    show(rig, "second")
    changed = replace(rig.reader.volumes[0], **change)
    rig.reader.volumes[0] = changed
    show(rig, "one")
    assert rig.state.case.volume is changed
    assert rig.state.results.slices == {}
    assert rig.state.results.shown is None


def test_thresholds_that_moved_meanwhile_hold(rig):
    rig.run_all()
    counted = {k: s.detections for k, s in rig.state.results.summaries.items()}
    show(rig, "second")
    thresholds = rig.controllers.thresholds
    thresholds.set_detections(replace(rig.state.thresholds.detections, score=0.9))
    rig.settle()
    show(rig, "one")
    rig.settle()
    results = rig.state.results
    assert sorted(results.summaries) == list(range(7))
    assert not results.updating
    assert results.scan is not None
    assert all(results.summaries[k].detections < counted[k] for k in range(1, 7))
    assert len(results.shown.detections) == results.summaries[3].detections
    thresholds.reset()
    rig.settle()
    assert {k: s.detections for k, s in results.summaries.items()} == counted
    assert len(rig.engine.backbone_calls) == 7


def test_leaving_while_summaries_follow_thresholds_keeps_no_mixture(rig):
    rig.run_all()
    counted = {k: s.detections for k, s in rig.state.results.summaries.items()}
    rig.controllers.thresholds.set_detections(replace(rig.state.thresholds.detections, score=0.9))
    assert rig.state.results.updating
    show(rig, "second")
    show(rig, "one")
    rig.settle()
    assert all(rig.state.results.summaries[k].detections < counted[k] for k in range(1, 7))
    assert not rig.state.results.updating


def test_maps_are_not_kept_and_masks_that_need_them_run_again(make_rig):
    engine = FakeEngine(maps=100)
    rig = make_rig(reader=FakeReader([make_volume("one"), make_volume("second", slices=5)]), engine=engine)
    rig.open()
    show(rig, "one")
    rig.run_all()
    assert all(result.features for result in rig.state.results.slices.values())
    show(rig, "second")
    show(rig, "one")
    assert not any(result.features for result in rig.state.results.slices.values())
    assert rig.state.results.shown is not None
    assert rig.texts == []
    rig.controllers.thresholds.set_detections(replace(rig.state.thresholds.detections, score=0.1))
    rig.settle()
    assert "must be run again" in rig.texts[-1]
    assert rig.state.results.shown is not None, "the visible slice runs by itself"
    assert rig.state.results.slices[3].features


def test_cases_are_values_of_a_series_under_weights(rig):
    choose(rig)
    rig.run_all()
    rig.controllers.opening.open_reference(rig.folder / "mask.nii")
    rig.settle()
    case = rig.state.open_case()
    choose(rig, "other")
    rig.controllers.running.run_slice()
    rig.settle()
    show(rig, "second")
    assert [(put.series_id, put.weights_id, len(put.slices)) for put in rig.state.cases] == [
        ("one", "id-fake", 7),
        ("one", "id-other", 1),
    ]
    assert {put.volume for put in rig.state.cases} == {put.reference for put in rig.state.cases} == {None}
    # What was taken before stays as it was.
    assert (case.volume.series_id, case.reference_name, len(case.slices)) == ("one", "mask.nii", 7)
    assert case.settings == (rig.state.thresholds.detections, rig.state.thresholds.evidence)
    assert rig.state.open_case().series_id == "second"


# -------------------------------------------------------------------------------------------- memory


def kept_of(volume, slices=3):
    engine = FakeEngine()
    pipeline = engine.load(())
    results = {k: engine.result(pipeline, volume, k) for k in range(slices)}
    return Case(volume.series_id, "w", volume, results, {}, None, slice_index=0).put_away()


def test_what_was_put_away_longest_ago_goes_first():
    volumes = [make_volume(name) for name in ("a", "b", "c")]
    kept = [kept_of(volume) for volume in volumes]
    size = sum(held_bytes(result) for result in kept[0].slices.values())
    store = Cases(budget=2 * size)
    for case in kept:
        store.put(case)
    assert [case.series_id for case in store] == ["b", "c"]
    assert store.take(volumes[0], "w") is None
    assert store.take(volumes[2], "w") is kept[2]
    assert store.take(volumes[2], "w") is None, "given back"
    assert store.take(volumes[1], "other") is None
    assert store.take(volumes[1], "w") is kept[1]


def test_masks_count_and_shared_candidates_count_once():
    volume = make_volume()
    result = kept_of(volume, 1).slices[0]
    alone = held_bytes(replace(result, evidence_candidates=None))
    assert held_bytes(result) == alone
    result.mask_cache[0] = np.zeros((28, 28), np.float32)
    assert held_bytes(result) == alone + 4 * 28 * 28


def test_fingerprints_see_every_voxel():
    volume = make_volume()
    changed = volume.voxels.copy()
    changed[6, 63, 79] += 1
    assert fingerprint(replace(volume, voxels=changed)) != fingerprint(volume)
    turned = np.ascontiguousarray(volume.voxels[:, :, ::-1])[:, :, ::-1]
    assert fingerprint(replace(volume, voxels=turned, title="another")) == fingerprint(volume)
