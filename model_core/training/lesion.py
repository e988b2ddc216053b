"""Training a lesion detector by a recipe: dense pixel stage, then detection stages, resumable exactly.

Every step draws its pictures and its samples from generators seeded by (recipe seed, stage, step), so a
checkpoint needs no random state, and a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_core.networks import MaskRCNN, build
from model_core.training.augment import Example, augment
from model_core.training.checkpoints import read_checkpoint, write_checkpoint
from model_core.training.dense import DenseHead, dense_loss
from model_core.training.ema import WeightAverage
from model_core.training.packing import PackedSlice
from model_core.training.recipe import Recipe, Stage
from model_core.training.sampler import PatientSampler
from model_core.training.targets import dense_targets, detection_target, images
from model_core.types import Progress

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
        Folder of checkpoint and log; an existing checkpoint of this recipe is continued.

    Raises
    ------
    DataError
        If the checkpoint is damaged or of another recipe, or there is nothing to train on.
    """

    def __init__(self, recipe: Recipe, slices: Sequence[PackedSlice], work: Path) -> None:
        self.recipe = recipe
        self.work = work
        self.sampler = PatientSampler(slices, {name: s.weight for name, s in recipe.sources.items()})
        torch.manual_seed(recipe.seed)
        self.network = build(recipe.architecture, training=recipe.training)
        self.head = DenseHead()
        self.network.to(memory_format=torch.channels_last)
        self.stage, self.step = 0, 0
        self.average = WeightAverage(self.network, recipe.ema)
        self.optimiser = self._new_optimiser()
        self._features: dict[str, Tensor] = {}
        self.network.backbone.register_forward_hook(self._keep_features)
        state = read_checkpoint(work / CHECKPOINT, recipe=recipe.digest)
        if state is not None:
            self._restore(state)

    # -- state ------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every stage is done."""
        return self.stage >= len(self.recipe.stages)

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
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.stage, self.step = state["stage"], state["step"]
        self.network.load_state_dict(state["network"])
        self.head.load_state_dict(state["head"])
        self.average.state, self.average.updates = state["average"], state["updates"]
        self.optimiser.load_state_dict(state["optimiser"])
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
        while not (self.finished or stopped() or done == max_steps):
            stage = self.recipe.stages[self.stage]
            if self.step >= stage.steps:
                self.stage, self.step = self.stage + 1, 0
                self.optimiser = self._new_optimiser()
                continue
            start = time.perf_counter()
            losses = self.advance(stage)
            done += 1
            if self.step % LOG_EVERY == 0:
                self._log(losses, seconds=time.perf_counter() - start)
            if time.monotonic() - saved > save_every:
                self.save()
                saved = time.monotonic()
            yield Progress(self.step, stage.steps, f"stage {self.stage + 1} of {len(self.recipe.stages)}")
        self.save()

    def advance(self, stage: Stage) -> dict[str, float]:
        """Make one step and return its losses."""
        generator = np.random.default_rng([self.recipe.seed, self.stage, self.step])
        torch.manual_seed(int(generator.integers(2**31)))
        examples = [
            augment(one, generator, size=stage.size, zoom=stage.zoom)
            for one in self.sampler.draw(generator, stage.batch)
        ]
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(stage, self.step)
        self.network.train()
        losses = self._losses(stage, examples)
        self.optimiser.zero_grad(set_to_none=True)
        sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(
            [*self.network.parameters(), *self.head.parameters()], CLIP_NORM, error_if_nonfinite=True
        )
        self.optimiser.step()
        self.average.update(self.network)
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()} | {"norm": float(norm)}

    def _losses(self, stage: Stage, examples: Sequence[Example]) -> dict[str, Tensor]:
        batch = images(examples)
        losses: dict[str, Tensor] = {}
        weight = 1.0
        if stage.kind == "dense":
            self._features = dict(self.network.features(batch))
        else:
            mask_type = _MASK_TYPES[self.recipe.architecture.region_classes]
            losses = self.network.losses(
                batch, [detection_target(one.lesion, mask_type=mask_type) for one in examples]
            )
            weight = stage.dense_weight
        if weight:
            logits = self.head(self._features["0"])
            losses["dense"] = weight * dense_loss(logits, *dense_targets(examples))
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
    network = build(recipe.architecture, training=recipe.training)
    network.load_state_dict(average)
    return network.eval()
