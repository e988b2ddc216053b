"""``ctmasknet train``: weights from a data folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.base.errors import SettingsError
from model_core.cli import train_systems, values

if TYPE_CHECKING:
    from model_core.train.packing import PackedSlice
    from model_core.train.recipe import Recipe

# Where the class folders lie inside a folder of several data sets: those to train on, and those to test on.
SLICE_CLASSES, TEST_CLASSES = "B_slice_classification", "F_cncb_three_classes"


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
        "goes on from its last checkpoint in the work folder, also on another device.",
    )
    _recipe_options(recipe)
    _device_options(recipe)
    recipe.add_argument("--steps", type=values.positive, metavar="N", help="stop after N further steps")
    recipe.set_defaults(run=run_recipe)

    folds = kinds.add_parser(
        "cross-validate",
        help="train and measure a recipe on folds of patients",
        description="Trains a network on each fold's other patients by the recipe's short schedule, measures "
        "it on the fold, and writes cross-validation.json and .md once all folds are there. Stop it at any "
        "time; the same command goes on.",
    )
    _recipe_options(folds, plan=False)
    _device_options(folds)
    folds.add_argument(
        "--folds", type=values.positive, default=5, metavar="N", help="of patients (default 5)"
    )
    folds.add_argument(
        "--size",
        type=values.positive,
        default=384,
        metavar="PX",
        help="input of the network (default 384)",
    )
    _stride(folds)
    folds.add_argument("--fold", type=values.positive, metavar="K", help="only fold K, from 1")
    folds.add_argument("--steps", type=values.positive, metavar="N", help="stop after N further steps")
    folds.set_defaults(run=run_cross_validation)

    export = kinds.add_parser(
        "export",
        help="write weight files from the checkpoint of a recipe",
        description="Writes the averaged weights of the current checkpoint, 16 bits, with thresholds and the "
        "temperature of the scores chosen and quality measured on the held-out patients, and the list of "
        "slices used. With class folders in the data, also trains module S on them (S-only).",
    )
    _recipe_options(export)
    _device_options(export, workers=False)
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the weights"
    )
    _stride(export)
    export.add_argument(
        "--cross-validation",
        type=Path,
        metavar="FILE",
        help="cross-validation.json of the recipe, to be quoted in the card",
    )
    export.add_argument("--no-classifier", action="store_true", help="leave out module S")
    _limit(export)
    export.set_defaults(run=run_export)

    classifier = kinds.add_parser(
        "module-s",
        help="train module S alone on the stored RoI batches of lesion weights (fast)",
        description="Trains module S on the RoI batches of frozen lesion weights, calibrates 'ill or not' on "
        f"patients left out, and writes it alone, or a single-shot model whole. DIR holds class folders, "
        f"or {SLICE_CLASSES} and perhaps {TEST_CLASSES}, which is measured on and not trained with.",
    )
    classifier.add_argument(
        "--weights", required=True, metavar="W", help="lesion weights or a single-shot model: name or file"
    )
    classifier.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data sets")
    _work(classifier)
    _device_options(classifier, workers=False)
    classifier.add_argument(
        "--name",
        help="name of the new weight file (default: that of lesion weights with 'covid-s-' for 'lesion-', or "
        "that of the single-shot model)",
    )
    classifier.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the weights"
    )
    _limit(classifier)
    classifier.set_defaults(run=run_classifier)

    calibration = kinds.add_parser(
        "calibrate",
        help="add 'ill or not' to the card of weights with an image class",
        description="Fits slope and bias of 'ill or not' on slices of patients that these weights were not "
        "trained on, and what is unlike them, and writes the weights with a card that holds both: without "
        "them there is no verdict of a scan. DIR holds class folders (normal, other, covid), or "
        f"{SLICE_CLASSES}; patients are those of index.tsv.",
    )
    calibration.add_argument(
        "--weights", nargs="+", required=True, metavar="W", help="shipped names or files"
    )
    calibration.add_argument("--data", type=Path, metavar="DIR", help="labelled slices of other patients")
    calibration.add_argument(
        "--checked",
        type=Path,
        metavar="DIR",
        help="a report of 'evaluate scans' of these weights, to be quoted in the card: of patients that were "
        "not used in training",
    )
    calibration.add_argument(
        "--controls",
        type=Path,
        metavar="DIR",
        help="labelled slices whose control patients (one slice each) the card describes by the scores and "
        "areas of their regions, for comparison with those of a scan; may be those trained on",
    )
    calibration.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the weights"
    )
    _device_options(calibration, workers=False)
    _limit(calibration)
    calibration.set_defaults(run=run_calibration)


def _recipe_options(parser: argparse.ArgumentParser, *, plan: bool = True) -> None:
    parser.add_argument("name", help="a shipped recipe (lesion-r18t1) or a recipe file (.json)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data sets")
    _work(parser)
    parser.add_argument("--without", nargs="+", default=[], metavar="SOURCE", help="switch sources off (A5)")
    parser.add_argument(
        "--backbone-weights",
        type=Path,
        metavar="FILE",
        help="a torchvision ResNet file that the backbone starts from, in place of the recipe's start",
    )
    if plan:
        parser.add_argument(
            "--plan", default="", metavar="NAME", help="another schedule of the recipe (gpu: larger batches)"
        )


def _work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="checkpoints, cache and log")
    parser.add_argument("--threads", type=values.positive, metavar="N", help="CPU threads (default: all)")


def _device_options(parser: argparse.ArgumentParser, *, workers: bool = True) -> None:
    parser.add_argument("--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:N")
    if workers:
        parser.add_argument(
            "--workers",
            type=values.count,
            metavar="N",
            help="processes that draw pictures ahead (default: none on a CPU, up to 12 for a GPU); the "
            "result does not depend on it",
        )


def _stride(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stride",
        type=values.positive,
        default=1,
        metavar="N",
        help="measure every Nth slice of long series",
    )


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=values.positive,
        metavar="N",
        help="class: at most N slices per source and class",
    )


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise SettingsError(f"There is no data folder '{path}'.")
    return path


def _read_slices(arguments: argparse.Namespace) -> tuple[Recipe, list[PackedSlice]]:
    """Return the recipe with its sources switched off, and its slices."""
    import torch

    from model_core.train.packing import pack
    from model_core.train.recipe import read_recipe

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = read_recipe(arguments.name).without(tuple(arguments.without))
    recipe = recipe.with_backbone(data=arguments.data, file=arguments.backbone_weights)
    return recipe, pack(recipe, _folder(arguments.data), arguments.work)


def _run_folder(arguments: argparse.Namespace, name: str) -> Path:
    """Return where a run is kept: another plan is another run."""
    work: Path = arguments.work / (f"{name}-{arguments.plan}" if arguments.plan else name)
    return work


def run_recipe(arguments: argparse.Namespace) -> int:
    """Train by the recipe until it is done."""
    from model_core.cli.progress import follow, until_stopped
    from model_core.train.lesion import LesionTraining
    from model_core.train.loop import CHECKPOINT

    recipe, slices = _read_slices(arguments)
    training = LesionTraining(
        recipe.planned(arguments.plan),
        slices,
        _run_folder(arguments, recipe.name),
        device=arguments.device,
        workers=arguments.workers,
    )
    job = until_stopped(training.run(max_steps=arguments.steps))
    for _ in follow(job, title=f"Training {recipe.name}"):
        pass
    sys.stdout.write(f"{training.place}; the checkpoint is {training.folder / CHECKPOINT}.\n")
    if not training.finished:
        sys.stdout.write("The same command goes on from there.\n")
    return 0


def run_cross_validation(arguments: argparse.Namespace) -> int:
    """Train and measure the folds of a recipe."""
    from model_core.cli.progress import follow, until_stopped
    from model_core.train.cross_validation import CrossValidation, cross_validate

    if arguments.fold is not None and arguments.fold > arguments.folds:
        raise SettingsError(f"There are folds 1 to {arguments.folds}, no fold {arguments.fold}.")
    recipe, slices = _read_slices(arguments)
    names = ("folds", "size", "stride", "device", "workers")
    settings = CrossValidation(**{name: getattr(arguments, name) for name in names})
    work = arguments.work / f"{recipe.name}-{arguments.folds}x{arguments.size}"
    job = cross_validate(
        recipe,
        slices,
        work,
        settings,
        only=None if arguments.fold is None else arguments.fold - 1,
        max_steps=arguments.steps,
    )
    for path in follow(until_stopped(job), title=f"Cross-validation of {recipe.name}"):
        sys.stdout.write(f"{path}\n")
    asked = range(1, arguments.folds + 1) if arguments.fold is None else (arguments.fold,)
    left = [str(fold) for fold in asked if not (work / f"fold{fold}.json").is_file()]
    if left:
        folds = "fold" if len(left) == 1 else "folds"
        sys.stdout.write(
            f"Not measured yet: {folds} {', '.join(left)}. The same command goes on from there.\n"
        )
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write the weight files of a recipe from its checkpoint."""
    from model_core.base.files import write_json
    from model_core.cli.progress import last
    from model_core.measure.cross_validation_report import read_report
    from model_core.train.shipping import export_lesions, split_lists, write_default
    from model_core.weights.store import SUFFIX

    recipe, slices = _read_slices(arguments)
    classified = bool(recipe.classifier) and not arguments.no_classifier
    recipe = recipe.planned(arguments.plan)
    work, output = _run_folder(arguments, recipe.name), arguments.output
    folds = arguments.cross_validation
    job = export_lesions(
        recipe,
        slices,
        work,
        output,
        stride=arguments.stride,
        device=arguments.device,
        cross_validation=None if folds is None else read_report(folds, recipe=recipe.name),
    )
    card = last(job, title="Measuring")
    _report(card.name, card.metrics)
    names = [recipe.name]
    if classified:
        arguments.weights = str(output / f"{recipe.name}{SUFFIX}")
        arguments.name = recipe.classifier["name"]
        run_classifier(arguments)
        names.append(arguments.name)
    if recipe.classifier or not (output / "default.json").is_file():
        write_default(output, names)
    write_json(output / f"{recipe.name}.slices.txt", split_lists(slices), overwrite=True)
    return 0


