"""``ctmasknet train``: weights from a data folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from model_core.cli import train_systems, values
from model_core.cli.stopping import stop_requests
from model_core.errors import SettingsError

# Where the class folders lie inside a folder of several data sets.
SLICE_CLASSES = "B_slice_classification"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train", help="train networks", description="Train networks on a data folder."
    )
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    train_systems.add_kinds(kinds)
    recipe = kinds.add_parser(
        "recipe",
        help="rebuild shipped weights",
        description="Trains by a shipped recipe (or a recipe file). Stop it at any time; the same command "
        "goes on from its last checkpoint in the work folder.",
    )
    recipe.add_argument("name", help="a shipped recipe (lesion-r18t1) or a recipe file (.json)")
    _common(recipe)
    recipe.add_argument("--without", nargs="+", default=[], metavar="SOURCE", help="switch sources off (A5)")
    recipe.add_argument("--steps", type=values.positive, metavar="N", help="stop after N further steps")
    recipe.set_defaults(run=run_recipe)

    export = kinds.add_parser(
        "export",
        help="write weight files from the checkpoint of a recipe",
        description="Writes the averaged weights of the current checkpoint, 16 bits, with thresholds chosen "
        "and quality measured on the held-out patients, and the list of slices used. With class folders "
        "in the data, also trains module S on them (S-only).",
    )
    export.add_argument("name", help="a shipped recipe (lesion-r18t1) or a recipe file (.json)")
    _common(export)
    export.add_argument("--without", nargs="+", default=[], metavar="SOURCE", help="as in training")
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the weights"
    )
    export.add_argument(
        "--stride",
        type=values.positive,
        default=1,
        metavar="N",
        help="measure every Nth slice of long series",
    )
    export.add_argument("--no-classifier", action="store_true", help="leave out module S")
    _limit(export)
    export.set_defaults(run=run_export)

    classifier = kinds.add_parser(
        "module-s",
        help="train module S alone on the stored RoI batches of lesion weights (fast)",
        description="Trains module S on the RoI batches of frozen lesion weights and writes it alone.",
    )
    classifier.add_argument(
        "--weights", required=True, metavar="W", help="lesion weights: shipped name or file"
    )
    _common(classifier)
    classifier.add_argument("--name", default="covid-s-r18t1", help="name of the new weight file")
    classifier.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the weights"
    )
    _limit(classifier)
    classifier.set_defaults(run=run_classifier)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="checkpoints, cache and log")
    parser.add_argument("--threads", type=values.positive, metavar="N", help="CPU threads (default: all)")


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=values.positive, metavar="N", help="module S: at most N slices per source and class"
    )


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise SettingsError(f"There is no data folder '{path}'.")
    return path


def run_recipe(arguments: argparse.Namespace) -> int:
    """Train by the recipe until it is done."""
    import torch

    from model_core.cli.progress import follow
    from model_core.training.lesion import LesionTraining
    from model_core.training.packing import pack
    from model_core.training.recipe import read_recipe

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = read_recipe(arguments.name).without(tuple(arguments.without))
    slices = pack(recipe, _folder(arguments.data), arguments.work)
    training = LesionTraining(recipe, slices, arguments.work / recipe.name)
    with stop_requests() as stopped:
        job = training.run(max_steps=arguments.steps, stopped=stopped)
        for _ in follow(job, title=f"Training {recipe.name}"):
            pass
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write the weight files of a recipe from its checkpoint."""
    import json

    import torch

    from model_core.cli.progress import last
    from model_core.training.packing import pack
    from model_core.training.recipe import read_recipe
    from model_core.training.shipping import export_lesions, split_lists, write_default
    from model_core.weights.store import SUFFIX

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = read_recipe(arguments.name).without(tuple(arguments.without))
    slices = pack(recipe, _folder(arguments.data), arguments.work)
    work, output = arguments.work / recipe.name, arguments.output
    card = last(export_lesions(recipe, slices, work, output, stride=arguments.stride), title="Measuring")
    _report(card.name, card.metrics)
    names = [recipe.name]
    if recipe.classifier and not arguments.no_classifier:
        arguments.weights = str(output / f"{recipe.name}{SUFFIX}")
        arguments.name = recipe.classifier["name"]
        run_classifier(arguments)
        names.append(arguments.name)
    write_default(output, names)
    lists = json.dumps(split_lists(slices), indent=1) + "\n"
    (output / f"{recipe.name}.slices.txt").write_text(lists, "utf-8")
    return 0


def run_classifier(arguments: argparse.Namespace) -> int:
    """Train module S on frozen lesion weights and write it alone."""
    from model_core.cli.progress import last
    from model_core.training.shipping import export_classifier
    from model_core.weights.store import find

    folder = _folder(arguments.data)
    if not (folder / "normal").is_dir() and (folder / SLICE_CLASSES).is_dir():
        folder = folder / SLICE_CLASSES
    job = export_classifier(
        find(arguments.weights),
        folder,
        arguments.output,
        name=arguments.name,
        cache=arguments.work,
        limit=arguments.limit,
    )
    card = last(job, title="Module S")
    _report(card.name, card.metrics)
    return 0


def _report(name: str, metrics: dict[str, Any]) -> None:
    import json

    sys.stdout.write(f"{name}\n{json.dumps(metrics, indent=2)}\n")
