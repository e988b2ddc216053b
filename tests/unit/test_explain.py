"""Masks on the slice, the RoI table and the class of the scan."""

import dataclasses

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from model_core.base.calibration import Calibration
from model_core.base.errors import SettingsError
from model_core.base.geometry import Geometry
from model_core.base.results import (
    Candidates,
    Detections,
    Placement,
    RoiBatch,
    SliceSummary,
    probability_text,
)
from model_core.base.settings import DetectionSettings
from model_core.base.volume import Volume
from model_core.data import instances
from model_core.explain import (
    label_map,
    logit_map,
    mask_pixels,
    mask_probability,
    other_rules,
    roi_table,
    scan_verdict,
    shown_lesions,
    touching_regions,
)

# Logits up to about 12, some roundings of a 32-bit float apart.
LAST_DIGITS = {"rtol": 0, "atol": 4e-6}


def _detections(boxes, maps, labels=None, **settings):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    return Detections(
        indices=np.arange(n),
        boxes=boxes,
        scores=np.linspace(0.9, 0.5, n).astype(np.float32),
        labels=np.asarray(labels if labels is not None else [1] * n),
        mask_boxes=boxes,
        mask_logits=np.asarray(maps, np.float32).reshape(-1, 28, 28),
        settings=DetectionSettings(**settings),
    )


@pytest.fixture
def random_detections():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-15, 70, (40, 2))
    sizes = rng.uniform(18, 60, (40, 2))
    return _detections(np.hstack([corners, corners + sizes]), rng.normal(0, 3, (40, 28, 28)))


def pasted_by_torchvision(maps, detections, shape):
    return paste_masks_in_image(maps[:, None], torch.from_numpy(detections.boxes), shape)[:, 0].numpy()


def test_masks_equal_torchvision_pasting(random_detections):
    shape = (77, 96)
    full = pasted_by_torchvision(torch.from_numpy(random_detections.mask_logits), random_detections, shape)
    assert np.array_equal(mask_pixels(random_detections, shape), full > 0)


def test_the_probability_of_a_pixel_is_the_best_of_its_detections(random_detections):
    shape = (77, 96)
    chances = torch.from_numpy(random_detections.mask_logits).sigmoid()
    full = pasted_by_torchvision(chances, random_detections, shape)
    wanted = (full * random_detections.scores[:, None, None]).max(axis=0)
    np.testing.assert_allclose(mask_probability(random_detections, shape), wanted, atol=1e-6)
    assert not mask_probability(_detections([], []), shape).any()