def _class_folders(path: Path) -> tuple[Path, Path | None]:
    """Return the class folders to train on, and those to test on where they lie beside."""
    folder = _folder(path)
    if (folder / "normal").is_dir() or not (folder / SLICE_CLASSES).is_dir():
        return folder, None
    tests = folder / TEST_CLASSES
    return folder / SLICE_CLASSES, tests if tests.is_dir() else None


def run_classifier(arguments: argparse.Namespace) -> int:
    """Train module S on frozen lesion weights and write it alone."""
    from model_core.cli.progress import last
    from model_core.train.module_s import export_classifier
    from model_core.weights.store import find

    folder, tests = _class_folders(arguments.data)
    job = export_classifier(
        find(arguments.weights),
        folder,
        arguments.output,
        name=arguments.name,
        tests=tests,
        cache=arguments.work,
        limit=arguments.limit,
        device=arguments.device,
    )
    card = last(job, title="Module S")
    _report(card.name, card.metrics)
    return 0


def run_calibration(arguments: argparse.Namespace) -> int:
    """Calibrate weights on slices of patients left out, quote a check of scans, describe controls."""
    from model_core.cli.progress import last
    from model_core.train.calibrated_card import add_calibration

    if arguments.data is arguments.checked is arguments.controls is None:
        raise SettingsError(
            "Give --data, slices to calibrate on, --checked, a report of whole scans, or --controls, slices "
            "of controls."
        )
    job = add_calibration(
        arguments.weights,
        None if arguments.data is None else _class_folders(arguments.data)[0],
        arguments.output,
        checked=arguments.checked,
        controls=None if arguments.controls is None else _class_folders(arguments.controls)[0],
        limit=arguments.limit,
        device=arguments.device,
    )
    card = last(job, title="Calibrating")
    told = card.control_rois
    controls = {} if told is None else {"control_rois": {"patients": told.patients, "seen": told.seen}}
    _report(card.name, {"verdict": card.metrics.get("verdict"), **controls})
    return 0


def _report(name: str, metrics: dict[str, Any]) -> None:
    import json

    sys.stdout.write(f"{name}\n{json.dumps(metrics, indent=2)}\n")
