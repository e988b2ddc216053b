"""Training a lesion detector by a recipe: dense pixel stages, then detection or joint stages.

Every step draws its pictures from a generator seeded by (recipe seed, stage, step), see `drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from model_core.engine.torch_backend import choose_device
from model_core.networks import MaskRCNN, SingleShot, build
from model_core.train.dense import DenseHead, dense_loss
from model_core.train.drawing import Stages, default_workers, dense_channels, mask_type
from model_core.train.ema import WeightAverage
from model_core.train.examples import Example, stack_images, targets_of
from model_core.train.joint import JointSteps
from model_core.train.loop import Training
from model_core.train.packing import PackedSlice
from model_core.train.recipe import Recipe, Stage
from model_core.train.system import Losses, Stepper, System, TrainingSettings
from model_core.train.systems.segmentation import SEGMENTATION_LOSSES
from model_core.train.systems.steps import summed
from model_core.train.warm_start import load_backbone, warm_start

WARM_UP = 40


class RecipeSystem(System):
    """A network, its dense head and its running average; a step does what its stage says.

    In a joint stage each step is two (`joint`): the detector's losses, then the image loss.
    """

    losses = (*SEGMENTATION_LOSSES, "dense", "norm", "loss_image", "replayed")
    clip_norm = 5.0
    half = torch.bfloat16
    restarts = True
    keeps_best = False
    log_every = 10

    def __init__(self, recipe: Recipe, *, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        # The weights are drawn on the CPU on every device, so that they are the same.
        torch.manual_seed(recipe.seed)
        self.network = _network(recipe)
        self.head = DenseHead(dense_channels(mask_type(recipe.architecture))).to(device)
        self.network.to(device).to(memory_format=torch.channels_last)
        self.joint = JointSteps(self.network) if isinstance(self.network, SingleShot) else None
        self.average = WeightAverage(self.network, recipe.ema)
        # What the card says of the backbone's file; a checkpoint goes on without it.
        self.started: dict[str, str] = {}
        self._features: dict[str, Tensor] = {}
        self.network.backbone.register_forward_hook(self._keep_features)

    def start(self) -> None:
        """Take the weights that the recipe starts from."""
        if self.recipe.start:
            warm_start(self.network, self.recipe.start, classes=self.recipe.architecture.region_classes)
        if self.recipe.backbone_weights:
            self.started = load_backbone(self.network, Path(self.recipe.backbone_weights))
        self.average = WeightAverage(self.network, self.recipe.ema)

    def trained(self) -> list[Parameter]:
        """See `System.trained`."""
        return [*self.network.parameters(), *self.head.parameters()]

    def optimizer(self, settings: TrainingSettings) -> torch.optim.Optimizer:
        """See `System.optimizer`; biases and BatchNorm are not decayed."""
        matrices = [p for p in self.trained() if p.ndim > 1]
        vectors = [p for p in self.trained() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)

    def enter(self, epoch: int) -> None:
        """See `System.enter`."""
        self.stage = self.recipe.stages[epoch]

    def rate(self, epoch: int, position: int) -> float:
        """See `System.rate`."""
        return learning_rate(self.recipe.stages[epoch], position)

    def update(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> Losses:
        """See `System.update`."""
        drawn = [one for part in batch for one in part]
        outlined = [one for one in drawn if one.label < 0]
        classified = [one for one in drawn if one.label >= 0]
        values: Losses = {}
        self.network.train()
        stepper.accumulate([lambda: summed(self._losses(outlined, stepper), values)], 1)
        if classified and self.joint:
            self.joint.after_detector(sum(value for name, value in values.items() if name != "dense"))
        norm = stepper.step(1)
        if classified and self.joint:
            self._learn_classes(classified, self.joint, stepper, seed, values)
        self.average.update(self.network)
        return {**values, "norm": norm}

    def _losses(self, examples: Sequence[Example], stepper: Stepper) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        weight = 1.0
        images = _channels_last(examples, self.device)
        with stepper.autocast():
            if self.stage.kind == "dense":
                self._features = dict(self.network.features(images))
            else:
                losses = self.network.losses(images, targets_of(examples, self.device))
                weight = self.stage.dense_weight
        if weight:
            logits = self.head(self._features["0"].float())
            losses["dense"] = weight * dense_loss(logits, examples)
        self._features = {}
        return losses

    def _learn_classes(
        self,
        examples: Sequence[Example],
        joint: JointSteps,
        stepper: Stepper,
        seed: int,
        values: Losses,
    ) -> None:
        """Make the second step of a joint stage."""

        def compute() -> Tensor:
            classes = torch.tensor([one.label for one in examples], device=self.device)
            with stepper.autocast():
                losses = joint.image_losses(_channels_last(examples, self.device), classes, seed=seed)
            return summed(losses, values)

        stepper.accumulate([compute], 1)
        joint.after_image()
        stepper.step(1)

    def _keep_features(self, _module: nn.Module, _inputs: Any, output: dict[str, Tensor]) -> None:
        self._features = dict(output)

    def state(self) -> dict[str, Any]:
        """See `System.state`."""
        return {
            "head": self.head.state_dict(),
            "average": self.average.state,
            "updates": self.average.updates,
            "started": self.started,
            "joint": self.joint.state() if self.joint else {},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `System.restore`."""
        self.head.load_state_dict(state["head"])
        self.average.restore(state["average"], updates=state["updates"])
        self.started = state["started"]
        if self.joint:
            self.joint.restore(state["joint"])


