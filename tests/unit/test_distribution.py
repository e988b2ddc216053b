"""The regions of a scan beside those of controls."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from model_core.base.documents import from_values
from model_core.base.errors import SettingsError
from model_core.base.references import AREA_EDGES, SCORE_EDGES, ControlRois, References
from model_core.base.results import SliceSummary
from model_core.explain import roi_distribution
from model_core.explain.distribution import SliceRegions, control_rois
from model_core.plots import scan_rois

SIDE = 12.0  # of a box of 144 px, in the bin from 128 to 181 px


def references(*scores, size=4):
    batches = np.zeros((len(scores), size, 5), np.float32)
    for batch, values in zip(batches, scores, strict=True):
        batch[:, 0] = values
    return References.of(batches, patients=2, sources=("here",))


def result(scores, source, boxes=None, index=0):
    """Return what is read of a slice: its batch and the boxes of its candidates."""
    rows = np.zeros((len(scores), 5), np.float32)
    rows[:, 0] = scores
    count = max(source) + 1 if max(source) >= 0 else 1
    boxes = np.tile(np.array([[0, 0, SIDE, SIDE]], np.float32), (count, 1)) if boxes is None else boxes
    verdict = SimpleNamespace(batch=SimpleNamespace(rows=rows, source=np.array(source)))
    candidates = SimpleNamespace(boxes=boxes)
    return SimpleNamespace(evidence_candidates=candidates, verdict=verdict, slice_index=index)


def controls(count=40, *, score=0.02, area=SIDE**2, spread=0.0):
    """Return the distributions of control patients whose regions are alike, but for a spread of the score."""
    shift = np.linspace(0, spread, count)
    slices = [
        SliceRegions(np.full(8, score + add, np.float32), np.full(8, area, np.float32)) for add in shift
    ]
    return control_rois(slices, sources=["b", "a"] * (count // 2), seen=count)


def test_each_region_counts_once_and_replicas_do_not():
    found = roi_distribution(
        [result([0.92, 0.92, 0.52, 0.52], [3, 3, 1, 1])], references([0.26, 0.26, 0.12, 0.12])
    )
    assert found.scores.shares[[18, 10]].tolist() == [0.5, 0.5]
    assert [found.scores.controls.mean[k] for k in (5, 2)] == [0.5, 0.5]
    assert (found.slices, found.control_slices, found.control_patients) == (1, 1, 2)
    assert (found.areas, found.seen, found.scores.beyond) == (None, None, None), "batches hold no areas"


def test_distances_have_their_ends():
    same = roi_distribution([result([0.76, 0.26], [0, 1])], references([0.76, 0.26], size=2))
    assert same.scores.wasserstein == pytest.approx(0)
    assert same.scores.jensen_shannon == pytest.approx(0, abs=1e-6)
    apart = roi_distribution([result([1.0, 0.98], [0, 1])], references([0.03, 0.0], size=2))
    assert apart.scores.wasserstein == pytest.approx(0.95), "from the first bin to the last"
    assert apart.scores.jensen_shannon == pytest.approx(1)


def test_distances_are_those_of_scipy():
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(0)
    one = result(rng.beta(1, 4, 64).astype(np.float32), list(range(64)), rng.uniform(0, 300, (64, 4)))
    known = [SliceRegions(rng.beta(1, 9, 64), 2 ** rng.uniform(5, 12, 64)) for _ in range(30)]
    found = roi_distribution([one], control_rois(known, sources=["here"]))
    for compared, places in ((found.scores, SCORE_EDGES), (found.areas, np.log2(AREA_EDGES))):
        middle = (places[1:] + places[:-1]) / 2
        mean = np.array(compared.controls.mean)
        expected = wasserstein_distance(middle, middle, compared.shares, mean)
        assert compared.wasserstein == pytest.approx(expected, abs=1e-4)
        assert compared.jensen_shannon == pytest.approx(
            jensenshannon(compared.shares, mean, base=2), abs=1e-4
        )


def test_areas_are_told_in_doublings_and_slices_beyond_the_controls_are_counted():
    boxes = np.array([[0, 0, 2 * SIDE, SIDE]] * 8, np.float32)
    near = result([0.02] * 8, list(range(8)))
    far = result([0.62] * 8, list(range(8)), boxes, index=1)
    found = roi_distribution([near, far], controls(spread=0.25))
    assert found.areas.wasserstein == pytest.approx(0.5), "one of both slices has boxes twice as large"
    assert (found.scores.beyond, found.areas.beyond) == (0.5, 0.5)
    usual, limit = found.scores.controls.wasserstein
    assert 0.05 < usual < limit < 0.2
    outside = replace(_summary(1), lung=False)
    (inside,) = (roi_distribution([near, far], controls(), [outside]),)
    assert (inside.slices, inside.areas.wasserstein) == (1, 0), "slices without lung are left out"


def _summary(index):
    return SliceSummary(index, 0, 0, 0.0, None)


def test_envelope_and_limits_are_over_patients_and_not_told_of_few():
    known = controls(40, spread=0.25)
    assert sum(known.scores.mean) == pytest.approx(1, abs=1e-4)
    assert known.scores.low[0] == 0 < known.scores.mean[0] < known.scores.high[0] == 1
    assert known.areas.low == known.areas.middle == known.areas.high
    assert known.areas.wasserstein == (0, 0), "each lies where the others do"
    assert (known.patients, known.sources, known.seen) == (40, ("a", "b"), 40)
    few = controls(10)
    assert (few.scores.low, few.scores.wasserstein) == ((), ())
    assert roi_distribution([result([0.5], [0])], few).scores.beyond is None


def test_they_go_through_a_card_unchanged():
    known = controls(spread=0.1)
    assert from_values(ControlRois, json.loads(json.dumps(asdict(known)))) == known


@pytest.mark.parametrize(
    "damage",
    [
        {"patients": 0},
        {"scores": {"mean": [0.5, 0.5]}},
        {"areas": {"mean": [2.0] + [0.0] * 27}},
        {"scores": {"mean": [0.05] * 20, "low": [0.1]}},
        {"scores": {"mean": [0.05] * 20, "wasserstein": [0.1]}},
        {"scores": {"mean": [0.05] * 20, "low": [0.05] * 20}},
        {"scores": {"mean": [0.05] * 20, "wasserstein": [0.1, 0.2]}},
        {"scores": {"mean": [0.05] * 20, "wasserstein": [0.2, 0.1], "jensen_shannon": [0.1, 0.2]}},
        {"scores": {"mean": [0.0] * 20}},
        {"seen": 41},
    ],
)
def test_damaged_ones_are_refused(damage):
    with pytest.raises(SettingsError):
        from_values(ControlRois, {**json.loads(json.dumps(asdict(controls()))), **damage})


def test_nothing_to_compare():
    some = references([0.5], size=1)
    empty = result([0.0], [-1])
    without = SimpleNamespace(evidence_candidates=None, verdict=None, slice_index=0)
    assert roi_distribution([], some) is None
    assert roi_distribution([empty, without], some) is None
    assert roi_distribution([result([0.5], [0])], None) is None
    assert roi_distribution([result([0.5], [0]), without], some).slices == 1


def test_the_words_say_who_the_controls_are():
    own = [result([0.5], [0])]
    told = roi_distribution(own, controls()).controls_text
    assert told == (
        "40 control patients, a slice each, from a, b; the detector was trained on all of these slices"
    )
    unseen = roi_distribution(own, replace(controls(), seen=0)).controls_text
    assert unseen.endswith("trained on none of these slices")
    assert roi_distribution(own, references([0.5], [0.5], [0.5], size=1)).controls_text == (
        "2 control patients from here"
    )


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_plot_shows_scan_envelope_and_distances(theme):
    figure = Figure(figsize=(5, 2.4))
    found = roi_distribution([result([0.18] * 4, [0, 1, 2, 3])], controls(spread=0.25))
    scan_rois(figure, found, theme=theme)
    scores, areas = figure.axes
    limit = found.scores.controls.wasserstein[1]
    texts = [text.get_text() for text in scores.texts]
    assert f"scores {found.scores.wasserstein:.3f} off (95 %: {limit:.3f})" in texts
    beside = {text.get_text() for text in areas.texts}
    assert beside == {"areas 0.0 doublings off (95 %: 0.0)", "■ scan", "— controls"}
    drawn = {patch.get_gid(): patch.get_data() for patch in scores.patches}
    assert np.argmax(drawn["scan"].values) == 3
    assert np.argmax(drawn["band"].values) == 0
    assert np.all(drawn["band"].values >= drawn["band"].baseline)
    peak = {patch.get_gid(): np.argmax(patch.get_data().values) for patch in areas.patches}
    assert peak["scan"] == peak["controls"] == np.searchsorted(AREA_EDGES, SIDE**2) - 1


def test_older_cards_have_the_scores_alone():
    figure = Figure(figsize=(4, 2.4))
    found = roi_distribution([result([0.18] * 4, [0, 1, 2, 3])], references([0.5] * 4))
    scan_rois(figure, found)
    (axes,) = figure.axes
    assert "band" not in {patch.get_gid() for patch in axes.patches}
    assert {"■ scan", "— controls"} <= {text.get_text() for text in axes.texts}


@pytest.mark.parametrize("width", [2.9, 3.4, 4.1, 4.4, 6])
def test_words_above_the_plot_do_not_meet(width):
    figure = Figure(figsize=(width, 1.4))
    results = [result([0.18] * 4, [0, 1, 2, 3], index=k) for k in range(300)]
    scan_rois(figure, roi_distribution(results, controls(spread=0.25)))
    figure.draw_without_rendering()
    texts = [text for axes in figure.axes for text in (*axes.texts, axes.xaxis.label)]
    places = [text.get_window_extent() for text in texts]
    assert len(places) >= 4
    bars = figure.axes[1].transData.transform((512, 0.0))[0]
    assert all(place.x0 > bars or place.y0 > figure.axes[1].bbox.y1 for place in places[2:-1])
    assert not any(a.overlaps(b) for k, a in enumerate(places) for b in places[k + 1 :])
    assert min(place.x0 for place in places) >= 0
    assert max(place.x1 for place in places) <= figure.bbox.x1
    assert max(place.y1 for place in places) <= figure.bbox.y1
