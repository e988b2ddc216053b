"""Which regions carry the class: leave-one-out, integrated gradients, Shapley values, decisive sets."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from model_core.base.errors import SettingsError
from model_core.base.jobs import finish
from model_core.base.references import References
from model_core.base.results import Candidates
from model_core.base.settings import EvidenceSettings
from model_core.engine.evidence import evidence_batch
from model_core.engine.module_s import ModuleS
from model_core.explain.attribution import (
    SEEDS,
    Game,
    closed_up,
    integrated_gradients,
    leave_one_out,
    lesion_players,
    row_players,
    shapley,
)
from model_core.explain.decisive import Rule, decisive_set
from model_core.ranking import replicate

SIZE, CLASSES = 16, 3


def module_s(seed=0, *, size=SIZE, width=24):
    rng = np.random.default_rng(seed)
    shapes = ((width, 5 * size), (width, width), (CLASSES, width))
    return ModuleS(
        tuple(
            (rng.normal(0, 1.5 / np.sqrt(inner), (outer, inner)).astype(np.float32),
             rng.normal(0, 0.3, outer).astype(np.float32))
            for outer, inner in shapes
        )
    )  # fmt: skip


def batches(count, rng, *, size=SIZE, high=1.0):
    rows = rng.normal(0, 1, (count, size, 5)).astype(np.float32)
    rows[..., 0] = -np.sort(-rng.uniform(0, high, (count, size)).astype(np.float32), axis=1)
    return rows


def game(players=6, seed=0, *, ill=(1, 2), references=8):
    rng = np.random.default_rng(seed + 100)
    rows = batches(1, rng)[0]
    ranks = replicate(players, SIZE, seed=seed)
    rows = rows[ranks]
    return Game(
        module_s(seed),
        rows,
        batches(references, rng, high=0.2),
        tuple(np.flatnonzero(ranks == k) for k in range(players)),
        ill,
    )


def answers(own, absent):
    """(outputs,) by hand: batches with the slots of absent players filled, one reference after another."""
    found = []
    for reference in own.references:
        rows = own.rows.astype(np.float64)
        for player in absent:
            for slot in own.players[player]:
                rows[slot] = reference[slot]
        values = rows.ravel()
        for number, (weights, biases) in enumerate(own.module_s.layers):
            values = weights.astype(np.float64) @ (np.maximum(values, 0) if number else values) + biases
        if own.ill_classes:
            ill = np.log(np.exp(values[list(own.ill_classes)]).sum()) - values[0]
            values = np.append(values, ill)
        found.append(values)
    return np.array(found)


def by_enumeration(own):
    """(P, outputs) Shapley values as they are defined: over all orders of the players."""
    count = len(own)
    value = {
        there: answers(own, set(range(count)) - set(there)).mean(axis=0)
        for size in range(count + 1)
        for there in itertools.combinations(range(count), size)
    }
    found = np.zeros((count, len(value[()])))
    for there, worth in value.items():
        for player in set(range(count)) - set(there):
            added = value[tuple(sorted({*there, player}))] - worth
            weight = math.factorial(len(there)) * math.factorial(count - len(there) - 1)
            found[player] += added * weight / math.factorial(count)
    return found


@pytest.mark.parametrize("ill", [(), (2,), (1, 2)])
def test_leave_one_out_is_that_of_batches_made_by_hand(ill):
    own = game(ill=ill)
    whole = answers(own, ())
    found = leave_one_out(own)
    for player in range(len(own)):
        without = answers(own, (player,))
        np.testing.assert_allclose(own.without_each()[:, player], without, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.values[player], (whole - without).mean(axis=0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.error[player], without.std(axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.baseline, answers(own, range(len(own))).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("ill", [(), (2,), (1, 2)])
def test_integrated_gradients_add_up_and_are_those_of_small_steps(ill):
    own = game(ill=ill)
    (found,) = finish(integrated_gradients(own))
    wanted = own.logits - own.baseline
    missed = np.abs(found.baseline + found.values.sum(axis=0) - own.logits)
    assert (missed <= np.maximum(0.01 * np.abs(wanted), 0.01)).all()
    np.testing.assert_allclose(found.error[0], missed, atol=1e-12)

    # Slopes by differences along the path, in place of analytic ones.
    step, places = 1e-6, (np.arange(400) + 0.5) / 400
    summed = np.zeros_like(found.values)
    for reference in own.references:
        single = dataclasses.replace(own, references=reference[None])
        change = own.rows.astype(np.float64) - reference
        for player, slots in enumerate(own.players):
            for place in places[::40]:
                mixed = reference + place * change
                more, less = mixed.copy(), mixed.copy()
                more[slots] += step * change[slots]
                less[slots] -= step * change[slots]
                ends = [answers(dataclasses.replace(single, rows=rows), ())[0] for rows in (more, less)]
                summed[player] += (ends[0] - ends[1]) / (2 * step) / 10 / len(own.references)
    np.testing.assert_allclose(own.along(own.slopes(places[::40])), summed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("players", "ill"), [(1, ()), (5, (2,)), (8, (1, 2))])
def test_shapley_values_of_few_players_are_exact(players, ill):
    own = game(players, ill=ill, references=3)
    (found,) = finish(shapley(own))
    np.testing.assert_allclose(found.values, by_enumeration(own), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.baseline + found.values.sum(axis=0), own.logits, rtol=0, atol=1e-9)
    assert not found.error.any()


def test_the_stated_error_of_drawn_shapley_values_holds():
    own = game(7, references=4)
    exact = by_enumeration(own)
    covered = np.zeros(len(own.logits), int)
    for seed in range(100):
        (found,) = finish(shapley(own, seed=seed, enumerate_up_to=0))
        np.testing.assert_allclose(found.baseline + found.values.sum(axis=0), own.logits, atol=1e-9)
        covered += (np.abs(found.values - exact) <= found.error).all(axis=0)
    assert (covered >= 90).all(), covered
    # It says something: far less than the values themselves.
    assert found.error.max() < np.abs(exact).max() / 2


def test_the_same_seed_draws_the_same_values_and_another_draws_others():
    own = game(12)
    first, again, other = (finish(shapley(own, seed=seed))[0].values for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def smallest(own, rule, among, *, alone):
    """The size of the smallest set by trying all; None where there is none."""
    verdict = rule.verdicts(own.logits[None])[0]
    for size in range(0 if alone else 1, len(among) + 1):
        for chosen in itertools.combinations(among, size):
            absent = set(range(len(own))) - set(chosen) if alone else chosen
            outputs = answers(own, absent).mean(axis=0)
            if (rule.verdicts(outputs[None])[0] == verdict) == alone:
                return size
    return None


@pytest.mark.parametrize("seed", range(12))
def test_decisive_sets_are_those_of_trying_all(seed):
    own = game(6, seed, ill=(1, 2) if seed % 2 else (), references=3)
    middle = float(own.logits[-1] + own.baseline[-1]) / 2
    rule = Rule(middle if seed % 2 else None)
    among = range(5)  # the last player is what belongs to no lesion
    (found,) = finish(decisive_set(own, rule, among=among))
    for chosen, alone in ((found.without, False), (found.alone, True)):
        wanted = smallest(own, rule, among, alone=alone)
        if chosen is None:
            # The greedy search does not give up where taking all away would do.
            assert wanted is None or wanted > 3
            continue
        absent = set(range(6)) - set(chosen.players) if alone else chosen.players
        outputs = answers(own, absent).mean(axis=0)
        assert (rule.verdicts(outputs[None])[0] == found.verdict) == alone
        assert len(chosen.players) >= wanted
        if chosen.exact:
            assert len(chosen.players) == wanted


def test_a_verdict_that_nothing_changes_has_no_decisive_set():
    own = game(5)
    lowest = min(float(answers(own, absent).mean(axis=0)[-1]) for n in range(6)
                 for absent in itertools.combinations(range(5), n))  # fmt: skip
    (found,) = finish(decisive_set(own, Rule(lowest - 1), among=range(5)))
    assert found.verdict == 1
    assert found.without is None
    assert found.alone is not None
    assert found.alone.players == ()


def candidates(count, rng):
    corners = np.column_stack((np.arange(count) * 20.0, np.zeros(count)))
    boxes = np.hstack((corners, corners + 10)).astype(np.float32)
    scores = -np.sort(-rng.uniform(0.01, 0.99, count)).astype(np.float32)
    return Candidates(
        boxes,
        boxes,
        rng.normal(0, 1, (count, 4)).astype(np.float32),
        scores,
        scores,
        np.ones(count, np.int64),
    )


def test_closing_up_lets_the_next_row_in():
    found, settings = candidates(SIZE + 4, np.random.default_rng(0)), EvidenceSettings(batch_size=SIZE)
    head = module_s()
    closed = closed_up(head, found, settings)
    assert closed.seeds == 1
    for removed in range(SIZE):
        left = [k for k in range(SIZE + 1) if k != removed]
        rows = np.column_stack((found.scores[left], found.deltas[left])).astype(np.float64)
        np.testing.assert_allclose(closed.without[removed], head(rows), atol=1e-9)
    whole = evidence_batch(found, settings, size=SIZE).rows
    np.testing.assert_allclose(closed.whole, head(whole.astype(np.float64)), atol=1e-9)


def test_closing_up_short_evidence_draws_the_slots_anew():
    found, settings = candidates(5, np.random.default_rng(0)), EvidenceSettings(batch_size=SIZE)
    head = module_s()
    closed = closed_up(head, found, settings, seed=2)
    assert closed.seeds == SEEDS
    rows = np.column_stack((found.scores, found.deltas))[[0, 1, 3, 4]].astype(np.float64)
    several = [head(rows[replicate(4, SIZE, seed=2 + draw)]) for draw in range(SEEDS)]
    np.testing.assert_allclose(closed.without[2], np.mean(several, axis=0), atol=1e-9)
    alone = closed_up(head, candidates(1, np.random.default_rng(0)), settings)
    np.testing.assert_allclose(alone.without[0], head(np.zeros((SIZE, 5))), atol=1e-9)


def test_players_are_rows_with_their_copies_or_lesions():
    batch = evidence_batch(candidates(5, np.random.default_rng(0)), EvidenceSettings(), size=SIZE)
    slots = row_players(batch)
    assert [len(own) for own in slots] == np.bincount(batch.source).tolist()
    boxes = np.array(
        [[0, 0, 10, 10], [1, 1, 9, 9], [40, 0, 50, 10], [100, 0, 110, 10], [45, 0, 60, 10]], np.float32
    )
    lesions = np.array([[0, 0, 12, 12], [38, 0, 56, 12]], np.float32)
    players, owner = lesion_players(slots, boxes, lesions)
    assert owner.tolist() == [0, 0, 1, -1, 1]
    assert sorted(np.concatenate(players).tolist()) == list(range(SIZE))
    assert players[-1].tolist() == slots[3].tolist()
    assert [len(own) for own in lesion_players(slots, boxes, np.zeros((0, 4), np.float32))[0]] == [SIZE]


def test_references_come_back_as_they_were_packed():
    rows = batches(4, np.random.default_rng(0)).astype(np.float16).astype(np.float32)
    kept = References.of(rows, patients=2, sources=("here",))
    np.testing.assert_array_equal(kept.batches, rows)
    for wrong in ({"rows": kept.rows[:-4]}, {"rows": "??"}, {"size": 3}, {"patients": 0}):
        with pytest.raises(SettingsError):
            dataclasses.replace(kept, **wrong)
