"""A training of the papers' systems as a command: run, told of, written."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.base.errors import DataError, SettingsError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from model_core.train.examples import Example
    from model_core.train.loop import Training
    from model_core.train.systems.presets import Preset
    from model_core.weights.card import ModelCard

# Options that must not change between a stop and a resume, besides those in the card.
_SAME = (
    "data",
    "validation",
    "validation_share",
    "mask_type",
    "mask_values",
    "min_area",
    "rule",
    "copy_rule",
    "segmentation_data",
    "reproducible",
)


def device_of(arguments: argparse.Namespace) -> str:
    """Return the torch device that was asked for; of several processes that of this one."""
    from model_core.engine.torch_backend import choose_device
    from model_core.train.parallel import local_device

    return local_device(choose_device(arguments.device))


def run_training(
    arguments: argparse.Namespace,
    system: Any,
    preset: Preset,
    card: ModelCard,
    examples: Dataset[Example],
    validation: Dataset[Example] | None,
    batch: int,
) -> int:
    """Train a system to where it was asked to, and write its weights; ``batch`` where none was asked for."""
    from model_core.cli.progress import follow, until_stopped
    from model_core.train.course import Passes
    from model_core.train.loop import EpochReport, Training
    from model_core.train.system import TrainingSettings, identity_of

    if arguments.tensorboard and importlib.util.find_spec("tensorboard") is None:
        # Before anything is trained, not after hours of it.
        raise SettingsError("--tensorboard needs the package 'tensorboard': pip install \"ctmasknet[log]\".")
    epochs = preset.epochs if card.kind == "segmentation" else 50
    settings = TrainingSettings(
        epochs=arguments.epochs or epochs,
        batch=arguments.batch or batch,
        micro_batch=arguments.micro_batch,
        learning_rate=arguments.lr or preset.learning_rate,
        weight_decay=preset.weight_decay if arguments.weight_decay is None else arguments.weight_decay,
        seed=arguments.seed,
        save_every=arguments.save_every,
        mixed_precision=arguments.mixed_precision,
        workers=arguments.workers,
    )
    if arguments.compile:
        system.network.backbone.compile()
    kind = {
        "architecture": dataclasses.asdict(card.architecture),
        "input": dataclasses.asdict(card.input),
        **card.training,
        **{name: str(getattr(arguments, name, "")) for name in _SAME},
    }
    course = Passes(examples, settings)
    training = Training(
        system,
        course,
        arguments.output,
        settings=settings,
        identity=identity_of(kind, settings, course.size),
        validation=validation,
        device=device_of(arguments),
    )
    if not training.resume() and arguments.ckpt:
        _take_released(arguments.ckpt, training)
    job = until_stopped(training.run(max_steps=arguments.max_steps))
    for report in follow(job, title=f"Training {card.name}"):
        if isinstance(report, EpochReport) and not training.rank:
            sys.stdout.write(_line(report) + "\n")
    if not training.rank:
        if training.epoch:
            _write(arguments, training, card, images=course.size)
        sys.stdout.write("".join(f"{line}\n" for line in _state(training, card)))
    return 0


def _state(training: Training, card: ModelCard) -> Iterator[str]:
    """Say how far the training is, where everything lies, and how it goes on."""
    from model_core.train.loop import CHECKPOINT
    from model_core.weights.store import SUFFIX

    epochs = training.settings.epochs
    done, steps = training.steps_done()
    yield f"{training.epoch} of {epochs} epochs done ({done} of {steps} steps)"
    yield f"checkpoint: {training.folder / CHECKPOINT}"
    if training.epoch:
        yield f"weights:    {training.folder / card.name}{SUFFIX}"
    else:
        yield "weights:    none yet, they are written when an epoch has ended"
    if training.epoch < epochs:
        yield "To go on, start the same command again; without --max-steps it trains to the end."


def _take_released(path: Path, training: Training) -> None:
    """Go on from a checkpoint in the released form: weights, optimiser and epoch."""
    from model_core.weights.published import read_published

    checkpoint = read_published(path)
    network = training.system.network
    own = network.state_dict()
    if set(checkpoint.tensors) != set(own) or any(
        own[name].shape != tensor.shape for name, tensor in checkpoint.tensors.items()
    ):
        raise DataError(f"{path.name} is a checkpoint of another network than the one asked for.")
    network.load_state_dict(checkpoint.tensors)
    if checkpoint.optimizer_state:
        training.load_optimizer(checkpoint.optimizer_state, epoch=checkpoint.epoch or 0)


def _line(report: Any) -> str:
    losses = ", ".join(f"{name.removeprefix('loss_')} {value:.4f}" for name, value in report.losses.items())
    validation = "" if report.validation is None else f"; validation {report.validation:.4f}"
    return f"epoch {report.epoch}: {losses}{validation}{' (best)' if report.best else ''}"


def _write(arguments: argparse.Namespace, training: Training, card: ModelCard, *, images: int) -> None:
    from model_core.train.outputs import write_plot, write_tensorboard, write_weights

    settings = dataclasses.asdict(training.settings)
    told = {**card.training, **settings, "epochs": training.epoch, "best_loss": training.best}
    write_weights(
        training,
        arguments.output,
        dataclasses.replace(card, training={**told, "images": images}),
        released=arguments.released,
    )
    write_plot(training.rows, arguments.output / "losses.png")
    if arguments.tensorboard:
        write_tensorboard(training.rows, arguments.output / "tensorboard")
