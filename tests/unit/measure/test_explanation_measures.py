"""Measures of explanations: what they say of contributions that are known to be right or wrong."""

import dataclasses

import numpy as np
import pytest

from model_core.base.errors import DataError
from model_core.base.settings import EvidenceSettings
from model_core.engine.module_s import ModuleS
from model_core.measure import explanation_metrics as metrics
from model_core.measure.explained_slices import choose, spread
from model_core.measure.explanation_metrics import Evidence, attribute
from model_core.measure.explanation_report import beats

SIZE = 8
CONTRIBUTING = ("leave_one_out", "integrated_gradients", "shapley")


def linear(weights):
    """Return a module S whose logit is the sum of the scores by these weights, exactly; class 0 is 0."""
    first = np.zeros((1, 5 * SIZE), np.float32)
    first[0, ::5] = weights
    # Far from the kink of the ReLUs.
    return ModuleS(
        (
            (first, np.array([100.0], np.float32)),
            (np.ones((1, 1), np.float32), np.array([100.0], np.float32)),
            (np.array([[0.0], [1.0]], np.float32), np.array([0.0, -200.0], np.float32)),
        )
    )


def evidence(module_s, *, rows=12, seed=0, ill=(1,)):
    rng = np.random.default_rng(seed)
    ranked = rng.normal(0, 1, (rows, 5)).astype(np.float32)
    ranked[:, 0] = -np.sort(-rng.uniform(0.1, 0.9, rows))
    references = np.zeros((3, SIZE, 5), np.float32)
    settings = EvidenceSettings(batch_size=SIZE)
    return Evidence(ranked, module_s, references, settings, ill, -1)