def half_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 at twice the rate: CUDA, processors with AVX512-BF16 or AMX."""
    # Not in every torch that is allowed, and private: without it, full precision.
    on_cpu = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cuda" or (device.type == "cpu" and on_cpu())


class LesionTraining(Training):
    """The training of a recipe in its work folder; a checkpoint there is continued, on whatever device.

    Parameters
    ----------
    slices:
        Packed slices, see `packing.pack`.
    device:
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Where `half_is_fast` backbone and mask branch run in
        bfloat16 (the rest of the network needs full precision).
    workers:
        Processes that draw the pictures of later steps; None takes what suits the device.

    Raises
    ------
    DataError
        If the checkpoint is damaged or of another recipe, or there is nothing to train on.
    SettingsError
        If the device does not exist, or the weights that the recipe starts from do not fit.
    WeightsError
        If the backbone's file does not fit.
    """

    system: RecipeSystem

    def __init__(
        self,
        recipe: Recipe,
        slices: Sequence[PackedSlice],
        work: Path,
        *,
        device: str = "cpu",
        workers: int | None = None,
    ) -> None:
        self.recipe = recipe
        place = torch.device(choose_device(device))
        if place.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 where bfloat16 is too coarse
            torch.backends.cudnn.benchmark = True  # every step of a stage has the same shapes
        course = Stages(recipe, slices, workers=default_workers(place) if workers is None else workers)
        super().__init__(
            RecipeSystem(recipe, device=place),
            course,
            work,
            settings=TrainingSettings(
                epochs=max(1, course.epochs),
                learning_rate=1e-3,
                weight_decay=recipe.weight_decay,
                seed=recipe.seed,
                save_every=1,
                mixed_precision=half_is_fast(place),
            ),
            identity=recipe.digest,
            device=place,
        )
        if not self.resume():
            self.system.start()

    @property
    def place(self) -> str:
        """How far the run is, in words."""
        stages = self.recipe.stages
        if self.finished:
            return f"All {len(stages)} stages of {self.recipe.name} are done"
        # Between two stages it is at the end of the first.
        ended = self.position == 0 and self.epoch > 0
        epoch = self.epoch - 1 if ended else self.epoch
        position, steps = stages[epoch].steps if ended else self.position, stages[epoch].steps
        return f"{self.recipe.name} is at stage {epoch + 1} of {len(stages)}, step {position} of {steps}"


def learning_rate(stage: Stage, step: int) -> float:
    """Return the rate of a step: linear warm-up, then a half cosine from first to final rate."""
    if step < WARM_UP:
        return stage.learning_rate * (step + 1) / WARM_UP
    part = (step - WARM_UP) / max(1, stage.steps - WARM_UP)
    swing = 0.5 * (1 + math.cos(math.pi * min(1.0, part)))
    return stage.final_rate + (stage.learning_rate - stage.final_rate) * swing


def averaged_network(recipe: Recipe, average: dict[str, Tensor]) -> MaskRCNN:
    """Return the network with averaged weights, in eval mode."""
    network = _network(recipe)
    network.load_state_dict(average)
    return network.eval()


def _network(recipe: Recipe) -> MaskRCNN:
    """Return the network as it is trained."""
    return build(recipe.architecture, training=recipe.training)


def _channels_last(examples: Sequence[Example], device: torch.device) -> Tensor:
    return stack_images(examples, device).contiguous(memory_format=torch.channels_last)
