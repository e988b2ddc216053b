"""Training a lesion detector by a recipe: dense pixel stage, then detection stages, resumable exactly.

Every step draws its pictures and its samples from generators seeded by (recipe seed, stage, step), so a
checkpoint needs no random state, and a run that was stopped goes on as if it had not been. On one CPU that is
exact; a GPU adds gradients of RoIs in no fixed order, so runs there agree only closely.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model_core.base.jobs import Progress
from model_core.engine.torch_backend import choose_device
from model_core.networks import MaskRCNN, SingleShot, build
from model_core.train.checkpoints import read_checkpoint, write_checkpoint
from model_core.train.dense import DenseHead, dense_loss
from model_core.train.drawing import Batch, StageSteps, batches, default_workers
from model_core.train.ema import WeightAverage
from model_core.train.joint import JointSteps
from model_core.train.packing import PackedSlice
from model_core.train.recipe import Recipe, Stage
from model_core.train.sampler import PatientSampler
from model_core.train.self_training import Answer, dense_answer, label_slices, teachers_answer, with_labels
from model_core.train.targets import dense_channels
from model_core.train.warm_start import load_backbone, warm_start
from model_core.weights.store import find

logger = logging.getLogger(__name__)

WARM_UP = 40
CLIP_NORM = 5.0
LOG_EVERY = 10
CHECKPOINT = "checkpoint.pt"
_MASK_TYPES = {2: "merge", 3: "both"}


class LesionTraining:
    """The state of one training run; `run` moves it forward.

    Parameters
    ----------
    recipe:
        What to train.
    slices:
        Packed slices, see `packing.pack`.
    work:
        Folder of checkpoint and log; an existing checkpoint of this recipe is continued, on whatever device
        it was made.
    device:
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. On CUDA the backbone runs in bfloat16 (the rest of the
        network needs full precision).
    workers:
        Processes that draw the pictures of later steps; None takes what suits the device. The result does
        not depend on it.

    Raises
    ------
    DataError
        If the checkpoint is damaged or of another recipe, or there is nothing to train on.
    SettingsError
        If the device does not exist, or the weights that the recipe starts from do not fit.
    WeightsError
        If there are no such weights as a stage has for teachers, or the backbone's file does not fit.
    """

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
        self.work = work
        self.device = torch.device(choose_device(device))
        self.workers = default_workers(self.device) if workers is None else workers
        self.slices = tuple(slices)
        self.labels: dict[str, Tensor] = {}  # the network's own, of unlabelled slices
        for stage in recipe.stages:  # says so at once where a stage would have nothing to draw
            self._sampler(stage)
            self._classified(stage)
            for teacher in stage.teachers:
                find(teacher)
        torch.manual_seed(recipe.seed)
        self.network = _network(recipe)
        self.joint = JointSteps(self.network) if isinstance(self.network, SingleShot) else None
        # The weights are drawn on the CPU on every device, so that they are the same.
        self.head = DenseHead(dense_channels(_MASK_TYPES[recipe.architecture.region_classes])).to(self.device)
        state = read_checkpoint(work / CHECKPOINT, recipe=recipe.digest)
        if state is None and recipe.start:
            warm_start(self.network, recipe.start, classes=recipe.architecture.region_classes)
        # What the card says of the backbone's file; a checkpoint goes on without it.
        self.started: dict[str, str] = {}
        if state is None and recipe.backbone_weights:
            self.started = load_backbone(self.network, Path(recipe.backbone_weights))
        self.network.to(self.device).to(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 where bfloat16 is too coarse
            torch.backends.cudnn.benchmark = True  # every step of a stage has the same shapes
        self.stage, self.step = 0, 0
        self.average = WeightAverage(self.network, recipe.ema)
        self.optimiser = self._new_optimiser()
        self._features: dict[str, Tensor] = {}
        self.network.backbone.register_forward_hook(self._keep_features)
        if state is not None:
            self._restore(state)

    # -- state ------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every stage is done."""
        return self.stage >= len(self.recipe.stages)

    @property
    def place(self) -> str:
        """How far the run is, in words."""
        stages = self.recipe.stages
        if self.finished:
            return f"All {len(stages)} stages of {self.recipe.name} are done"
        stage = f"stage {self.stage + 1} of {len(stages)}"
        return f"{self.recipe.name} is at {stage}, step {self.step} of {stages[self.stage].steps}"

    def save(self) -> None:
        """Write the checkpoint."""
        write_checkpoint(
            self.work / CHECKPOINT,
            {
                "recipe": self.recipe.digest,
                "stage": self.stage,
                "step": self.step,
                "network": self.network.state_dict(),
                "head": self.head.state_dict(),
                "average": self.average.state,
                "updates": self.average.updates,
                "optimiser": self.optimiser.state_dict(),
                "labels": self.labels,
                "started": self.started,
                "joint": self.joint.state() if self.joint else {},
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.stage, self.step = state["stage"], state["step"]
        self.network.load_state_dict(state["network"])
        self.head.load_state_dict(state["head"])
        self.average.restore(state["average"], updates=state["updates"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.labels = state.get("labels", {})
        self.started = state.get("started", {})
        if self.joint:
            self.joint.restore(state["joint"])
        logger.info("going on at stage %d, step %d", self.stage, self.step)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        parameters = [*self.network.parameters(), *self.head.parameters()]
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]  # biases and BatchNorm are not decayed
        return torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=1e-3,
            fused=True,
        )

    # -- running ----------------------------------------------------------------------------------

    def run(
        self,
        *,
        save_every: float = 180.0,
        max_steps: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Generator[Progress, None, None]:
        """Train to the end (or ``max_steps`` further steps), saving every ``save_every`` seconds.

        Looks at ``stopped`` after every step; then, too, the checkpoint is written.
        """
        saved, done = time.monotonic(), 0
        ended = stopped() or max_steps == 0
        while not (self.finished or ended):
            stage = self.recipe.stages[self.stage]
            if self.step >= stage.steps:
                self.stage, self.step = self.stage + 1, 0
                self.optimiser = self._new_optimiser()
                continue
            self.network.learn_by(self.recipe.detector_training(stage))
            self.network.backbone.requires_grad_(stage.moves == "full")
            if self.step == 0 and self._unlabelled(stage):
                yield from self._label(stage, stopped)
                ended = stopped()
                if ended:
                    break
            with closing(self._batches(stage)) as coming:
                start = time.perf_counter()
                for batch in coming:
                    losses = self._advance(stage, batch)
                    done += 1
                    if self.step % LOG_EVERY == 0:
                        self._log(losses, seconds=time.perf_counter() - start)
                    if time.monotonic() - saved > save_every:
                        self.save()
                        saved = time.monotonic()
                    yield Progress(
                        self.step, stage.steps, f"stage {self.stage + 1} of {len(self.recipe.stages)}"
                    )
                    ended = stopped() or done == max_steps
                    if ended:
                        break
                    start = time.perf_counter()
        self.save()

    def _sampler(self, stage: Stage) -> PatientSampler:
        """Return what draws the slices of a stage; unlabelled ones once they have labels."""
        return PatientSampler(with_labels(self.slices, self.labels), self.recipe.weights(stage))

    def _classified(self, stage: Stage) -> PatientSampler | None:
        """Return what draws the pictures of the image loss, in a joint stage."""
        return PatientSampler(self.slices, self.recipe.class_weights()) if stage.kind == "joint" else None

    def _unlabelled(self, stage: Stage) -> list[PackedSlice]:
        """Return the training slices without an outline that a stage draws from."""
        weights = self.recipe.weights(stage)
        return [one for one in self.slices if one.unlabelled and not one.validation and one.source in weights]

    def _label(self, stage: Stage, stopped: Callable[[], bool]) -> Generator[Progress, None, None]:
        """Label the unlabelled slices; stopped in between, it labels none."""
        slices = self._unlabelled(stage)
        for item in label_slices(self._answer(stage), slices):
            if not isinstance(item, Progress):
                self.labels = item
            elif stopped():
                return
            else:
                yield item
        logger.info("labelled %d of %d pictures without outlines", len(self.labels), len(slices))

    def _answer(self, stage: Stage) -> Answer:
        """Return what labels: the stage's teachers, or the averaged network."""
        if stage.teachers:
            return teachers_answer(stage.teachers, device=str(self.device))
        network = averaged_network(self.recipe, self.average.state).to(self.device)
        return dense_answer(network, self.head, device=self.device)

    def _batches(self, stage: Stage) -> Generator[Batch, None, None]:
        """Yield what is left of the stage."""
        steps = StageSteps(
            self._sampler(stage),
            stage,
            key=(self.recipe.seed, self.stage),
            mask_type=_MASK_TYPES[self.recipe.architecture.region_classes],
            classified=self._classified(stage),
        )
        yield from batches(steps, start=self.step, workers=self.workers, device=self.device)

    def _advance(self, stage: Stage, batch: Batch) -> dict[str, float]:
        """Make one step and return its losses."""
        torch.manual_seed(batch.seed)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(stage, self.step)
        self.network.train()
        if stage.moves == "heads":
            self.network.backbone.eval()
        losses = self._losses(stage, batch)
        values = self._backward(losses)
        if stage.kind == "joint" and self.joint:
            self.joint.after_detector(sum(value for name, value in values.items() if name != "dense"))
        values["norm"] = self._move()
        if stage.kind == "joint" and self.joint:
            with self._mixed():
                losses = self.joint.image_losses(batch.classified, batch.image_classes, seed=batch.seed)
            values |= self._backward(losses)
            self.joint.after_image()
            self._move()
        self.average.update(self.network)
        self.step += 1
        return values

    def _backward(self, losses: dict[str, Tensor]) -> dict[str, float]:
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        sum(losses.values(), total).backward()  # type: ignore[no-untyped-call]
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _move(self) -> float:
        """Make the optimiser's step; return the norm of the gradient before it was clipped."""
        norm = nn.utils.clip_grad_norm_(
            [*self.network.parameters(), *self.head.parameters()], CLIP_NORM, error_if_nonfinite=True
        )
        self.optimiser.step()
        return float(norm)

    def _mixed(self) -> AbstractContextManager[None]:
        """Half precision for convolutions on a GPU. bfloat16 has the range of float32: no loss scaling."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        weight = 1.0
        with self._mixed():
            if stage.kind == "dense":
                self._features = dict(self.network.features(batch.images))
            else:
                losses = self.network.losses(batch.images, batch.targets)
                weight = stage.dense_weight if stage.moves == "full" else 0.0
        if weight:
            logits = self.head(self._features["0"].float())
            losses["dense"] = weight * dense_loss(logits, batch.dense, batch.known)
        self._features = {}
        return losses

    def _keep_features(self, _module: nn.Module, _inputs: Any, output: dict[str, Tensor]) -> None:
        self._features = dict(output)

    def _log(self, losses: dict[str, float], *, seconds: float) -> None:
        path = self.work / "log.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        fields = {"time": round(time.time()), "stage": self.stage, "step": self.step, "seconds": seconds}
        names = (
            "loss_objectness",
            "loss_rpn_box_reg",
            "loss_classifier",
            "loss_box_reg",
            "loss_mask",
            "dense",
            "norm",
            *(("loss_image", "replayed") if self.joint else ()),
        )
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow([*fields, *names])
            writer.writerow(
                [*(f"{v:.3f}" if isinstance(v, float) else v for v in fields.values())]
                + [f"{losses[name]:.4f}" if name in losses else "" for name in names]
            )


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
    """Return the network as it is trained: augmentation and self-training mirror pictures themselves."""
    return build(recipe.architecture, dataclasses.replace(recipe.detector, mirror=False), recipe.training)
