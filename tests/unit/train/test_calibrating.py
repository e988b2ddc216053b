"""From logits of patients left out to "ill or not": slope, bias, false alarms, kinds, what is unlike."""

import dataclasses

import numpy as np
import pytest

from model_core.base.calibration import Calibration, ScanCheck, TrainingCloud
from model_core.base.errors import DataError, SettingsError
from model_core.engine.novelty import FEATURES, distance
from model_core.measure.calibration import brier, fit_logistic, share_limits
from model_core.train.calibrating import (
    REFERENCES,
    LeftOut,
    calibrate,
    fit_cloud,
    kinds_apart,
    references_of,
)
from model_core.train.roi_rows import RoiRows


def left_out(count=400, slope=2.0, bias=-1.0, seed=0, source="mosmed_ct0", **rows):
    """Logits whose odds of pneumonia are exp(slope * value + bias), half of the sources' slices ill."""
    rng = np.random.default_rng(seed)
    value = rng.normal(0, 1.5, count)
    ill = rng.random(count) < 1 / (1 + np.exp(-(slope * value + bias)))
    logits = np.stack((np.zeros(count), np.full(count, -9.0), value), axis=1)
    data = RoiRows(
        np.zeros((count, 4, 5), np.float32),
        np.where(ill, 2, 0),
        (source,) * count,
        tuple(map(str, range(count))),
        **rows,
    )
    return LeftOut(logits, data, (2,))


def test_slope_and_bias_are_found_again():
    part = left_out(4000)
    calibration, found = calibrate([part])
    # Ill and controls weigh the same: the bias is that of as many of both.
    truth = part.data.ill > 0.5
    shift = np.log((~truth).sum() / truth.sum())
    assert calibration.slope == pytest.approx(2.0, rel=0.1)
    assert calibration.bias == pytest.approx(-1.0 + shift, abs=0.15)
    assert found["fitted_on"] == {"slices": 4000, "patients": 4000, "left_out_of_the_detector": False}
    own = found["by_source"]["mosmed"]
    assert own["brier"] < own["brier_of_base_rate"]
    low, high = own["calibration_slope_interval"]
    assert low < own["calibration_slope"] < high
    rate = found["controls_that_look_ill"]["mosmed_ct0"]
    assert calibration.control_rate == rate["share"]
    assert calibration.control_limit == rate["share_interval"][1] > rate["share"]
    low = calibration.ill_probability((0.0, -9.0, -3.0))
    high = calibration.ill_probability((0.0, -9.0, 3.0))
    assert low < 0.05 < 0.95 < high
    assert calibration.ill_probability((0.0, 0.0, -1e6)) == 0.0
    assert calibration.ill_probability((0.0, 0.0, 1e6)) == 1.0


def test_slices_that_the_detector_saw_do_not_calibrate_where_others_are_enough():
    part = left_out(400)
    unseen = np.arange(400) < 200
    # What it saw is told apart far better: nothing to learn from.
    value = np.where(unseen, part.logits[:, 2], np.where(part.data.labels == 2, 9.0, -9.0))
    logits = np.stack((part.logits[:, 0], part.logits[:, 1], value), axis=1)
    apart, found = calibrate([LeftOut(logits, part.data, (2,), unseen)])
    alone, _ = calibrate([part.at(unseen)])
    assert found["fitted_on"]["left_out_of_the_detector"] is True
    assert (apart.slope, apart.bias) == (alone.slope, alone.bias)
    assert (apart.control_rate, apart.control_limit) == (alone.control_rate, alone.control_limit)
    few = calibrate([LeftOut(logits, part.data, (2,), np.arange(400) < 12)])[1]
    assert few["fitted_on"]["left_out_of_the_detector"] is False


def test_labels_of_studies_and_other_patients_do_not_calibrate():
    sure, weak = left_out(300), left_out(300, seed=5, source="mosmed_ct1")
    other = dataclasses.replace(sure.data, labels=np.ones(300, np.int64), sources=("soares",) * 300)
    both, found = calibrate([sure, weak, LeftOut(-sure.logits, other, (2,))])
    alone, _ = calibrate([sure])
    assert (both.slope, both.bias) == (alone.slope, alone.bias)
    assert "soares" not in found["controls_that_look_ill"]


