"""A step of a training by the recipe of the shipped weights, and the same step in a plain loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from model_core.base.arrays import ByteArray
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.benchmark.timing import in_turns, ratio
from model_core.data.instances import instances
from model_core.engine.preprocess import network_input
from model_core.train.examples import Example, Instances, stack_images, targets_of
from model_core.train.lesion import RecipeSystem
from model_core.train.recipe import Recipe, read_recipe
from model_core.train.system import Stepper, TrainingSettings

RECIPE = "lesion-r18t1"
_SIZE, _BATCH = 512, 2


def measure_training(volume: Volume, labels: ByteArray, *, rounds: int, seconds: float) -> float:
    """Return how many times as long a step takes in a plain loop: the same losses of the same pictures.

    The plain loop keeps torch's usual memory order and moves one parameter at a time; the gradient is clipped
    and the weights are averaged as in the recipe.

    Parameters
    ----------
    volume, labels:
        Of the phantom, see `make_phantom`; the slices with most lesion are learned from.
    """
    whole = read_recipe(RECIPE)
    stage = next(stage for stage in whole.stages if stage.kind == "detect")
    stage = replace(stage, dense_weight=0.0, steps=1, size=_SIZE, batch=_BATCH)
    # At random, without a file: how long a step takes does not depend on the weights.
    recipe = replace(whole, stages=(stage,), start="", backbone_weights="")
    settings = TrainingSettings(epochs=1, batch=_BATCH, weight_decay=recipe.weight_decay)
    examples = _examples(volume, labels, recipe)
    ways = {"plain": _plain(recipe, settings, examples), "ctmasknet": _own(recipe, settings, examples)}
    times = in_turns(ways, rounds=rounds, seconds=seconds)
    return ratio(times["plain"], times["ctmasknet"])


def _own(recipe: Recipe, settings: TrainingSettings, examples: list[Example]) -> Any:
    system = _system(recipe)
    stepper = Stepper(
        system.network, system.optimizer(settings), half=system.half, clip_norm=system.clip_norm
    )
    return lambda: system.update([examples], stepper, 0)


def _plain(recipe: Recipe, settings: TrainingSettings, examples: list[Example]) -> Any:
    system = _system(recipe)
    network = system.network.to(memory_format=torch.contiguous_format)
    groups = [
        {"params": group["params"], "weight_decay": group["weight_decay"]}
        for group in system.optimizer(settings).param_groups
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, foreach=False)

    def step() -> None:
        network.train()
        losses = network.losses(stack_images(examples, "cpu"), targets_of(examples, "cpu"))
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(system.trained(), system.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        system.average.update(network)

    return step


def _system(recipe: Recipe) -> RecipeSystem:
    system = RecipeSystem(recipe, device=torch.device("cpu"))
    system.enter(0)
    return system


def _examples(volume: Volume, labels: ByteArray, recipe: Recipe) -> list[Example]:
    kind = "merge" if recipe.architecture.region_classes == 2 else "both"
    most = sorted(range(volume.slices), key=lambda index: -int((labels[index] > 0).sum()))
    spec = InputSpec(size=_SIZE)
    return [
        Example(network_input(volume, index, spec), instances=_instances(labels[index], kind))
        for index in most[:_BATCH]
    ]


def _instances(mask: ByteArray, kind: str) -> Instances:
    masks, labels = instances(mask, kind)
    return Instances.of(masks, labels)