def small_net(seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((16, 5 * SIZE), (16, 16), (3, 16))
    return ModuleS(
        tuple((rng.normal(0, 0.5, s).astype(np.float32), rng.normal(0, 0.3, s[0]).astype(np.float32))
              for s in shapes)
    )  # fmt: skip


def numbers(method, own, seed=0):
    return attribute(own, method, generator=np.random.default_rng(seed), rounds=2)


def test_of_a_linear_module_every_contribution_is_exact_and_its_order_is_the_best():
    weights = np.array([0.0, 3.0, -1.0, 0.5, 0.0, 2.0, 0.0, 1.0])
    own = evidence(linear(weights))
    exact = weights * own.ranked[:SIZE, 0]
    for method in CONTRIBUTING:
        np.testing.assert_allclose(numbers(method, own), exact, atol=1e-4)
    best = metrics.areas(own, exact)
    # By hand: while regions go in their order, the logit falls by their contributions.
    left = exact.sum() - np.concatenate(([0], np.cumsum(np.sort(exact)[::-1])))
    fall = left[0] - np.trapezoid(left, np.arange(SIZE + 1) / SIZE)
    assert best["deletion_in_place"] == pytest.approx(fall, abs=1e-4)
    assert best["insertion_in_place"] == pytest.approx(fall, abs=1e-4)  # linear: the same steps
    for other in (-exact, own.ranked[:SIZE, 0], numbers("random", own)):
        worse = metrics.areas(own, other)
        assert worse["deletion_in_place"] < best["deletion_in_place"]
        assert worse["insertion_in_place"] < best["insertion_in_place"]
    correlation = metrics.faithfulness_correlation(own, exact, np.random.default_rng(0))
    assert correlation == pytest.approx(1, abs=1e-5)
    assert metrics.incompleteness(own, exact) == pytest.approx(0, abs=1e-4)
    assert metrics.incompleteness(own, 2 * exact) == pytest.approx(abs(exact.sum()), abs=1e-4)


def test_closed_up_curves_are_those_of_batches_made_by_the_published_rule():
    own = evidence(small_net(), ill=())
    own = dataclasses.replace(own, output=2)
    values = numbers("score", own)
    found = metrics.areas(own, values)
    # Best first out: the next ones follow, twelve in all, then fewer than a batch holds are replicated.
    logits = own.closed_up([np.arange(k, 12) for k in range(SIZE + 1)])
    full = own.module_s(own.ranked[None, :SIZE].astype(np.float64))[0, 2]
    assert logits[0] == pytest.approx(full, abs=1e-6)
    assert logits[1] == pytest.approx(own.module_s(own.ranked[None, 1:9].astype(np.float64))[0, 2], abs=1e-6)
    wanted = np.trapezoid(logits[0] - logits, np.arange(SIZE + 1) / SIZE)
    assert found["deletion_closed_up"] == pytest.approx(wanted)


@pytest.mark.parametrize("method", CONTRIBUTING)
def test_axioms_hold_for_what_is_filled_in_place(method):
    own = evidence(small_net())
    null = numbers(method, metrics.with_null_player(own, 2))
    assert null[2] == pytest.approx(0, abs=1e-9)
    assert np.abs(null).max() > 0.01
    twins = metrics.with_twins(own, 3)
    found = numbers(method, twins)
    assert found[3] == pytest.approx(found[4], abs=1e-9)
    shifted = metrics.with_shifted_scores(own)
    np.testing.assert_allclose(shifted.game.logits, own.game.logits, atol=1e-5)
    assert not np.allclose(shifted.ranked, own.ranked)
    assert metrics.change(numbers(method, own), numbers(method, shifted)) < 1e-4
    if method != "leave_one_out":
        assert metrics.incompleteness(own, numbers(method, own)) < 0.02


def test_scores_break_the_axioms_and_ignore_the_weights():
    own = evidence(small_net())
    scores = numbers("score", own)
    assert numbers("score", metrics.with_null_player(own, 2))[2] > 0
    assert metrics.change(scores, numbers("score", metrics.with_shifted_scores(own))) > 0.05
    other = dataclasses.replace(own, module_s=metrics.randomised(own.module_s, np.random.default_rng(1)))
    assert metrics.rank_correlation(scores, numbers("score", other)) == pytest.approx(1)
    before, after = (numbers("shapley", one) for one in (own, other))
    assert abs(metrics.rank_correlation(before, after)) < 0.9


def test_shuffled_weights_are_the_same_numbers_elsewhere_and_zeros_stay():
    module_s = linear(np.array([0, 3, 0, 1, 0, 2, 0, 5.0]))
    found = metrics.randomised(module_s, np.random.default_rng(0))
    for (before, biases), (after, same) in zip(module_s.layers, found.layers, strict=True):
        assert sorted(before.ravel()) == sorted(after.ravel())
        np.testing.assert_array_equal(before != 0, after != 0)
        np.testing.assert_array_equal(biases, same)
    assert not np.array_equal(module_s.layers[0][0], found.layers[0][0])


def test_noise_of_rows_keeps_their_order_by_score_and_says_where_they_were():
    own = evidence(small_net())
    noisy, order = metrics.with_row_noise(own, np.random.default_rng(0))
    assert (np.diff(noisy.ranked[:, 0]) <= 0).all()
    assert sorted(order.tolist()) == list(range(12))
    assert np.abs(noisy.ranked[:, 0] - own.ranked[order, 0]).max() < 0.12
    back = metrics.back_in_place(np.arange(1.0, 9.0), order)
    assert [back[k] for k in order[:SIZE]] == list(range(1, 9))
    assert metrics.change(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(0.1)


def test_what_lies_in_the_mask():
    boxes = np.array([[2, 2, 6, 6], [10, 10, 14, 18], [0, 0, 20, 20]], np.float32)
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = True
    picture = metrics.painted(np.array([2.0, 8.0, -4.0]), boxes, (20, 20))
    assert picture.sum() == pytest.approx(6)
    assert picture[3, 3] == pytest.approx(2 / 16 - 4 / 400)
    assert picture[12, 12] == pytest.approx(8 / 32 - 4 / 400)
    right = metrics.localisation(np.array([1.0, 0.0, -9.0]), boxes, mask)
    assert right == pytest.approx({"mass": 1.0, "rank": 1.0, "pointing": 1.0})
    wrong = metrics.localisation(np.array([0.0, 1.0, 0.0]), boxes, mask)
    assert wrong == pytest.approx({"mass": 0.0, "rank": 0.0, "pointing": 0.0})
    half = metrics.localisation(np.array([1.0, 1.0, 0.0]), boxes, mask)
    assert half["mass"] == pytest.approx(0.5)
    assert metrics.localisation(np.zeros(3), boxes, mask)["mass"] == 0


def test_few_large_values_are_simple():
    single, even = metrics.complexity(np.array([0, 0, -3.0, 0])), metrics.complexity(np.ones(4))
    assert single == pytest.approx({"gini": 0.75, "entropy": 0.0})
    assert even == pytest.approx({"gini": 0.0, "entropy": np.log(4)})


def _gains(low, *highs):
    names = ("deletion_in_place", "insertion_in_place", "deletion_closed_up", "insertion_closed_up")
    each = {name: {"value": 0.0, "low": -1.0, "high": high} for name, high in zip(names, highs, strict=True)}
    return {"mean of the four": {"value": 0.5, "low": low, "high": 1.0}} | each


@pytest.mark.parametrize(
    ("gains", "better"),
    [
        (_gains(0.1, 0.2, 0.2, 0.0, 0.3), True),
        (_gains(-0.1, 0.2, 0.2, 0.2, 0.3), False),  # perhaps chance
        (_gains(0.1, 0.2, 0.2, -0.01, 0.3), False),  # one curve is worse
        (_gains(None, 0.2, 0.2, 0.2, 0.2), False),  # one patient
    ],
)
def test_a_method_is_better_only_where_no_curve_is_worse(gains, better):
    assert beats(gains) == better


def test_slices_are_spread_over_sets_and_over_each():
    items = [f"a{k}" for k in range(3)] + [f"b{k}" for k in range(50)] + [f"c{k}" for k in range(40)]
    found = spread(items, [item[0] for item in items], 20)
    assert [sum(item[0] == name for item in found) for name in "abc"] == [3, 9, 8]
    assert {"b0", "b49", "c0", "c39"} <= set(found)
    assert len(set(found)) == 20


def test_too_few_slices_are_an_error():
    with pytest.raises(DataError, match="there are 0"):
        choose({}, [], None, count=1, control_count=1)