def test_touching_detections_are_one_lesion():
    whole, split = np.full((28, 28), 4.0), np.full((28, 28), 4.0)
    split[:, 6:14] = -4.0  # the left piece is the smaller one
    none = np.full((28, 28), -4.0)
    boxes = [(10, 10, 30, 30), (60, 10, 88, 30), (31, 31, 50, 50), (28, 5, 40, 20), (60, 50, 88, 70),
             (55, 50, 66, 70), (5, 60, 25, 80)]  # fmt: skip
    maps, labels = [whole, split, whole, whole, split, whole, none], [1, 1, 1, 2, 1, 1, 1]
    found = _detections(boxes, maps, labels)
    single, masks = shown_lesions(found, (90, 100))
    assert single is found
    assert np.array_equal(masks, mask_pixels(found, (90, 100)))

    lesions, joined = shown_lesions(_detections(boxes, maps, labels, join_touching=True), (90, 100))
    # 0 and 2 touch at a corner; 3 is another class; 6 has no pixel. 1 is in two pieces that stay together;
    # the smaller piece of 4 lies in what 5 marks, so it is part of that.
    assert lesions.indices.tolist() == [0, 1, 3, 4, 5]
    assert lesions.labels.tolist() == [1, 1, 2, 1, 1]
    assert np.array_equal(lesions.scores, found.scores[[0, 1, 3, 4, 5]])
    assert np.array_equal(joined[0], masks[0] | masks[2])
    assert np.array_equal(joined[1], masks[1])
    assert np.array_equal(joined[2], masks[3])
    assert np.array_equal(joined[3] | joined[4], masks[4] | masks[5])
    assert np.array_equal(joined[4] & masks[5], masks[5])
    assert not (joined[3] & joined[4]).any()
    for box, mask in zip(lesions.boxes, joined, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    for empty in (
        _detections([], [], join_touching=True),
        _detections([(1, 1, 8, 8)], [none], join_touching=True),
    ):
        nothing, no_masks = shown_lesions(empty, (9, 9))
        assert (len(nothing), nothing.boxes.shape, no_masks.shape) == (0, (0, 4), (0, 9, 9))


def test_joined_lesions_are_made_of_the_components_of_the_union(random_detections):
    masks = mask_pixels(random_detections, (77, 96))[::8]
    labels = np.arange(len(masks)) % 2 + 1
    regions = touching_regions(masks, labels)
    assert 2 <= len(regions.best) <= len(masks)
    assert len(set(regions.best.tolist())) == len(regions.best)
    assert regions.best.tolist() == sorted(regions.best.tolist())
    for label in (1, 2):
        union = masks[labels == label].any(axis=0)
        own = regions.masks[labels[regions.best] == label]
        assert np.array_equal(own.sum(axis=0), union.astype(int))
        components, _ = instances(union.astype(np.uint8), "merge", min_area=0)
        for component in components:  # each lies in one lesion as a whole
            assert sum((mask & component).any() for mask in own) == 1
    for mask, best in zip(regions.masks, regions.best, strict=True):
        assert (masks[best] & mask).sum() > masks[best].sum() / len(regions.best)


def pasted_inside(detections, shape):
    """Each map pasted as torchvision does where no padding has a share, and NaN outside its box."""
    full = pasted_by_torchvision(torch.from_numpy(detections.mask_logits), detections, shape)
    ones = pasted_by_torchvision(torch.ones(len(detections), 28, 28), detections, shape)
    covered = np.zeros(full.shape, bool)
    for one, (left, top, right, bottom) in zip(covered, detections.boxes, strict=True):
        rows = slice(max(0, int(np.floor(top))), max(0, int(np.ceil(bottom))))
        one[rows, max(0, int(np.floor(left))) : max(0, int(np.ceil(right)))] = True
    # Where zeros of the padding have a share, the edge of the map is repeated in their place.
    return full, ones, covered


def test_the_logit_map_is_that_of_the_masks_without_the_zeros_of_the_padding(random_detections):
    shape = (77, 96)
    full, ones, covered = pasted_inside(random_detections, shape)
    ours = logit_map(random_detections, shape)
    assert np.array_equal(np.isnan(ours), ~covered.any(axis=0))
    # One box alone, so that every pixel is of that map.
    for k in range(len(random_detections)):
        one = logit_map(random_detections.at(np.array([k])), shape)
        pure = ones[k] == 1
        np.testing.assert_allclose(one[pure & covered[k]], full[k][pure & covered[k]], **LAST_DIGITS)
        assert np.isnan(one[~covered[k]]).all()
    everywhere = ~(covered & (ones < 1)).any(axis=0) & covered.any(axis=0)
    strongest = np.where(covered, full, -np.inf).max(axis=0)
    assert everywhere.sum() > 500
    np.testing.assert_allclose(ours[everywhere], strongest[everywhere], **LAST_DIGITS)


@pytest.mark.parametrize("rule", ["max", "sum"])
def test_no_logit_of_zero_frames_a_box(rule):
    maps = np.stack([np.full((28, 28), -7.0), np.full((28, 28), -3.0)])
    boxes = [(10.3, 12.0, 50.6, 44.0), (30.0, 8.0, 90.0, 60.0)]  # the second reaches over the edge
    found = logit_map(_detections(boxes, maps, logit_rule=rule), (50, 80)).round(4)
    both = -3.0 if rule == "max" else -10.0
    assert found[20, 12] == found[12, 10] == found[43, 20] == -7.0
    assert found[12, 35] == found[30, 50] == both
    assert found[8, 30] == found[49, 79] == -3.0
    assert set(np.unique(found[np.isfinite(found)])) == {-7.0, -3.0, both}
    inside = np.zeros((50, 80), bool)
    inside[12:44, 10:51] = inside[8:, 30:] = True
    assert np.array_equal(np.isfinite(found), inside)
    nothing = logit_map(_detections([(3.0, 3.0, 3.0, 9.0)], maps[:1]), (50, 80))
    assert np.isnan(nothing).all()  # an empty box holds no pixel


def test_logit_maps_can_be_summed(random_detections):
    shape = (77, 96)
    _, _, covered = pasted_inside(random_detections, shape)
    single = [logit_map(random_detections.at(np.array([k])), shape) for k in range(len(random_detections))]
    settings = DetectionSettings(logit_rule="sum")
    summed = logit_map(Detections(**{**vars(random_detections), "settings": settings}), shape)
    greatest = logit_map(random_detections, shape)
    assert np.array_equal(np.isnan(summed), np.isnan(greatest))
    inside = covered.any(axis=0)
    assert np.array_equal(inside, ~np.isnan(summed))
    np.testing.assert_allclose(summed[inside], np.nansum(single, axis=0)[inside], rtol=1e-4, atol=1e-4)
    assert np.abs(summed[inside] - greatest[inside]).max() > 1  # boxes do overlap here
    with pytest.raises(SettingsError, match="max or sum"):
        DetectionSettings(logit_rule="mean")


def test_probability_scale_pastes_sigmoids(random_detections):
    shape = (77, 96)
    settings = DetectionSettings(mask_threshold=0.5, mask_scale="probability")
    found = Detections(**{**vars(random_detections), "settings": settings})
    full = pasted_by_torchvision(
        torch.from_numpy(random_detections.mask_logits).sigmoid(), random_detections, shape
    )
    assert np.mean(mask_pixels(found, shape) != (full > 0.5)) < 1e-6


def test_a_mask_threshold_below_zero_draws_no_frame_around_the_box():
    lesion = np.full((1, 28, 28), -4.0, np.float32)
    lesion[:, 10:18, 10:18] = 4.0
    lesion[:, 20:, 12:16] = 4.0  # reaches the lower edge of the map
    box = [[10.0, 10.0, 65.0, 65.0]]
    (below,) = mask_pixels(_detections(box, lesion, mask_threshold=-1.0), (80, 80))
    (zero,) = mask_pixels(_detections(box, lesion), (80, 80))
    rows, columns = np.nonzero(below)
    assert min(rows.min(), columns.min()) > 20
    assert columns.max() < 55
    assert rows.max() - np.nonzero(zero)[0].max() in (0, 1)
    assert zero.sum() < below.sum() < 1.5 * zero.sum()
    (least,) = mask_pixels(_detections(box, lesion, mask_threshold=-1e-4), (80, 80))
    assert np.count_nonzero(least ^ zero) < 10


def test_a_box_outside_the_slice_has_no_mask():
    found = _detections([[-50, -50, -10, -10], [200, 5, 220, 9]], np.full((2, 28, 28), 4.0))
    assert not mask_pixels(found, (64, 64)).any()
    assert np.isnan(logit_map(found, (64, 64))).all()


def test_no_detections():
    found = _detections([], [])
    assert mask_pixels(found, (5, 7)).shape == (0, 5, 7)
    assert np.isnan(logit_map(found, (5, 7))).all()
    assert label_map(np.zeros((0, 5, 7), bool), np.zeros(0, np.int64)).sum() == 0


def test_the_better_detection_owns_an_overlap():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2], masks[1, 1:] = True, True
    labels = label_map(masks, np.array([2, 1]))
    assert labels[:, 0].tolist() == [2, 2, 1, 1]


