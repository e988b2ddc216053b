"""``ctmasknet predict``: a series in, predictions.json, lesions.nii.gz and pictures out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_core.base.files import atomic_folder
from model_core.base.results import ShownSlice
from model_core.base.volume import LUNG_WINDOW, Volume
from model_core.cli import case, values
from model_core.cli.errors import UsageError
from model_core.cli.progress import follow, last

if TYPE_CHECKING:
    from model_core.engine import Pipeline

DOCUMENT, LABELS = "predictions.json", "lesions.nii.gz"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict",
        help="run the networks on a series and write what they found",
        description="Writes DIR/predictions.json and DIR/lesions.nii.gz; with --png also annotated pictures. "
        "Pictures are numbered from 1 as in the window (slice-0088.png; axial: head first); --slices and the "
        "indices in predictions.json count from 0. Boxes are pixel edges of the picture as displayed.",
    )
    case.add_options(parser)
    parser.add_argument("--score-threshold", type=values.score, metavar="T", help="of shown detections")
    parser.add_argument("--nms-threshold", type=values.iou, metavar="T", help="of shown detections (IoU)")
    parser.add_argument(
        "--join",
        action=argparse.BooleanOptionalAction,
        help="show touching detections as one lesion (default: the card's)",
    )
    parser.add_argument(
        "--every",
        type=values.positive,
        default=1,
        metavar="N",
        help="open every N-th slice only, for a series that does not fit into memory; --slices counts those",
    )
    parser.add_argument(
        "--correct-tilt",
        action="store_true",
        help="shift the slices of a tilted gantry back in their planes (linear interpolation)",
    )
    parser.add_argument("--slices", type=_slices, metavar="A:B", help="half-open range from 0; default all")
    parser.add_argument("--png", action="store_true", help="also write annotated pictures")
    parser.set_defaults(run=run)


def _slices(text: str) -> tuple[int | None, int | None]:
    """Parse a half-open range ``A:B``; either end may be left out."""
    first, colon, end = text.partition(":")
    try:
        if not colon:
            raise ValueError
        low, high = (int(part) if part else None for part in (first, end))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range A:B of slice numbers") from None
    if (low or 0) < 0 or (high is not None and high <= (low or 0)):
        raise argparse.ArgumentTypeError(f"{text} is an empty or negative range")
    return low, high


def run(arguments: argparse.Namespace) -> int:
    """Run the networks and write the results; nothing is written before everything is computed."""
    from model_core.anatomy.lungs import lung_ml
    from model_core.engine import run as run_networks
    from model_core.engine.load import load_pipeline
    from model_core.engine.lungs import lungs_of
    from model_core.explain import lesion_labels, scan_verdict, show
    from model_core.export import (
        predictions,
        slice_file_name,
        slice_prediction,
        told_problem,
        write_json,
        write_lesions,
    )
    from model_core.read import scan

    output: Path = arguments.output
    catalogue = last(scan(arguments.path), title="Reading")
    entry = case.choose_series(catalogue.series, arguments.series)
    volume = case.open_series(entry, every=arguments.every, straight=arguments.correct_tilt)
    slices = _range(arguments.slices, volume)
    names = [DOCUMENT, LABELS, *(slice_file_name(index) for index in slices if arguments.png)]
    case.refuse_to_replace([output / name for name in names], overwrite=arguments.overwrite)
    # Of a run before this one, pictures of slices that are not run again would be of other results.
    again = arguments.overwrite and (output / DOCUMENT).is_file()
    pictures = output.glob("slice-[0-9][0-9][0-9][0-9].png") if again else ()
    former = [path for path in pictures if path.name not in names]
    pipeline = load_pipeline(arguments.weights, device=arguments.device, fast=arguments.fast)
    detections = case.changed(
        pipeline.detections,
        score=arguments.score_threshold,
        nms_iou=arguments.nms_threshold,
        join_touching=arguments.join,
    )
    evidence = case.changed(pipeline.evidence, score=arguments.evidence_score, nms_iou=arguments.evidence_nms)
    lungs = last(lungs_of(volume), title="Looking for the lung")

    labels = np.zeros(volume.voxels.shape, np.uint8)
    records, summaries = [], []
    # Everything is written beside its place and moved there at the end, or not at all.
    with atomic_folder(output, last=DOCUMENT, outdated=former) as work:
        for result in follow(run_networks(pipeline, volume, slices), title="Analysing"):
            seen = show(pipeline, volume, result, detections, evidence)
            labels[seen.slice_index] = lesion_labels(seen)
            if arguments.png:
                _write_picture(work, seen, volume=volume, pipeline=pipeline)
            # Not the slice itself: the masks of a whole series would fill the memory.
            records.append(slice_prediction(volume, seen, pipeline=pipeline))
            summaries.append(seen.summary)
        classes = pipeline.image_classes
        basis = pipeline.evidence_basis(evidence)
        document = predictions(
            volume,
            records,
            pipeline=pipeline,
            detections=detections,
            evidence=evidence,
            scan=None
            if basis is None
            else scan_verdict(
                summaries,
                basis=basis,
                control=classes[0],
                names=classes,
                calibration=pipeline.calibration,
                volume=volume,
                lung_ml=lung_ml(lungs, volume.geometry),
            ),
        )
        notes = write_lesions(work / LABELS, volume, labels)
        document["series"]["problems"] = [
            {"code": note.code, **told_problem(note, volume)} for note in (*volume.problems, *notes)
        ]
        write_json(work / DOCUMENT, document)
    case.tell_problems(volume)
    for note in notes:
        sys.stderr.write(f"ctmasknet: {LABELS}: {note.text} {note.action}\n")
    return 0


def _range(limits: tuple[int | None, int | None] | None, volume: Volume) -> range:
    first, end = limits or (None, None)
    first, end = first or 0, volume.slices if end is None else end
    if end > volume.slices or first >= volume.slices:
        raise UsageError(
            f"--slices {first}:{end} is out of range: the series has slices 0 to {volume.slices - 1} "
            f"(A:B is half-open, so at most 0:{volume.slices})."
        )
    return range(first, end)


def _write_picture(folder: Path, shown: ShownSlice, *, volume: Volume, pipeline: Pipeline) -> None:
    from model_core.base.voi import automatic_window
    from model_core.export import Overlays, render_slice, slice_file_name, write_png
    from model_core.weights.card import names_text

    window = LUNG_WINDOW if volume.unit == "HU" else automatic_window(volume)
    picture = render_slice(
        volume,
        shown.slice_index,
        window=window,
        shown=shown,
        overlays=Overlays(),
        region_classes=pipeline.region_classes,
        image_classes=pipeline.image_classes,
        scale=2.0,
        edited=shown.verdict is not None and shown.verdict.basis == "edited",
        weights=names_text(pipeline.cards, fast=pipeline.fast),
    )
    write_png(folder / slice_file_name(shown.slice_index), picture)
