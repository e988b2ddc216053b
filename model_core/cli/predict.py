"""``ctmasknet predict``: a series in, predictions.json, lesions.nii.gz and pictures out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from model_core.errors import ExportError

if TYPE_CHECKING:
    pass


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict",
        help="run the networks on a series and write what they found",
        description="Writes DIR/predictions.json and DIR/lesions.nii.gz; with --png also annotated pictures. "
        "Slices count from 0 (axial: head first). Boxes are pixel edges of the picture as displayed.",
    )
    parser.add_argument("path", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA, or pictures")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into"
    )
    parser.add_argument("--weights", nargs="+", default=[], metavar="W", help="shipped names or files")
    parser.add_argument("--series", metavar="UID", help="series to open where the path holds several")
    parser.add_argument("--score-threshold", type=_score, metavar="T", help="of shown detections")
    parser.add_argument("--nms-threshold", type=_iou, metavar="T", help="of shown detections (IoU)")
    parser.add_argument("--evidence-score", type=_score, metavar="T", help="of the RoI batch")
    parser.add_argument("--evidence-nms", type=_iou, metavar="T", help="of the RoI batch (IoU)")
    parser.add_argument("--slices", type=_slices, metavar="A:B", help="half-open range; default all")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--png", action="store_true", help="also write annotated pictures")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.set_defaults(run=run)


def _number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} is outside {low:g}..{high:g}")
    return value


def _score(text: str) -> float:
    return _number(text, -1.0, 1.0)


def _iou(text: str) -> float:
    return _number(text, 0.0, 1.0)


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
    import numpy as np

    from model_core.cli.progress import follow, last
    from model_core.export import predictions, write_json, write_lesions
    from model_core.inference import load_pipeline, scan_verdict, show
    from model_core.inference import run as run_networks
    from model_core.inference.select import lesion_labels
    from model_core.io import load, scan

    targets = [arguments.output / "predictions.json", arguments.output / "lesions.nii.gz"]
    if not arguments.overwrite and (there := [t.name for t in targets if t.exists()]):
        raise ExportError(
            f"{', '.join(there)} exist already in that folder; use --overwrite or another folder."
        )
    catalogue = last(scan(arguments.path), title="Reading")
    entry = _choose(catalogue.series, arguments.series)
    volume = last(load(entry), title="Opening")
    slices = _range(arguments.slices, volume)
    pipeline = load_pipeline(arguments.weights, device=arguments.device)
    detections, evidence = _settings(arguments, pipeline)

    labels = np.zeros(volume.voxels.shape, np.uint8)
    shown = []
    for result in follow(run_networks(pipeline, volume, slices), title="Analysing"):
        seen = show(pipeline, volume, result, detections, evidence)
        labels[seen.slice_index] = lesion_labels(seen)
        # The masks are in the label volume now (and the picture is drawn at once), so they are not kept.
        if arguments.png:
            _write_picture(arguments, pipeline, volume, seen)
        shown.append(_without_maps(seen))
    scan_result = scan_verdict(
        (s.summary for s in shown), published=evidence == pipeline.evidence, classes=pipeline.image_classes
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    document = predictions(
        volume, shown, pipeline=pipeline, detections=detections, evidence=evidence, scan=scan_result
    )
    write_json(targets[0], document, overwrite=arguments.overwrite)
    write_lesions(targets[1], volume, labels, overwrite=arguments.overwrite)
    return 0
