"""What a training leaves behind: weights with their card, a released-form checkpoint, a plot of the log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_core.base.files import atomic_path
from model_core.train.loop import Training
from model_core.weights.card import ModelCard
from model_core.weights.published import PublishedCheckpoint, write_published
from model_core.weights.store import save_weights


def write_weights(training: Training, folder: Path, card: ModelCard, *, released: bool = False) -> ModelCard:
    """Write the best weights as ``NAME.safetensors`` with their card, and the last as ``NAME-last``.

    ``released`` writes the last weights also as ``NAME_ckpt_E.pth`` with their optimiser, as the papers'
    code saves them.
    A classifier that stores module S alone is saved by ``base_sha256`` in its card.
    """
    saved = card
    last = {key: value.cpu() for key, value in training.network.state_dict().items()}
    for tensors, name in ((last, f"{card.name}-last"), (training.best_weights(), card.name)):
        if card.base_sha256:
            tensors = {key: value for key, value in tensors.items() if key.startswith("s2new.")}
        saved = save_weights(folder / f"{name}.safetensors", tensors, card)
    if released:
        shape = card.architecture
        write_published(
            folder / f"{card.name}_ckpt_{training.epoch}.pth",
            PublishedCheckpoint(
                tensors=last,
                anchor_sizes=shape.anchor_sizes,
                aspect_ratios=shape.aspect_ratios,
                epoch=training.epoch,
                model_name=card.name,
                lrate=training.settings.learning_rate,
                optimizer_state=training.optimizer_state,
            ),
            single_shot=card.kind == "single_shot",
        )
    return saved


def write_plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the losses of the log over epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in rows]
    for name in dict.fromkeys(key for row in rows for key in row if key.startswith("loss_")):
        values = [row.get(name, float("nan")) for row in rows]
        axes.plot(epochs, values, label=name.removeprefix("loss_"), linewidth=1.2)
    validated = [(row["epoch"], row["validation"]) for row in rows if row.get("validation") is not None]
    if validated:
        axes.plot(
            *zip(*validated, strict=True), label="validation", linewidth=2, linestyle="--", color="black"
        )
    axes.set(xlabel="Epoch", ylabel="Mean loss", title="Training")
    axes.grid(alpha=0.3)
    if rows:
        axes.legend(fontsize=8)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary)


def write_tensorboard(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write the log for TensorBoard, which must be installed."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            for name, value in row.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, row["epoch"])