def test_the_source_with_most_false_alarms_limits():
    quiet, loud = left_out(300), left_out(300, seed=2, source="ho_healthy")
    loud = LeftOut(loud.logits + np.array([0.0, 0.0, 1.5]), loud.data, (2,))
    calibration, found = calibrate([quiet, loud])
    limits = {name: rate["share_interval"][1] for name, rate in found["controls_that_look_ill"].items()}
    assert calibration.control_limit == limits["ho_healthy"] == max(limits.values())


def test_a_source_of_one_control_limits_nothing():
    large, tiny = left_out(300), left_out(60, seed=3, source="clinic")
    one = np.zeros(60, bool)
    one[np.flatnonzero(tiny.data.labels == 0)[:1]] = True
    calibration, found = calibrate([large, tiny.at(one)])
    rates = found["controls_that_look_ill"]
    assert rates["clinic"]["share_interval"][1] > 0.9
    assert calibration.control_limit == rates["mosmed_ct0"]["share_interval"][1]


def test_false_alarms_of_a_source_in_two_parts_count_together():
    first, second = left_out(300), left_out(200, seed=4)
    _, both = calibrate([first, second])
    (rate,) = both["controls_that_look_ill"].values()
    controls = sum(int((part.data.labels == 0).sum()) for part in (first, second))
    assert rate["slices"] == controls
    _, turned = calibrate([second, first])
    assert turned["controls_that_look_ill"] == both["controls_that_look_ill"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (left_out(12), "at least 10 patients"),
        (left_out(300, slope=-2.0), "do not tell ill"),
        (left_out(300, patients=("one",) * 300), "at least 10 patients"),
    ],
)
def test_without_patients_or_a_difference_there_is_no_calibration(part, message):
    with pytest.raises(DataError, match=message):
        calibrate([part])


