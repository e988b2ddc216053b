"""Training stops and resumes exactly, and several processes compute what one does."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.multiprocessing
from small_systems import SMALL_HEAD, example, network

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import Progress
from model_core.train.course import Passes
from model_core.train.loop import EpochReport, Training
from model_core.train.system import TrainingSettings, identity_of
from model_core.train.systems.classifier import ClassifierSystem
from model_core.train.systems.segmentation import SegmentationSystem
from model_core.train.systems.single_shot import SingleShotSystem

EXAMPLES = [example(seed, label=seed % 3, lesion=seed != 4) for seed in range(5)]


def make(kind, *, reproducible=False, **options):
    if kind == "segmentation":
        return SegmentationSystem(network(kind), reproducible=reproducible)
    if kind == "classifier":
        return ClassifierSystem(network(kind, **SMALL_HEAD), reproducible=reproducible, **options)
    return SingleShotSystem(
        network(kind, branches=2, **SMALL_HEAD), EXAMPLES, reproducible=reproducible, **options
    )


def trainer(system, folder, *, examples=EXAMPLES, validation=None, **settings):
    settings = TrainingSettings(**{"epochs": 2, "batch": 2, "learning_rate": 1e-3, **settings})
    return Training(
        system,
        Passes(examples, settings),
        folder,
        settings=settings,
        identity=identity_of({"kind": "x"}, settings, len(examples)),
        validation=validation,
    )


def run(one, **options):
    return [item for item in one.run(**options) if isinstance(item, EpochReport)]


def assert_same(first, second, **tolerance):
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        if tolerance:
            torch.testing.assert_close(a, b, **tolerance, msg=lambda text, name=name: f"{name}: {text}")
        else:
            assert torch.equal(a, b), name


@pytest.mark.parametrize("kind", ["segmentation", "classifier", "single_shot"])
def test_resume_is_exact(tmp_path, kind):
    whole = trainer(make(kind), tmp_path / "whole")
    reports = run(whole)
    first = trainer(make(kind), tmp_path / "parts")
    run(first, max_steps=4)  # stops within the second epoch
    assert (first.epoch, first.position) == (1, 1)
    second = trainer(make(kind), tmp_path / "parts")
    assert second.resume()
    rest = run(second)
    assert [report.epoch for report in reports] == [1, 2]
    assert rest[-1] == reports[-1]
    assert_same(whole.system.network, second.system.network)
    assert whole.system.state() == second.system.state()
    assert second.rows == whole.rows


def test_cancel_keeps_what_was_learned(tmp_path):
    one = trainer(make("classifier"), tmp_path)
    job = one.run()
    steps = 0
    for item in job:
        if isinstance(item, Progress):
            steps += 1
        if steps == 3:
            break
    job.close()
    again = trainer(make("classifier"), tmp_path)
    assert again.resume()
    assert again.position == 2
    assert_same(one.system.network, again.system.network)


def test_best_is_the_lowest_validation_loss(tmp_path):
    one = trainer(make("classifier"), tmp_path, validation=EXAMPLES[:2], epochs=3, learning_rate=3e-2)
    reports = run(one)
    lowest = min(report.validation for report in reports)
    assert one.best == lowest < math.inf
    assert reports[-1].best == (reports[-1].validation == lowest)
    assert set(one.best_weights()) == set(one.network.state_dict())


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    run(trainer(make("classifier"), tmp_path), max_steps=1)
    with pytest.raises(DataError, match="other settings"):
        trainer(make("classifier"), tmp_path, learning_rate=5e-4).resume()


def test_a_truncated_checkpoint_is_refused(tmp_path):
    run(trainer(make("classifier"), tmp_path), max_steps=1)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="damaged"):
        trainer(make("classifier"), tmp_path).resume()


@pytest.mark.parametrize("state", [{"recipe": "x", "epoch": 1}, {"recipe": "x", "stage": 0, "step": 3}])
def test_a_checkpoint_of_an_earlier_form_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match=r"checkpoint\.pt was written by another version.*delete it"):
        trainer(make("classifier"), tmp_path).resume()


@pytest.mark.parametrize("labels", [{}, {"covid/1": torch.ones(2)}])
def test_a_checkpoint_of_the_former_form_goes_on_unless_the_network_labelled_pictures(tmp_path, labels):
    first = trainer(make("single_shot"), tmp_path)
    run(first, max_steps=2)
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["system"]["labels"] = labels
    torch.save({**state, "form": "ctmasknet training 1"}, path)
    again = trainer(make("single_shot"), tmp_path)
    if labels:
        with pytest.raises(DataError, match="another version"):
            again.resume()
        return
    assert again.resume()
    assert again.steps_done()[0] == 2
    assert_same(first.network, again.network)


def test_two_runs_with_one_seed_are_the_same_and_with_another_are_not(tmp_path):
    networks = []
    for number, seed in enumerate((3, 3, 4)):
        one = trainer(make("single_shot"), tmp_path / str(number), seed=seed)
        run(one, max_steps=2)
        networks.append(one.network)
    assert_same(networks[0], networks[1])
    first, other = (networks[k].state_dict() for k in (0, 2))
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_senseless_settings_are_refused():
    with pytest.raises(SettingsError):
        TrainingSettings(epochs=0)
    with pytest.raises(SettingsError):
        TrainingSettings(epochs=1, learning_rate=0.0)


CASES = {
    "classifier, S only": ("classifier", {"mode": "s"}, EXAMPLES),
    "classifier, S and BN": ("classifier", {"mode": "s_bn"}, EXAMPLES),
    "classifier, full": ("classifier", {"mode": "full"}, EXAMPLES),
    "segmentation": ("segmentation", {}, EXAMPLES),
    # With one lesion in the batch a rank has nothing to learn from.
    "segmentation, one lesion": ("segmentation", {}, [example(k, lesion=k == 2) for k in range(4)]),
    "single-shot": ("single_shot", {}, EXAMPLES),
}


def _double(name, folder):
    """Return a trainer of the case in double precision.

    Adam's first step is nearly the sign of the gradient, so in single precision the noise of a vanishing
    gradient would show in the weights.
    """
    kind, options, examples = CASES[name]
    system = make(kind, reproducible=True, **options)
    system.network.double()
    doubled = [dataclasses.replace(one, image=one.image.astype(np.float64)) for one in examples]
    if kind == "single_shot":
        system._segmentation = doubled
    return trainer(system, folder, examples=doubled, epochs=1, batch=4, save_every=1)


def _rank(rank, folder, names):
    import os

    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name in names:
        run(_double(name, folder / name), max_steps=1)
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "names", [("classifier, S and BN",), pytest.param(tuple(CASES), marks=pytest.mark.slow)]
)
def test_two_processes_equal_one(tmp_path, double_precision, names):
    (tmp_path / "two").mkdir()
    torch.multiprocessing.spawn(_rank, args=(tmp_path / "two", names), nprocs=2)
    for name in names:
        alone = _double(name, tmp_path / "one" / name)
        start = {key: tensor.clone() for key, tensor in alone.system.network.state_dict().items()}
        run(alone, max_steps=1)
        network = alone.system.network.state_dict()
        moved = [key for key, tensor in network.items() if not torch.equal(tensor, start[key])]
        assert moved, name
        state = torch.load(tmp_path / "two" / name / "checkpoint.pt", weights_only=True)
        for key, tensor in network.items():
            torch.testing.assert_close(
                state["network"][key], tensor, atol=1e-5, rtol=1e-5, msg=f"{name} {key}"
            )
        # The same parameters have gradients at all: Adam keeps no moments of the others.
        own = alone.optimizer_state["state"]
        assert state["optimizer"]["state"].keys() == own.keys(), name
        for number, moments in own.items():
            torch.testing.assert_close(
                state["optimizer"]["state"][number]["exp_avg"],
                moments["exp_avg"],
                atol=1e-8,
                rtol=1e-5,
                msg=f"{name} {number}",
            )
