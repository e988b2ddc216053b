"""``ctmasknet train``: weights from a data folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_core.errors import SettingsError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser("train", help="train networks", description="Train networks on a data folder.")
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    recipe = kinds.add_parser(
        "recipe",
        help="rebuild shipped weights",
        description="Trains by a shipped recipe (or a recipe file). Stop it at any time; the same command "
        "goes on from its last checkpoint in the work folder.",
    )
    recipe.add_argument("name", help="a shipped recipe (lesion-r18t1) or a recipe file (.json)")
    _common(recipe)
    recipe.add_argument("--without", nargs="+", default=[], metavar="SOURCE", help="switch sources off (A5)")
    recipe.add_argument("--steps", type=_positive, metavar="N", help="stop after N further steps")
    recipe.set_defaults(run=run_recipe)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="checkpoints, cache and log")
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: all)")


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def run_recipe(arguments: argparse.Namespace) -> int:
    """Train by the recipe until it is done."""
    import torch

    from model_core.cli.progress import follow
    from model_core.training.lesion import LesionTraining
    from model_core.training.packing import pack
    from model_core.training.recipe import read_recipe

    if not arguments.data.is_dir():
        raise SettingsError(f"There is no data folder '{arguments.data}'.")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = read_recipe(arguments.name).without(tuple(arguments.without))
    slices = pack(recipe, arguments.data, arguments.work)
    training = LesionTraining(recipe, slices, arguments.work / recipe.name)
    for _ in follow(training.run(max_steps=arguments.steps), title=f"Training {recipe.name}"):
        pass
    return 0