def test_roi_table_maps_boxes_and_counts_copies():
    candidates = Candidates(
        proposals=np.zeros((3, 4), np.float32),
        boxes=np.array([[0, 0, 20, 40], [10, 10, 30, 30], [2, 2, 4, 4]], np.float32),
        deltas=np.zeros((3, 4), np.float32),
        scores=np.array([0.2, 0.9, 0.5], np.float32),
        logits=np.zeros(3, np.float32),
        labels=np.array([1, 2, 1]),
    )
    source = np.array([1, 1, 2, 0, 0, 0])
    rows = np.zeros((6, 5), np.float32)
    rows[:, 0] = candidates.scores[source]
    batch = RoiBatch(rows=rows, source=source, kept=np.array([1, 2, 0]))
    place = Placement(slice_shape=(50, 50), size=100, scale_x=2.0, scale_y=2.0, offset_x=10, offset_y=0)
    table = roi_table(
        batch, candidates, placement=place, names=("GGO", "Consolidation"), pixel_area_mm2=0.5, detected={2}
    )
    assert [(r.rank, r.candidate, r.label, r.copies, r.detected) for r in table] == [
        (1, 1, "Consolidation", 2, False),
        (2, 2, "GGO", 1, True),
        (3, 0, "GGO", 3, False),
    ]
    assert table[0].box == (0.0, 5.0, 10.0, 15.0)
    assert (table[0].area_px, table[0].area_mm2) == (100.0, 50.0)
    assert table[0].score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("value", "text", "exact"),
    [
        (1.0, "> 0.99", "> 0.999"),
        (0.9951, "> 0.99", "0.995"),
        (0.9949, "0.99", "0.995"),
        (0.5, "0.50", "0.500"),
        (0.0051, "0.01", "0.005"),
        (0.0049, "< 0.01", "0.005"),
        (0.0, "< 0.01", "< 0.001"),
        (-1e-9, "< 0.01", "< 0.001"),
        (np.float32(0.99999), "> 0.99", "> 0.999"),
        (np.nan, "nan", "nan"),
    ],
)
def test_no_probability_is_told_as_certain(value, text, exact):
    assert (probability_text(value), probability_text(value, 3)) == (text, exact)


