"""Intervals, calibration, RoI statistics and COCO's AP on cases with known answers."""

import numpy as np
import pytest

from model_core.base.errors import ExportError
from model_core.data import read_segmentation
from model_core.engine import calibrated
from model_core.measure.bootstrap import (
    group_means,
    interval,
    macro_interval,
    mean_interval,
    ratio_interval,
)
from model_core.measure.calibration import fit_temperature, reliability
from model_core.measure.coco import coco_average_precision, coco_image
from model_core.measure.output import json_ready, report_folder
from model_core.measure.roi_statistics import (
    SliceRois,
    count_summary,
    ks_test,
    roi_statistics,
    sample_per_class,
)
from model_core.measure.slices import with_grey_map


def test_interval_is_as_wide_as_the_patients_not_the_slices():
    rng = np.random.default_rng(1)
    effect = rng.normal(0.7, 0.1, 20)
    values = np.repeat(effect, 30)
    by_patient = mean_interval(values, [f"p{k}" for k in np.repeat(np.arange(20), 30)])
    by_slice = mean_interval(values, [f"s{k}" for k in range(600)])
    assert by_patient.value == by_slice.value == pytest.approx(effect.mean())
    expected = 2 * 1.96 * effect.std() / np.sqrt(20)
    assert by_patient.high - by_patient.low == pytest.approx(expected, rel=0.15)
    assert by_slice.high - by_slice.low < (by_patient.high - by_patient.low) / 3
    assert (by_patient.groups, by_patient.images) == (20, 600)


def test_intervals_of_too_little_are_absent():
    one = mean_interval([0.5, 0.7], ["a", "a"])
    assert one.value == pytest.approx(0.6)
    assert np.isnan(one.low)
    assert np.isnan(mean_interval([], []).value)
    assert np.isnan(ratio_interval([0, 0], [0, 0], ["a", "b"]).value)


def test_ratio_and_general_intervals_agree_with_the_mean():
    rng = np.random.default_rng(2)
    values = rng.random(60)
    groups = [f"p{k % 12}" for k in range(60)]
    fast = mean_interval(values, groups)
    slow = interval(lambda rows: float(values[rows].mean()), groups)
    assert slow.value == pytest.approx(fast.value)
    assert slow.low == pytest.approx(fast.low, abs=0.01)
    assert slow.high == pytest.approx(fast.high, abs=0.01)
    assert ratio_interval([1, 3], [2, 2], ["a", "b"]).value == 1.0


def test_macro_mean_counts_patients_once():
    assert macro_interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).value == 0.5
    assert group_means([1.0, np.nan, 0.5], ["a", "b", "a"]) == {"a": 0.75}
    assert np.isnan(macro_interval([], []).value)


def test_reliability_by_hand():
    found = reliability(np.array([0.05, 0.95, 0.95, 0.95, 1.0]), np.array([False, True, True, False, True]))
    assert found.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 4]
    assert found.share_right[-1] == 0.75
    assert found.ece == pytest.approx((0.05 + 4 * (0.9625 - 0.75)) / 5)
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, bool)).ece)


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(5)
    true = rng.random(20000)
    right = rng.random(20000) < true
    overconfident = calibrated(true, 0.5)
    found = fit_temperature(overconfident, right)
    assert found == pytest.approx(2.0, rel=0.05)
    before, after = (reliability(s, right).ece for s in (overconfident, calibrated(overconfident, found)))
    assert after < 0.02 < before
    assert fit_temperature(true, right) == pytest.approx(1.0, rel=0.05)
    assert np.isnan(fit_temperature(true, np.ones(20000, bool)))


def test_ks_direction_and_degenerate_samples():
    rng = np.random.default_rng(0)
    low, high = rng.poisson(3, 475).astype(float), rng.poisson(8, 475).astype(float)
    up, down = ks_test(high, low), ks_test(low, high)
    assert up["d"] > 0.6
    assert up["significant"]
    assert down["d"] < 0.01
    assert not down["significant"]
    shifted = ks_test(high + 2, low)
    assert shifted["d"] > up["d"]
    assert ks_test(high, np.zeros(475)) == {"d": None, "p": None, "significant": None}
    # Equal sizes of 475: p = exp(-475 d^2), as far as the papers' table can be checked.
    assert up["p"] == pytest.approx(np.exp(-475 * up["d"] ** 2), rel=0.3)


def test_count_summary_gives_spread_and_interval_of_the_mean():
    counts = np.array([0.0, 10.0] * 50)
    found = count_summary(counts)
    sd = counts.std(ddof=1)
    assert found["mean"] == 5.0
    assert found["sd_interval"] == pytest.approx([5 - 1.96 * sd, 5 + 1.96 * sd])
    assert found["mean_interval"] == pytest.approx([5 - 0.196 * sd, 5 + 0.196 * sd])
    assert found["min_q1_median_q3_max"] == [0, 0, 5, 10, 10]


