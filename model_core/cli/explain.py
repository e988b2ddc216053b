"""``ctmasknet explain``: why a slice has its class, as explanation.json and pictures."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from model_core.cli import values
from model_core.cli.errors import UsageError
from model_core.cli.predict import choose_series, make_folder, open_series, refuse_to_replace
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
    parser.add_argument("path", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA, or pictures")
    parser.add_argument(
        "--slice", type=values.positive, required=True, metavar="N", help="which slice, from 1 (head first)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into"
    )
    parser.add_argument("--weights", nargs="+", default=[], metavar="W", help="shipped names or files")
    parser.add_argument("--series", metavar="UID", help="series to open where the path holds several")
    parser.add_argument("--evidence-score", type=values.score, metavar="T", help="of the RoI batch")
    parser.add_argument("--evidence-nms", type=values.iou, metavar="T", help="of the RoI batch (IoU)")
    parser.add_argument(
        "--seed", type=values.count, default=0, metavar="S", help="of what is drawn at random (default 0)"
    )
    parser.add_argument(
        "--region",
        type=values.positive,
        metavar="RANK",
        help="also say which pixels the logit of this region hangs on (runs the network some 60 times)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--fast", action="store_true", help=values.FAST)
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain the slice and write the results; nothing is written before everything is computed."""
    from model_core.base.files import atomic_folder
    from model_core.engine import run as run_networks
    from model_core.engine.load import load_pipeline
    from model_core.engine.lungs import lungs_of
    from model_core.explain import explain_region, explain_slice, show
    from model_core.export import (
        explanation,
        in_words,
        picture_names,
        region_picture_name,
        write_explanation_pictures,
        write_json,
        write_region_picture,
    )
    from model_core.read import scan

    output: Path = arguments.output
    catalogue = last(scan(arguments.path), title="Reading")
    volume = open_series(choose_series(catalogue.series, arguments.series), every=1, straight=False)
    index = arguments.slice - 1
    if index >= volume.slices:
        raise UsageError(
            f"--slice {arguments.slice} is out of range: the series has slices 1 to {volume.slices}."
        )
    names = [DOCUMENT, *picture_names(index)]
    if arguments.region is not None:
        names.append(region_picture_name(index, arguments.region))
    refuse_to_replace([output / name for name in names], overwrite=arguments.overwrite)
    pipeline = load_pipeline(arguments.weights, device=arguments.device, fast=arguments.fast)
    given = {"score": arguments.evidence_score, "nms_iou": arguments.evidence_nms}
    evidence = dataclasses.replace(
        pipeline.evidence, **{name: value for name, value in given.items() if value is not None}
    )
    last(lungs_of(volume), title="Looking for the lung")
    result = last(run_networks(pipeline, volume, [index]), title="Analysing")
    shown = show(pipeline, volume, result, pipeline.detections, evidence)
    if arguments.region is not None and arguments.region > len(shown.rois):
        raise UsageError(
            f"--region {arguments.region} is out of range: the evidence of this slice has "
            f"{len(shown.rois)} regions."
        )
    found = last(explain_slice(pipeline, result, shown, seed=arguments.seed), title="Explaining")
    region = None
    if arguments.region is not None:
        roi = shown.rois[arguments.region - 1]
        job = explain_region(pipeline, volume, result, roi, masks=shown.masks)
        region = last(job, title=f"Region {arguments.region}")

    make_folder(output)
    former = []
    if (output / DOCUMENT).is_file():  # pictures of another slice or of other weights
        former = sorted([*output.glob("slice-*-contribution*.png"), *output.glob("slice-*-region-*.png")])
    with atomic_folder(output, last=DOCUMENT, outdated=former) as work:
        write_explanation_pictures(work, volume, shown, found, image_classes=pipeline.image_classes)
        if region is not None:
            write_region_picture(work, volume, index, region)
        write_json(work / DOCUMENT, explanation(shown, found, pipeline=pipeline, region=region))
    for problem in volume.problems:
        if problem.level != "info":
            sys.stderr.write(f"ctmasknet: {problem.text} {problem.action}\n")
    if found.why_none:
        sys.stderr.write(f"ctmasknet: no contributions: {found.why_none}\n")
    elif sentence := in_words(found, pipeline.image_classes):
        sys.stdout.write(f"{sentence}\n")
    return 0
