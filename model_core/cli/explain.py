"""``ctmasknet explain``: why a slice has its class, as explanation.json and pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model_core.cli import case, values
from model_core.cli.errors import UsageError
from model_core.cli.progress import last

DOCUMENT = "explanation.json"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "explain",
        help="say which regions of a slice carry its class, and what would change it",
        description="Runs the networks on one slice and writes DIR/explanation.json, the slice with the "
        "contribution of each region as colour, and their bars. Slices count from 1, as in the window. What "
        "each number means is in docs/explanation.md.",
    )
    case.add_options(parser)
    parser.add_argument(
        "--slice", type=values.positive, required=True, metavar="N", help="which slice, from 1 (head first)"
    )
    parser.add_argument(
        "--seed", type=values.count, default=0, metavar="S", help="of what is drawn at random (default 0)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain the slice and write the results; nothing is written before everything is computed."""
    from model_core.base.files import atomic_folder
    from model_core.engine import run as run_networks
    from model_core.engine.load import load_pipeline
    from model_core.engine.lungs import lungs_of
    from model_core.explain import explain_slice, show
    from model_core.export import (
        explanation,
        in_words,
        picture_names,
        write_explanation_pictures,
        write_json,
    )
    from model_core.read import scan

    output: Path = arguments.output
    catalogue = last(scan(arguments.path), title="Reading")
    entry = case.choose_series(catalogue.series, arguments.series)
    volume = case.open_series(entry, every=1, straight=False)
    index = arguments.slice - 1
    if index >= volume.slices:
        raise UsageError(
            f"--slice {arguments.slice} is out of range: the series has slices 1 to {volume.slices}."
        )
    case.refuse_to_replace(
        [output / name for name in (DOCUMENT, *picture_names(index))], overwrite=arguments.overwrite
    )
    pipeline = load_pipeline(arguments.weights, device=arguments.device, fast=arguments.fast)
    evidence = case.changed(pipeline.evidence, score=arguments.evidence_score, nms_iou=arguments.evidence_nms)
    last(lungs_of(volume), title="Looking for the lung")
    result = last(run_networks(pipeline, volume, [index]), title="Analysing")
    shown = show(pipeline, volume, result, pipeline.detections, evidence)
    found = last(explain_slice(pipeline, result, shown, seed=arguments.seed), title="Explaining")

    former = []
    if (output / DOCUMENT).is_file():  # pictures of another slice or of other weights
        former = sorted(output.glob("slice-*-contribution*.png"))
    with atomic_folder(output, last=DOCUMENT, outdated=former) as work:
        write_explanation_pictures(work, volume, shown, found, image_classes=pipeline.image_classes)
        write_json(work / DOCUMENT, explanation(shown, found, pipeline=pipeline))
    case.tell_problems(volume)
    if found.why_none:
        sys.stderr.write(f"ctmasknet: no contributions: {found.why_none}\n")
    elif sentence := in_words(found, pipeline.image_classes):
        sys.stdout.write(f"{sentence}\n")
    return 0