def test_roi_statistics_count_strictly_above():
    rois = [
        SliceRois(np.array(scores, np.float32), np.full(len(scores), 100, np.float32))
        for scores in ([0.95, 0.6, 0.3], [0.95, 0.5, 0.1], [0.3], [])
    ]
    found = roi_statistics(rois, np.array([2, 2, 0, 0]), ("Control", "Other", "COVID-19"))
    assert found["slices"] == {"Control": 2, "COVID-19": 2}
    assert found["above"]["0.2"]["classes"]["COVID-19"]["mean"] == 2.5
    assert found["above"]["0.5"]["classes"]["COVID-19"]["mean"] == 1.5
    assert found["above"]["0.9"]["classes"]["COVID-19"]["mean"] == 1.0
    assert found["above"]["0.9"]["ks_tests"][0]["p"] is None
    assert sum(found["score_histogram"]["classes"]["COVID-19"]["all"]) == 6


def test_sample_is_balanced_and_repeatable():
    labels = np.repeat([0, 1, 2], [100, 5, 50])
    chosen = sample_per_class(labels, size=20, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [20, 5, 20]
    assert chosen.tolist() == sample_per_class(labels, size=20, seed=1).tolist()
    assert len(np.unique(chosen)) == 45


def squares(*places, size=40):
    masks = np.zeros((len(places), size, size), bool)
    for mask, (row, column, side) in zip(masks, places, strict=True):
        mask[row : row + side, column : column + side] = True
    return masks


def test_coco_pools_images_where_the_papers_average_them():
    pytest.importorskip("pycocotools")
    one = np.array([1])
    lesion = squares((2, 2, 20))
    right = coco_image(lesion, [0.9], one, lesion, one)
    empty = coco_image(squares(), [], np.zeros(0, int), squares(), np.zeros(0, int))
    false_alarm = coco_image(lesion, [0.95], one, squares(), np.zeros(0, int))
    missed = coco_image(squares(), [], np.zeros(0, int), lesion, one)
    assert coco_average_precision([right, empty], classes=1).mean == pytest.approx(1.0)
    # A better-scored false alarm on another image halves the precision; the papers' mean would be 1/2 too,
    # but two lesion-free images without detection would lift it and leave this.
    assert coco_average_precision([right, false_alarm, empty], classes=1).mean == pytest.approx(0.5)
    assert coco_average_precision([right, missed], classes=1).ap50 == pytest.approx(51 / 101)
    assert coco_average_precision([missed], classes=1).mean == 0.0
    assert np.isnan(coco_average_precision([empty], classes=1).mean)


def test_coco_matches_each_prediction_once_and_averages_classes():
    pytest.importorskip("pycocotools")
    twin = squares((2, 2, 20), (3, 2, 20))
    both = coco_image(twin[:1], [0.9], np.array([1]), twin, np.array([1, 1]))
    assert coco_average_precision([both], classes=1).ap50 == pytest.approx(51 / 101)
    two = squares((2, 2, 12), (20, 20, 12))
    image = coco_image(two, [0.9, 0.8], np.array([1, 1]), two, np.array([1, 2]))
    found = coco_average_precision([image], classes=2)
    assert found.by_class == (pytest.approx(1.0), pytest.approx(0.0))
    assert found.mean == pytest.approx(0.5)
    single = coco_average_precision([image], classes=3)
    assert np.isnan(single.by_class[2])
    assert single.mean == pytest.approx(0.5)


def test_json_has_no_nan():
    assert json_ready({"a": float("nan"), "b": [1.0, {"c": float("nan")}]}) == {
        "a": None,
        "b": [1.0, {"c": None}],
    }


def test_a_failed_report_leaves_nothing(tmp_path):
    target = tmp_path / "deep" / "report"

    def fail():
        with report_folder(target, overwrite=False) as folder:
            (folder / "report.json").write_text("{}")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list((tmp_path / "deep").iterdir()) == []
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with report_folder(tmp_path / "link", overwrite=False) as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / "a.png").write_bytes(b"x")
        (folder / "report.json").write_text("{}")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["figures", "report.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "link", "there"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match="is a file"), report_folder(tmp_path / "file", overwrite=True):
        pass
    with pytest.raises(ExportError), report_folder(tmp_path / "file" / "report", overwrite=True):
        pass


def test_grey_map_is_estimated_only_where_the_index_has_none(pairs_folder):
    known = read_segmentation(pairs_folder)
    assert with_grey_map(known, "window") == known
    index = pairs_folder / "index.tsv"
    assert with_grey_map(known, "estimate") == known  # a lung window that the index states is one
    index.write_text(index.read_text().replace("-1350", "-1200"))
    assert [i.low_hu for i in with_grey_map(read_segmentation(pairs_folder), "estimate")] == [-1200.0] * 3
    index.unlink()
    unknown = read_segmentation(pairs_folder)
    assert [i.low_hu for i in with_grey_map(unknown, "window")] == [-1350.0] * 3
    estimated = with_grey_map(unknown, "estimate")
    # The phantom really is in that window, so the estimate must come out near it;
    # on small slices it is rough.
    assert [i.low_hu for i in estimated] == pytest.approx([-1350.0] * 3, abs=250)
    assert [i.high_hu for i in estimated] == pytest.approx([150.0] * 3, abs=250)
