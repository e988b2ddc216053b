"""The eight changes of a picture are what they are called, and what a slice and a scan give after them."""

import copy
import dataclasses
import sys

import numpy as np
import pytest

from model_core.base.calibration import Calibration
from model_core.base.errors import SettingsError
from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.base.results import SliceResult, SliceSummary
from model_core.base.volume import Volume
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.engine.lungs import lungs_of
from model_core.explain import scan_stability, scan_verdict, stability, summarise
from model_core.export.slice_page import steady_words
from model_core.phantom import make_phantom
from model_core.read import load, scan

AXES = np.eye(3)


@pytest.fixture(scope="module")
def pipeline(tiny_weights):
    return load_pipeline([str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")])


def seen(pipeline, monkeypatch, volume, index, **more):
    """Return what comes out, and the pictures that were run."""
    pictures = []

    def watched(pipeline, volume, slices):
        pictures.append(volume.voxels[slices[0]].astype(int))
        yield from run(pipeline, volume, slices)

    monkeypatch.setattr(sys.modules[stability.__module__], "run", watched)
    (found,) = finish(stability(pipeline, volume, index, pipeline.detections, pipeline.evidence, **more))
    return found, dict(zip(found.changes, pictures, strict=True))


def volume_of(voxels, **fields):
    return Volume("s", "s", voxels.astype(np.int16), Geometry((2.0, 0.7, 0.7), (0, 0, 0), AXES), **fields)


def test_each_change_is_what_it_is_called(pipeline, monkeypatch):
    rng = np.random.default_rng(1)
    voxels = rng.integers(-900, 100, (3, 128, 128))
    volume = volume_of(voxels)
    found, pictures = seen(pipeline, monkeypatch, volume, 1)
    own = voxels[1]
    assert np.array_equal(pictures["one pixel right"][:, 1:], own[:, :-1])
    assert np.array_equal(pictures["one pixel left"][:, :-1], own[:, 1:])
    assert np.array_equal(pictures["one pixel down"][1:], own[:-1])
    assert np.array_equal(pictures["one pixel up"][:-1], own[1:])
    assert np.array_equal(pictures["+25 HU"], own + 25)
    assert np.array_equal(pictures["−25 HU"], own - 25)
    assert np.array_equal(pictures["mirror image"], own[:, ::-1])
    noise = pictures["noise of 20 HU"] - own
    assert np.std(noise) == pytest.approx(20, rel=0.05)
    assert abs(np.mean(noise)) < 1
    assert np.array_equal(volume.voxels, voxels), "the series stays as it is"
    assert found.logits.shape == (8, 3)
    assert found.ml(found.lesion_mm2[0]) == pytest.approx(found.lesion_mm2[0] * 2 / 1000), "2 mm apart"
    assert len(np.unique(found.logits.round(6), axis=0)) > 4, "the network saw them"
    assert found.ill == (), "weights without a calibration"
    again, _ = seen(pipeline, monkeypatch, volume, 1)
    assert np.array_equal(again.logits, found.logits)


@pytest.mark.slow
def test_greys_stay_greys(pipeline, monkeypatch):
    voxels = np.random.default_rng(2).integers(0, 256, (2, 64, 64))
    _, pictures = seen(pipeline, monkeypatch, volume_of(voxels, unit="grey"), 0)
    assert all(picture.min() >= 0 and picture.max() <= 255 for picture in pictures.values())
    assert np.array_equal(pictures["+25 HU"], np.minimum(voxels[0] + 4, 255))


def test_values_of_no_known_scale_are_not_shifted(pipeline, monkeypatch):
    voxels = np.random.default_rng(3).integers(0, 4000, (2, 64, 64))
    found, pictures = seen(pipeline, monkeypatch, volume_of(voxels, unit="values"), 1)
    assert not any("25" in name for name in pictures)
    assert len(found.lesion_mm2) == 6
    assert found.changes[-1] == "noise of 2% of the spread", "HU mean nothing here"
    assert "25 HU" not in steady_words(found)


@pytest.mark.slow
def test_outside_the_lungs_no_change_gives_a_verdict(pipeline, monkeypatch):
    ill = Calibration(slope=1.0, bias=0.0, ill_classes=(1, 2), control_rate=0.0, control_limit=0.1)
    card = dataclasses.replace(pipeline.cards[-1], calibration=ill)
    own = copy.copy(pipeline)
    own.cards = (*pipeline.cards[:-1], card)
    volume, _ = make_phantom(slices=20, size=128)
    lungs = finish(lungs_of(volume))[-1]
    inside, outside = lungs.slices[0], next(k for k in range(20) if lungs.has_lung(k) is False)
    (with_lung,) = finish(stability(own, volume, inside, own.detections, own.evidence))
    (without,) = finish(stability(own, volume, outside, own.detections, own.evidence))
    assert len(with_lung.ill) == 8
    assert (without.ill, without.ill_range) == ((), None)
    assert "before the edit" in steady_words(with_lung, edited=True)


ILL = Calibration(slope=1.0, bias=0.0, ill_classes=(1, 2), control_rate=0.0, control_limit=0.1)


@pytest.fixture(scope="module")
def calibrated(pipeline):
    own = copy.copy(pipeline)
    own.cards = (*pipeline.cards[:-1], dataclasses.replace(pipeline.cards[-1], calibration=ILL))
    return own


def summaries_of(pipeline, volume, slices, detections):
    results = (one for one in run(pipeline, volume, slices) if isinstance(one, SliceResult))
    return [summarise(pipeline, volume, one, detections, pipeline.evidence) for one in results]


@pytest.mark.slow
def test_a_scan_is_told_by_lung_slices_ten_mm_apart(calibrated):
    volume, _ = make_phantom(slices=48, size=64)  # 6 mm apart
    lungs = finish(lungs_of(volume))[-1]
    inside = [k for k in range(48) if lungs.has_lung(k)][10:13]
    detections = dataclasses.replace(calibrated.detections, score=0.0)
    own = summaries_of(calibrated, volume, [0, *inside], detections)
    job = scan_stability(calibrated, volume, own, detections, calibrated.evidence)
    *steps, found = list(job)
    assert [step.total for step in steps] == [24] * 24
    assert found.slices == tuple(inside[::2]), "those that the verdict counts; none outside the lungs"
    assert len(found.changes) == len(found.lesion_ml) == len(found.ill) == len(found.verdicts) == 8
    whole = scan_verdict(own, basis="trained", calibration=ILL, volume=volume)
    # The same by hand: all of the volume one pixel to the right.
    moved = np.pad(volume.voxels, ((0, 0), (0, 0), (1, 0)), mode="edge")[:, :, :-1]
    other = dataclasses.replace(volume, voxels=np.ascontiguousarray(moved))
    after = summaries_of(calibrated, other, inside, detections)
    ratio = sum(s.lesion_mm2 for s in after) / sum(s.lesion_mm2 for s in own[1:])
    assert ratio not in (0, 1)
    assert found.lesion_ml[0] == pytest.approx(whole.lesion_ml * ratio)
    assert found.own_ill == sum(s.ill for s in own if s.slice_index in found.slices)
    assert found.ill[0] == sum(s.ill for s in after if s.slice_index in found.slices)
    low, high = found.ml_range(whole.lesion_ml)
    assert low <= whole.lesion_ml <= high


@pytest.fixture(scope="module")
def one_result(calibrated):
    volume, _ = flat(1)
    (result,) = (one for one in run(calibrated, volume, [0]) if isinstance(one, SliceResult))
    return result


@pytest.fixture
def told(calibrated, monkeypatch, one_result):
    """Return what is found where the network gives the same of every slice that is changed in one way."""
    return lambda *asked: _told(calibrated, monkeypatch, one_result, *asked)


def _told(calibrated, monkeypatch, one_result, volume, own, after):
    def result(_pipeline, _volume, slices):
        yield dataclasses.replace(one_result, slice_index=slices[0])

    def summary(_pipeline, other, result, *_settings):
        change = "brighter" if other.voxels[result.slice_index].mean() > -880 else "other"
        return dataclasses.replace(own[0], slice_index=0, **after.get(change, {}))

    module = sys.modules[stability.__module__]
    monkeypatch.setattr(module, "summarise", summary)
    monkeypatch.setattr(module, "run", result)
    job = scan_stability(calibrated, volume, own, calibrated.detections, calibrated.evidence)
    (found,) = finish(job)
    return found


def flat(count=13, **changes):
    """Return a volume 10 mm apart of one value, and what is known of its slices: no lesion, none ill."""
    volume = volume_of(np.full((count, 32, 32), -900))
    geometry = dataclasses.replace(volume.geometry, spacing_mm=(10.0, 1.0, 1.0))
    fields = {"detections": 0, "lesion_px": 0, "lesion_mm2": 0.0, "lung": True, "ill_probability": 0.1}
    known = [SliceSummary(k, probabilities=(0.9, 0.1, 0.1), **{**fields, **changes}) for k in range(count)]
    return dataclasses.replace(volume, geometry=geometry), known


def test_where_nothing_is_marked_before_what_appears_counts(told):
    volume, own = flat()
    own += [dataclasses.replace(own[0], slice_index=13, lung=False, lesion_mm2=1e6)]
    marked = {"detections": 1, "lesion_px": 50, "lesion_mm2": 50.0}
    found = told(volume, own, {"brighter": marked})
    ml = dict(zip(found.changes, found.lesion_ml, strict=True))
    assert ml.pop("+25 HU") == pytest.approx(13 * 50 * 10 / 1000)
    assert set(ml.values()) == {0.0}
    assert (found.own_verdict, found.turned) == ("control", (("+25 HU", "uncertain"),))
    assert found.ml_range(0.0) == (0.0, 6.5)


def test_slices_with_much_of_the_volume_stand_for_themselves_alone(told):
    volume, own = flat(26, detections=1, lesion_px=10, lesion_mm2=10.0)
    volume = dataclasses.replace(
        volume, geometry=dataclasses.replace(volume.geometry, spacing_mm=(5.0, 1.0, 1.0))
    )
    own[3] = dataclasses.replace(own[3], lesion_mm2=750.0)  # of 1000 mm2, between those 10 mm apart
    found = told(volume, own, {"brighter": {"lesion_mm2": 5.0}, "other": {"lesion_mm2": 20.0}})
    assert found.slices == tuple(range(0, 26, 2))
    ml = dict(zip(found.changes, found.lesion_ml, strict=True))
    assert ml["+25 HU"] == pytest.approx((25 * 5 + 5) * 5 / 1000)
    assert ml["mirror image"] == pytest.approx((25 * 20 + 20) * 5 / 1000)


def test_a_verdict_that_turns_is_told(told):
    marked = {"detections": 1, "lesion_px": 900, "lesion_mm2": 900.0, "ill_probability": 0.9}
    volume, own = flat(**marked)
    gone = {"lesion_px": 300, "lesion_mm2": 300.0, "ill_probability": 0.2}
    found = told(volume, own, {"brighter": gone})
    assert (found.own_verdict, found.turned) == ("ill", (("+25 HU", "uncertain"),))
    assert (found.own_ill, found.ill_range) == (13, (0, 13))
    assert found.ml_range(117.0) == pytest.approx((39.0, 117.0))


def test_without_distances_there_is_no_volume_and_at_most_forty_slices(told):
    volume, own = flat(60)
    geometry = dataclasses.replace(volume.geometry, spacing_mm=(None, 1.0, 1.0))
    found = told(dataclasses.replace(volume, geometry=geometry), own, {})
    assert len(found.slices) == 40
    assert (found.slices[0], found.slices[-1]) == (0, 59)
    assert (found.lesion_ml, found.ml_range(1.0)) == ((), None)


def test_there_must_be_a_verdict(pipeline, calibrated):
    volume, own = flat()
    outside = [dataclasses.replace(one, lung=False) for one in own]
    for weights, slices in ((pipeline, own), (calibrated, outside), (calibrated, [])):
        with pytest.raises(SettingsError, match="no verdict"):
            finish(scan_stability(weights, volume, slices, weights.detections, weights.evidence))


@pytest.mark.slow
@pytest.mark.shared_data
def test_the_volume_of_a_real_scan_moves_by_less_than_a_tenth(shared_data):
    own = load_pipeline([])
    folder = shared_data / "C_ct_dicom_series/siemens_scope_covid_P001"
    whole = finish(load(finish(scan(folder))[-1].series[0]))[-1]
    volume = dataclasses.replace(whole, voxels=whole.voxels[91:98].copy(), slice_positions_mm=None)
    detections = own.detections
    known = [dataclasses.replace(s, lung=True) for s in summaries_of(own, volume, range(7), detections)]
    (found,) = finish(scan_stability(own, volume, known, detections, own.evidence))
    ml = sum(s.lesion_mm2 for s in known) * 2 / 1000
    moved = dict(zip(found.changes, found.lesion_ml, strict=True))
    assert found.slices == (0, 5)
    assert all(abs(moved[name] / ml - 1) < 0.1 for name in moved if name.startswith(("one", "+", "−")))