def test_empty_batch_has_no_rows():
    none = np.zeros((0, 4), np.float32)
    candidates = Candidates(none, none, none, none[:, 0], none[:, 0], none[:, 0].astype(np.int64))
    batch = RoiBatch(np.zeros((4, 5), np.float32), np.full(4, -1), np.zeros(0, np.int64))
    place = Placement((8, 8), 8, 1.0, 1.0, 0, 0)
    assert roi_table(batch, candidates, placement=place, names=("L",), pixel_area_mm2=None) == ()


def _summary(index, *probabilities):
    return SliceSummary(index, 0, 0, None, probabilities or None)


def test_scan_is_the_mean_of_the_ten_least_normal_slices():
    summaries = [_summary(i, 0.9, 0.1, 0.1) for i in range(20)]
    summaries += [_summary(20 + i, 0.1, 0.2, 0.8) for i in range(10)]
    verdict = scan_verdict(summaries, basis="trained")
    assert verdict.slices_used == tuple(range(20, 30))
    assert verdict.probabilities == pytest.approx((0.1, 0.2, 0.8))
    assert verdict.class_index == 2
    assert "10 slices" in verdict.rule
    assert "30" in verdict.rule


def test_slices_without_any_region_are_told_in_the_rule_of_the_scan():
    def some(biased):
        return [dataclasses.replace(_summary(i, 0.2, 0.1, 0.6), from_bias=i < biased) for i in range(4)]

    assert "bias" not in scan_verdict(some(0), basis="trained").rule
    part, whole = scan_verdict(some(3), basis="edited"), scan_verdict(some(4), basis="edited")
    assert "left in 3 of those: there it is the network's bias" in part.rule
    assert "left in any of those" in whole.rule
    assert (part.from_bias, whole.from_bias) == (False, True)


def test_scan_of_few_slices_or_none():
    assert scan_verdict([_summary(3)], basis="trained") is None
    verdict = scan_verdict([_summary(3, 0.7, 0.2)], basis="edited")
    assert (verdict.class_index, verdict.slices_used, verdict.basis) == (0, (3,), "edited")


def _chest(steps=30, step_mm=5.0):
    """A volume of slices some mm apart, and a calibration that says of 5 % of controls that they look ill."""
    geometry = Geometry((step_mm, 0.8, 0.8))
    voxels = np.zeros((steps, 4, 4), np.int16)
    positions = np.arange(steps, dtype=np.float64) * step_mm
    return Volume("v", "v", voxels, geometry, slice_positions_mm=positions)


CALIBRATION = Calibration(slope=1.0, bias=0.0, ill_classes=(2,), control_rate=0.05, control_limit=0.1)


