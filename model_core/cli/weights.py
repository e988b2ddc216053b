"""``ctmasknet weights``: list, describe and export weight files."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from model_core.base.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from model_core.weights.card import ModelCard


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser("weights", help="list, describe and export weight files")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="list the shipped weights")
    listing.set_defaults(run=_list)

    info = actions.add_parser(
        "info",
        help="say what a weight file is",
        description="Says what a weight file is: a shipped name, a safetensors file, or a checkpoint of the "
        "papers' code (read without running anything in it).",
    )
    info.add_argument("weights", metavar="NAME|FILE")
    info.add_argument("--json", action="store_true", help="print the whole card as JSON")
    info.set_defaults(run=_info)

    export = actions.add_parser(
        "export",
        help="write weights in the released form of the papers' code, or in ours",
        description="FILE.pth: a checkpoint with the published entry names and keys. FILE.safetensors: our "
        "form, with a card beside it that says what a released file leaves open. A classifier that stores "
        "module S alone is written whole, with the detector it reads.",
    )
    export.add_argument("weights", metavar="NAME|FILE")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    export.add_argument(
        "--extra-pool",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="a ResNet50 file has, or has not, the pooled fifth RPN level of the first release (Oct 2020); "
        "no entry shows it for certain (only for FILE.safetensors; default as recognised)",
    )
    export.add_argument("--overwrite", action="store_true", help="replace an existing file")
    export.set_defaults(run=_export)


def _list(_: argparse.Namespace) -> int:
    from model_core.weights.store import default_names, shipped

    cards = shipped()
    default = default_names()
    for card in cards:
        mark = "*" if card.name in default else " "
        sys.stdout.write(f"{mark} {card.name:24} {card.kind.replace('_', '-'):13} {card.title}\n")
    sys.stdout.write("* runs by default\n")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from model_core.weights.store import load_weights

    weights = load_weights(arguments.weights)
    card = weights.card
    if arguments.json:
        sys.stdout.write(card.to_json())
        return 0
    shape = card.architecture
    parameters = sum(
        tensor.numel()
        for name, tensor in weights.tensors.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    lines = {
        "name": card.name,
        "title": card.title,
        "kind": card.kind.replace("_", "-"),
        "backbone": shape.backbone + (f", truncation {shape.truncation}" if shape.truncation else ""),
        "region classes": ", ".join(card.region_classes),
        "image classes": ", ".join(card.image_classes) or "none",
        "anchors": f"sizes {_list_of(shape.anchor_sizes)}; ratios {_list_of(shape.aspect_ratios)}",
        "entries": f"{len(weights.tensors)}, {parameters:,} parameters in this file",
        "input": str(card.input),
        "detections": json.dumps(dataclasses.asdict(card.detections)),
        "SHA-256": card.sha256,
        "licence": card.licence or "not stated",
        "notes": card.notes,
    }
    if shape.backbone == "resnet50":
        lines["RPN levels"] = "5 (first release, with the pooled level)" if shape.extra_pool else "4"
    if shape.has_image_head:
        lines["module S"] = f"N = {shape.roi_batch_size}, width {shape.s_width}, {shape.branches} branch(es)"
    if (known := card.calibration) is not None:
        lines["ill or not"] = (
            f"slope {known.slope:g}, bias {known.bias:g}; of controls {known.control_rate:.0%} look ill "
            f"(at most {known.control_limit:.0%}); kinds {'told' if known.kinds_told else 'not told'}"
        )
    if (compared := card.references) is not None:
        lines["explained against"] = (
            f"{compared.slices} control slices of {compared.patients} patient(s), "
            f"{', '.join(compared.sources)}"
        )
    if (controls := card.control_rois) is not None:
        seen = "" if controls.seen is None else f"; the detector was trained on {controls.seen} of them"
        lines["scans beside"] = (
            f"{controls.patients} control patients, a slice each, {', '.join(controls.sources)}{seen}"
        )
    if card.base_sha256:
        lines["reads RoIs of"] = card.base_sha256
    for key, value in lines.items():
        if value:
            sys.stdout.write(f"{key + ':':16} {value}\n")
    return 0


def _list_of(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _export(arguments: argparse.Namespace) -> int:
    from model_core.weights.published import PublishedCheckpoint, read_published, write_published
    from model_core.weights.store import SUFFIX, find_base, load_weights

    target: Path = arguments.output
    if target.exists() and not arguments.overwrite:
        raise WeightsError(f"{target.name} exists already: use --overwrite or another name.")
    weights = load_weights(arguments.weights)
    tensors = weights.tensors
    if weights.card.kind == "classifier" and all(name.startswith("s2new.") for name in tensors):
        base = load_weights(str(find_base(weights)))
        detector = {name: tensor for name, tensor in base.tensors.items() if ".mask_" not in name}
        tensors = {**detector, **tensors}
    shape = weights.card.architecture
    if target.suffix == SUFFIX:
        return _export_own(arguments, tensors, weights.card)
    if arguments.extra_pool is not None:
        raise WeightsError(
            "The released form cannot say whether there is a fifth RPN level: export to a .safetensors file."
        )
    checkpoint = PublishedCheckpoint(
        tensors=tensors,
        anchor_sizes=shape.anchor_sizes,
        aspect_ratios=shape.aspect_ratios,
        model_name=weights.card.name,
    )
    if weights.path.suffix != SUFFIX:
        # A released file keeps its training state: epoch, learning rate, optimiser.
        released = read_published(weights.path)
        checkpoint = dataclasses.replace(
            checkpoint,
            epoch=released.epoch,
            model_name=released.model_name,
            lrate=released.lrate,
            optimizer_state=released.optimizer_state,
        )
    write_published(target, checkpoint, single_shot=weights.card.kind == "single_shot")
    sys.stdout.write(f"{target.name}: {len(tensors)} entries\n")
    return 0


def _export_own(arguments: argparse.Namespace, tensors: dict[str, Tensor], card: ModelCard) -> int:
    from model_core.weights.store import save_weights

    target: Path = arguments.output
    if target.with_suffix(".json").exists() and not arguments.overwrite:
        raise WeightsError(
            f"{target.with_suffix('.json').name} exists already: use --overwrite or another name."
        )
    shape = card.architecture
    if arguments.extra_pool is not None:
        if shape.backbone != "resnet50":
            raise WeightsError(f"Only ResNet50 weights can have a fifth RPN level, not {shape.backbone}.")
        shape = dataclasses.replace(shape, extra_pool=arguments.extra_pool)
    # The whole network is in this file, so it reads the RoIs of no other.
    card = dataclasses.replace(card, name=target.stem, architecture=shape, base_sha256="")
    save_weights(target, tensors, card)
    sys.stdout.write(f"{target.name}: {len(tensors)} entries, card {target.with_suffix('.json').name}\n")
    return 0
