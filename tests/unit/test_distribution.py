"""The regions of a scan beside those of controls."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from model_core.base.references import References
from model_core.explain import roi_distribution
from model_core.plots import scan_rois


def references(*scores, size=4):
    batches = np.zeros((len(scores), size, 5), np.float32)
    for batch, values in zip(batches, scores, strict=True):
        batch[:, 0] = values
    return References.of(batches, patients=2, sources=("here",))


def result(scores, source, boxes=None):
    """Return what is read of a slice: its batch and the boxes of its candidates."""
    rows = np.zeros((len(scores), 5), np.float32)
    rows[:, 0] = scores
    count = max(source) + 1 if max(source) >= 0 else 1
    boxes = np.tile(np.array([[0, 0, 10, 20]], np.float32), (count, 1)) if boxes is None else boxes
    verdict = SimpleNamespace(batch=SimpleNamespace(rows=rows, source=np.array(source)))
    return SimpleNamespace(evidence_candidates=SimpleNamespace(boxes=boxes), verdict=verdict)


def test_each_region_counts_once_and_replicas_do_not():
    controls = references([0.25, 0.25, 0.125, 0.125])
    found = roi_distribution([result([0.9, 0.9, 0.5, 0.5], [3, 3, 1, 1])], controls)
    assert sorted(found.scores.tolist()) == pytest.approx([0.5, 0.9])
    assert sorted(found.control_scores.tolist()) == [0.125, 0.25]
    assert found.areas.tolist() == [200.0, 200.0]
    assert (found.slices, found.control_slices, found.control_patients) == (1, 1, 2)
    assert sum(found.shares[0]) == pytest.approx(1)


def test_distances_have_their_ends():
    same = roi_distribution([result([0.75, 0.25], [0, 1])], references([0.75, 0.25], size=2))
    assert same.wasserstein == pytest.approx(0)
    assert same.jensen_shannon == pytest.approx(0, abs=1e-6)
    apart = roi_distribution([result([1.0, 0.96875], [0, 1])], references([0.03125, 0.0], size=2))
    assert apart.wasserstein == pytest.approx(0.96875)
    assert apart.jensen_shannon == pytest.approx(1)


def test_distances_are_those_of_scipy():
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(0)
    scores = np.sort(rng.beta(1, 4, 64).astype(np.float32))[::-1]
    controls = np.sort(rng.beta(1, 9, (3, 16)).astype(np.float32))[:, ::-1]
    found = roi_distribution([result(scores, list(range(64)))], references(*controls, size=16))
    expected = wasserstein_distance(found.scores, found.control_scores)
    assert found.wasserstein == pytest.approx(expected, abs=1e-6)
    assert found.jensen_shannon == pytest.approx(jensenshannon(*found.shares, base=2), abs=1e-9)


def test_nothing_to_compare():
    some = references([0.5], size=1)
    empty = result([0.0], [-1])
    without = SimpleNamespace(evidence_candidates=None, verdict=None)
    assert roi_distribution([], some) is None
    assert roi_distribution([empty, without], some) is None
    assert roi_distribution([result([0.5], [0])], None) is None
    assert roi_distribution([result([0.5], [0]), without], some).slices == 1


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_plot_names_both_and_their_distances(theme):
    figure = Figure(figsize=(4, 2.4))
    scan = np.zeros(20)
    scan[3] = 1.0
    scan_rois(figure, scan, scan[::-1], slices=(30, 60), distances=(0.1234, 0.5), theme=theme)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert {"■ scan", "— controls"} <= set(texts)
    assert "Wasserstein 0.123, Jensen–Shannon 0.50" in texts
    assert axes.get_xlabel() == "raw score (0–1); 30 slices, controls 60"
    drawn = {patch.get_gid(): patch.get_data().values for patch in axes.patches}
    assert np.argmax(drawn["scan"]) == 3
    assert np.argmax(drawn["controls"]) == 16


@pytest.mark.parametrize("width", [2.9, 3.4, 4.1, 6])
def test_words_above_the_plot_do_not_meet(width):
    figure = Figure(figsize=(width, 2.5))
    shares = np.full(20, 0.05)
    scan_rois(figure, shares, shares, slices=(300, 60), distances=(0.1234, 0.5))
    figure.draw_without_rendering()
    places = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(places) == 3
    assert not any(a.overlaps(b) for k, a in enumerate(places) for b in places[k + 1 :])
    assert min(place.x0 for place in places) >= 0
    assert max(place.x1 for place in places) <= figure.bbox.x1
    assert max(place.y1 for place in places) <= figure.bbox.y1