def _scan(ill, *, count=30, area=400.0, outside=(), lung=True, **options):
    """The verdict of slices of which those in ``ill`` look ill and hold ``area`` mm2 of masks."""
    summaries = [
        SliceSummary(
            k,
            int(k in ill and area > 0),
            0,
            area if k in ill else 0.0,
            (0.2, 0.1, 0.9) if k in ill else (0.9, 0.1, 0.1),
            lung=False if k in outside else lung,
            ill_probability=None if k in outside else (0.9 if k in ill else 0.1),
        )
        for k in range(count)
    ]
    options = {"calibration": CALIBRATION, "volume": _chest(count), **options}
    return scan_verdict(summaries, basis="trained", names=("Control", "Other", "COVID-19"), **options)


def test_a_scan_is_ill_where_more_looks_ill_than_in_controls_and_enough_is_marked():
    found = _scan(range(10, 22))
    assert (found.verdict, found.kind, found.class_index) == ("ill", "undecided", None)
    assert (found.lung_slices, found.ill_slices) == (30, 12)
    assert found.lesion_ml == pytest.approx(12 * 400 * 5 / 1000)
    assert found.control_rate == 0.05
    assert set(found.deciding) <= set(range(10, 22)) | set(range(30))
    # 10 mm apart, most telling first.
    assert found.deciding[0] in range(10, 22)
    assert all(abs(a - b) >= 2 for a in found.deciding for b in found.deciding if a != b)
    assert "40 % of the lung slices look ill" in found.verdict_rule
    assert "15 at least 10 mm apart" in found.verdict_rule


def test_a_scan_is_uncertain_where_masks_and_class_contradict_each_other():
    assert _scan(range(10, 22), area=10.0).verdict == "uncertain"  # ill, 0.6 ml
    assert _scan([3, 4], area=400.0).verdict == "uncertain"  # 4 ml in slices that hardly look ill
    assert _scan([3, 4, 5, 6], area=0.0).verdict == "uncertain"  # 13 % may be chance
    assert _scan([3, 4], area=40.0).verdict == "control"
    clear = _scan([])
    assert (clear.verdict, clear.class_index, clear.lesion_ml) == ("control", 0, 0.0)


def test_an_uncertain_scan_says_why():
    assert _scan(range(10, 22), area=10.0).doubt == "few_lesions"
    assert _scan([3, 4], area=400.0).doubt == "few_ill"
    assert _scan([0], count=1).doubt == "few_slices"
    assert _scan([], lung=None).doubt == "no_chest"
    assert "lung slices" not in _scan([], lung=None).verdict_rule, "none is known to be one"
    nowhere = Volume("v", "v", np.zeros((30, 4, 4), np.int16), Geometry())
    assert _scan(range(10, 22), volume=nowhere).doubt == "no_volume"
    assert _scan(range(10, 22)).doubt is None
    assert _scan([]).doubt is None


def test_in_which_third_of_the_lungs_most_of_the_lesions_are():
    assert _scan(range(10, 20)).mostly == "middle"
    assert _scan(range(18, 30)).mostly == "lower"
    assert _scan(range(4, 16)).mostly is None, "half and half"
    # Thirds of the slices with lung, here of 5 to 19.
    assert _scan(range(5, 9), outside=(*range(5), *range(20, 30))).mostly == "upper"
    assert _scan(range(10, 20), lung=None).mostly is None
    assert _scan([]).mostly is None


def test_neighbours_count_once_and_few_slices_are_no_scan():
    # 40 % of 30 slices 1 mm apart are 40 % of 3.
    assert _scan(range(12), volume=_chest(30, 1.0), area=4000.0).verdict == "uncertain"
    assert _scan([], volume=_chest(30, 1.0)).verdict == "uncertain"
    assert _scan(range(12), area=4000.0).verdict == "ill"
    assert _scan([0], count=1).verdict == "uncertain"


def test_without_known_distances_no_volume_is_known():
    found = _scan(range(10, 22), volume=Volume("v", "v", np.zeros((30, 4, 4), np.int16), Geometry()))
    assert (found.verdict, found.lesion_ml) == ("uncertain", None)
    assert "an unknown volume" in found.verdict_rule
    assert _scan([], volume=None).verdict == "control"