def kinds(patients, *, apart):
    """Slices of confirmed common pneumonia and COVID-19, three of each patient."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 2], 3 * patients)
    logits = rng.normal(0, 1, (len(labels), 3))
    logits[:, 2] += apart * (labels == 2)
    names = tuple(f"{label}-{k // 3}" for k, label in enumerate(labels))
    rows = np.zeros((len(labels), 4, 5), np.float32)
    return LeftOut(logits, RoiRows(rows, labels, ("COVIDx-CT",) * len(labels), names, names), (1, 2))


def test_kinds_are_told_only_where_patients_show_it():
    assert kinds_apart(kinds(20, apart=4.0))["told"] is True
    assert kinds_apart(kinds(20, apart=0.0))["told"] is False
    few = kinds_apart(kinds(2, apart=9.0))
    assert (few["auc"], few["told"]) == (1.0, False)
    assert "auc_interval" not in few
    assert kinds_apart(left_out()) is None
    told = kinds(20, apart=4.0)
    assert kinds_apart(LeftOut(told.logits, told.data, (2,))) is None, (
        "class 1 of these weights is no pneumonia"
    )
    assert kinds_apart(LeftOut(told.logits[:, :2], told.data, (1,))) is None
    places = np.where(told.data.labels == 2, "COVIDx-CT", "elsewhere")
    apart = dataclasses.replace(told.data, sources=tuple(places.tolist()))
    assert kinds_apart(LeftOut(told.logits, apart, (1, 2))) is None, "no source has both kinds"


def test_what_lies_far_from_all_sources_is_unlike_the_training():
    rng = np.random.default_rng(1)
    count = 120
    features = rng.normal(0, 1, (count, len(FEATURES)))
    features[:, 1] = features[:, 0] + rng.normal(0, 0.05, count)  # two that go together
    sources = tuple(("mosmed_ct0", "soares", "ho_healthy")[k % 3] for k in range(count))
    data = RoiRows(
        np.zeros((count, 4, 5), np.float32), np.zeros(count, np.int64), sources,
        tuple(map(str, range(count))), features=features,
    )  # fmt: skip
    cloud, shares = fit_cloud([data])
    assert set(shares) == {"mosmed", "soares", "ho"}
    assert 0.0 < np.mean(list(shares.values())) <= 0.06
    assert distance(cloud, np.zeros(len(FEATURES))) < cloud.limit
    assert distance(cloud, np.full(len(FEATURES), 5.0)) > cloud.limit
    along, across = np.zeros(len(FEATURES)), np.zeros(len(FEATURES))
    along[:2], across[:2] = 2.0, (2.0, -2.0)
    assert distance(cloud, across) > 1.3 * distance(cloud, along)
    parts = [data.at(np.arange(count) % 3 == k) for k in range(3)]
    assert fit_cloud(parts)[0].limit == pytest.approx(cloud.limit, rel=0.02)
    with pytest.raises(DataError, match="two sources"):
        fit_cloud([data.at(np.arange(0, count, 3))])


def test_a_logistic_fit_of_values_that_tell_all_apart_ends():
    slope, bias = fit_logistic(np.array([-1.0, -2.0, 1.0, 2.0]), np.array([False, False, True, True]))
    assert 0 < slope < 20
    assert bias == pytest.approx(0.0, abs=1e-3)
    assert np.isnan(fit_logistic(np.ones(3), np.ones(3, bool))[0])


def test_brier_score_and_limits_by_hand():
    assert brier(np.array([0.9, 0.2]), np.array([True, False])) == pytest.approx((0.01 + 0.04) / 2)
    assert np.isnan(brier(np.zeros(0), np.zeros(0, bool)))
    low, high = share_limits(1, 10)  # table of Clopper and Pearson
    assert (round(low, 4), round(high, 4)) == (0.0025, 0.4450)
    assert share_limits(0, 10) == (0.0, pytest.approx(0.3085, abs=1e-4))
    assert share_limits(10, 10)[1] == 1.0


@pytest.mark.parametrize(
    "values",
    [
        {"slope": 0.0},
        {"control_rate": 0.3},
        {"control_limit": 1.2},
        {"ill_classes": ()},
        {"ill_classes": (0,)},
    ],
)
def test_calibrations_that_cannot_be_are_refused(values):
    fields = {"slope": 1.0, "bias": 0.0, "ill_classes": (2,), "control_rate": 0.1, "control_limit": 0.2}
    with pytest.raises(SettingsError):
        Calibration(**{**fields, **values})


def test_checks_and_clouds_that_contradict_themselves_are_refused():
    with pytest.raises(SettingsError, match="5 of 4"):
        ScanCheck(scans=4, right=5, low=0.1, high=0.9)
    square = ((1.0, 0.0), (0.0, 1.0))
    with pytest.raises(SettingsError, match="2 features"):
        TrainingCloud(features=("a", "b"), mean=(0.0,), scale=(1.0, 1.0), precision=square, limit=1.0)
    with pytest.raises(SettingsError, match="above 0"):
        TrainingCloud(features=("a", "b"), mean=(0.0, 0.0), scale=(1.0, 0.0), precision=square, limit=1.0)


def control_rows(patients, size=6):
    """Slices of these patients, whose best score is their place; every second is ill."""
    count = 2 * len(patients)
    rows = np.zeros((count, 2 * size, 5), np.float32)
    rows[..., 0] = 0.001
    rows[:, 0, 0] = (1 + np.arange(count)) / 256
    twice = tuple(name for name in patients for _ in range(2))
    names = tuple(map(str, range(count)))
    return RoiRows(rows, np.tile([0, 2], len(patients)), ("ho_healthy",) * count, names, twice)


def test_references_are_control_slices_with_patients_alike():
    patients = ("few",) * 5 + ("many",) * 60
    found = references_of(control_rows(patients), size=6)
    assert (found.slices, found.size, found.patients) == (REFERENCES, 6, 2)
    assert found.sources == ("ho_healthy",)
    places = found.batches[:, 0, 0] * 256 - 1
    assert (places % 2 == 0).all()  # those that are not ill
    assert len(set(places.tolist())) == REFERENCES
    assert (places < 10).sum() == 5
    # Spread over all slices of a patient.
    assert places.max() == 128


def test_fewer_control_slices_are_no_references():
    assert references_of(control_rows(("a",) * (REFERENCES - 1)), size=6) is None
