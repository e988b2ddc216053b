"""Slices that run in a process of their own: the same results, and whatever becomes of the process."""

import dataclasses
import json
import logging
import os
import shutil
import signal
import time

import numpy as np
import pytest

from model_core.base.cache import VARIABLE
from model_core.base.jobs import Progress, finish
from model_core.engine import elsewhere, run
from model_core.engine.elsewhere import SliceRunner
from model_core.engine.load import load_pipeline
from model_core.phantom import make_phantom
from model_core.weights.store import load_weights, save_weights

MANY, FEW = 100, 1


@pytest.fixture(scope="module")
def volume():
    return make_phantom(slices=6, size=96)[0]


@pytest.fixture(scope="module")
def names(tiny_weights):
    return [str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")]


@pytest.fixture(scope="module")
def pipeline(names):
    return load_pipeline(names, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    """Graphs are made once for all processes, not in the user's folder; no process waits for other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        patch.setattr(elsewhere, "_SERVE", elsewhere._SERVE.replace("serve()", "serve(niceness=0)"))
        yield


def wait_until_ready(runner):
    end = time.monotonic() + 120
    while not runner.process.ready:
        assert runner.process.pid, "the process ended"
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(pid):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def calls(monkeypatch):
    """Slices that ran in this process."""
    calls = []

    def counted(pipeline, volume, slices):
        calls.extend(slices)
        yield from run(pipeline, volume, slices)

    monkeypatch.setattr(elsewhere, "run", counted)
    return calls


def close(ours, theirs):
    # RoIAlign may be another kernel there, which adds in another order.
    return np.allclose(ours, theirs, rtol=0, atol=1e-4)


def assert_equal(found, wanted):
    for name in (
        "series_id",
        "weights_id",
        "slice_index",
        "placement",
        "evidence_placement",
        "unlike_training",
    ):
        assert getattr(found, name) == getattr(wanted, name)
    for field in dataclasses.fields(wanted.detection_candidates):
        ours, theirs = (getattr(one.detection_candidates, field.name) for one in (found, wanted))
        assert close(ours, theirs), field.name
    assert found.evidence_candidates is found.detection_candidates
    assert close(found.verdict.logits, wanted.verdict.logits)
    assert close(found.verdict.batch.rows, wanted.verdict.batch.rows)
    assert found.features.keys() == wanted.features.keys()
    assert all(
        np.allclose(found.features[level], wanted.features[level], rtol=1e-3) for level in wanted.features
    )
    assert found.mask_cache.keys() == wanted.mask_cache.keys()
    assert all(close(found.mask_cache[key], wanted.mask_cache[key]) for key in wanted.mask_cache)


def test_many_slices_run_in_the_process_and_give_the_same(pipeline, volume, calls, monkeypatch):
    monkeypatch.setattr(elsewhere, "_PATIENCE_S", 120.0)
    with SliceRunner(pipeline) as runner:
        # The first runs here, the second waits for the process.
        first = finish(runner.run(volume, 2, waiting=MANY))[0]
        assert_equal(first, finish(run(pipeline, volume, [2]))[0])
        assert calls == [2]
        finish(runner.run(volume, 4, waiting=MANY))
        assert calls == [2]
        pid = runner.process.pid
        assert pid
        calls.clear()
        for index in (5, 0):
            *progress, last = runner.run(volume, index, waiting=MANY)
            (found,) = [item for item in progress if not isinstance(item, Progress)]
            assert_equal(found, finish(run(pipeline, volume, [index]))[0])
            assert (progress[0].done, progress[0].total, last.done, last.total) == (0, 1, 1, 1)
        # A result from there is as good as one from here: masks that it lacks are computed of it.
        found.mask_cache.clear()
        masks = pipeline.mask_logits(found, np.array([0, 1]))
        wanted = finish(run(pipeline, volume, [0]))[0]
        wanted.mask_cache.clear()
        assert close(masks, pipeline.mask_logits(wanted, np.array([0, 1])))
    assert ended(pid)


def test_few_slices_and_greys_that_hang_on_others_start_no_process(pipeline, volume, calls):
    with SliceRunner(pipeline) as runner:
        finish(runner.run(volume, 1, waiting=FEW))
        finish(runner.run(dataclasses.replace(volume, unit="values"), 2, waiting=MANY))
        assert runner.process is None
    assert calls == [1, 2]


def test_a_slice_that_nobody_waits_for_any_more_ends_the_process(pipeline, volume, calls):
    with SliceRunner(pipeline) as runner:
        finish(runner.run(volume, 0, waiting=MANY))
        wait_until_ready(runner)
        pid = runner.process.pid
        asked = runner.run(volume, 1, waiting=MANY)
        assert isinstance(next(asked), Progress)
        asked.close()
        assert ended(pid)
        # What it had answered is not taken for the answer to this.
        assert finish(runner.run(volume, 2, waiting=MANY))[0].slice_index == 2
    assert calls == [0, 2]


def test_two_networks_run_there_too_and_tell_of_each(pipeline, volume, tiny_weights, tmp_path, calls):
    other = load_weights(str(tiny_weights / "tiny.safetensors"))
    card = dataclasses.replace(other.card, name="first", sha256="")
    save_weights(tmp_path / "first.safetensors", {k: v * 1.001 for k, v in other.tensors.items()}, card)
    whole = tmp_path / "whole.safetensors"
    head = load_weights(str(tiny_weights / "tiny-s.safetensors"))
    save_weights(
        whole,
        {**other.tensors, **head.tensors},
        dataclasses.replace(head.card, name="whole", sha256="", base_sha256=""),
    )
    two = load_pipeline([str(tmp_path / "first.safetensors"), str(whole)], device="cpu")
    assert two.passes == 2
    with SliceRunner(two) as runner:
        finish(runner.run(volume, 0, waiting=MANY))
        wait_until_ready(runner)
        calls.clear()
        items = list(runner.run(volume, 4, waiting=MANY))
        assert calls == []
    wanted = list(run(two, volume, [4]))
    assert [item.done for item in items if isinstance(item, Progress)] == [0, 1, 2]
    assert "Slice 5, evidence for the class" in [getattr(item, "text", "") for item in items]
    ours, theirs = (finish(iter(some))[0] for some in (items, wanted))
    assert close(ours.verdict.logits, theirs.verdict.logits)
    assert ours.slice_index == 4


def test_a_process_that_is_killed_costs_no_slice(pipeline, volume, calls, caplog):
    with SliceRunner(pipeline) as runner:
        finish(runner.run(volume, 0, waiting=MANY))
        wait_until_ready(runner)
        calls.clear()
        os.kill(runner.process.pid, signal.SIGTERM)
        with caplog.at_level(logging.WARNING):
            (found,) = finish(runner.run(volume, 3, waiting=MANY))
        assert_equal(found, finish(run(pipeline, volume, [3]))[0])
        assert "ended" in caplog.text
        finish(runner.run(volume, 4, waiting=MANY))
    assert calls == [3, 4]


def test_slices_wait_for_the_process_only_so_long(pipeline, volume, calls, monkeypatch):
    monkeypatch.setattr(elsewhere, "_SERVE", "import time; time.sleep(60)")
    monkeypatch.setattr(elsewhere, "_PATIENCE_S", 0.1)
    with SliceRunner(pipeline) as runner:
        for index in (0, 1, 2):
            assert finish(runner.run(volume, index, waiting=MANY))[0].slice_index == index
        pid = runner.process.pid
        assert pid
    assert calls == [0, 1, 2]
    assert ended(pid)


def test_no_process_to_be_had(pipeline, volume, calls, monkeypatch, caplog):
    def refused(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(elsewhere, "start_python", refused)
    with SliceRunner(pipeline) as runner, caplog.at_level(logging.WARNING):
        for index in (0, 1):
            assert finish(runner.run(volume, index, waiting=MANY))[0].slice_index == index
    assert calls == [0, 1]
    assert caplog.text.count("OSError") == 1
    assert "no more" not in caplog.text, "it may name a path"


def test_weights_that_became_others_are_not_used(names, volume, calls, tmp_path):
    mine = tmp_path / "mine.safetensors"
    for suffix in (".safetensors", ".json"):
        shutil.copy(names[0].removesuffix(".safetensors") + suffix, mine.with_suffix(suffix))
    pipeline = load_pipeline([str(mine)], device="cpu")
    card = json.loads(mine.with_suffix(".json").read_text("utf-8"))
    card["detector"] = {"rpn_nms_iou": 0.5}
    mine.with_suffix(".json").write_text(json.dumps(card), "utf-8")
    with SliceRunner(pipeline) as runner:
        finish(runner.run(volume, 0, waiting=MANY))
        end = time.monotonic() + 120
        while runner.process.pid and time.monotonic() < end:
            time.sleep(0.01)
        assert runner.process.pid is None
        assert not runner.process.ready
        finish(runner.run(volume, 1, waiting=MANY))
    assert calls == [0, 1]