def test_missing_slices_leave_a_verdict_but_no_volume():
    positions = np.delete(np.arange(31, dtype=np.float64) * 5, 15)
    uneven = Volume(
        "v", "v", np.zeros((30, 4, 4), np.int16), Geometry((None, 0.8, 0.8)), slice_positions_mm=positions
    )
    found = _scan(range(10, 22), volume=uneven)
    assert (found.verdict, found.lesion_ml) == ("ill", None)


def test_slices_outside_the_lungs_take_no_part():
    everything = _scan(range(20, 30))
    gated = _scan(range(20, 30), outside=range(20, 30))
    assert (everything.verdict, gated.verdict) == ("ill", "control")
    assert (gated.lung_slices, gated.lesion_ml) == (20, 0.0)
    none = _scan(range(20, 30), outside=range(30))
    assert (none.verdict, none.class_index, none.probabilities, none.kind) == ("no_class", None, (), None)
    uncalibrated = _scan(range(20, 30), outside=range(30), calibration=None)
    assert uncalibrated.verdict == "no_class"


def test_what_is_not_known_to_be_a_chest_is_uncertain_at_most():
    for ill in (range(10, 22), []):
        known = _scan(ill)
        unknown = _scan(ill, lung=None)
        assert known.verdict in ("ill", "control")
        assert (unknown.verdict, unknown.lung_slices, unknown.ill_slices) == (
            "uncertain", known.lung_slices, known.ill_slices
        )  # fmt: skip
        assert "not known" in unknown.verdict_rule


def test_weights_without_calibration_name_the_likeliest_class_as_before():
    found = _scan(range(10, 22), calibration=None)
    assert (found.verdict, found.kind, found.class_index) == (None, None, 2)


def test_kinds_are_named_where_they_can_be_told():
    told = dataclasses.replace(CALIBRATION, kinds_told=True)
    assert _scan(range(10, 22), calibration=told).kind == "COVID-19"
    assert _scan(range(10, 22), calibration=told).class_index == 2
    assert _scan([], calibration=told).kind == "undecided"


def _ill(index, chance, **fields):
    return dataclasses.replace(
        _summary(index, 1 - chance, 0.0, chance), ill_probability=chance, lung=True, **fields
    )


def _says(summaries, **options):
    return [(one.ill, one.because) for one in other_rules(summaries, **options)]


def test_other_rules_disagree_where_one_slice_is_all_there_is():
    chances = [0.1] * 20
    chances[7] = 0.9
    one, top, mean, most, row, ml = _says([_ill(k, chance) for k, chance in enumerate(chances)])
    assert one == (True, "greatest 0.90")
    assert top == (False, "mean 0.18")
    assert mean == (False, "mean 0.14")
    assert most == (False, "1 of 20 lung slices (5%)")
    assert row == (False, "at most 1 in a row")
    assert ml == (None, "the volume is unknown")


def test_other_rules_agree_on_a_scan_that_is_ill_throughout():
    volume = Volume("s", "s", np.zeros((20, 4, 4), np.int16), Geometry((2.0, 1, 1), (0, 0, 0), np.eye(3)))
    summaries = [_ill(k, 0.9, lesion_px=50, lesion_mm2=50.0) for k in range(20)]
    assert [ill for ill, _ in _says(summaries, volume=volume)] == [True] * 6
    assert _says(summaries, volume=volume)[-1][1] == "2.0 ml"
    outside = [dataclasses.replace(summary, lung=False) for summary in summaries[:10]]
    assert _says([*outside, *summaries[10:]])[3][1] == "10 of 10 lung slices (100%)"


def test_the_rule_of_neighbours_says_which_slices_it_counts():
    """In a series that runs every eighth slice comes first: those are neighbours among the analysed alone."""
    rule = other_rules([_ill(k, 0.9) for k in (0, 8, 16)])[4]
    assert (rule.rule, rule.ill) == ("3 neighbouring analysed slices look ill", True)


def test_without_a_calibration_no_rule_says_anything():
    assert other_rules([_summary(k, 0.2, 0.1, 0.7) for k in range(5)]) == ()
    assert other_rules([]) == ()
