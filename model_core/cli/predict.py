"""``ctmasknet predict``: a series in, predictions.json, lesions.nii.gz and pictures out."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.errors import DataError, ExportError, MemoryNeeded, ReadError
from model_core.base.files import atomic_folder
from model_core.base.results import ShownSlice, SliceResult
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import LUNG_WINDOW, SeriesEntry, Volume
from model_core.cli import values
from model_core.cli.errors import UsageError
from model_core.cli.progress import follow, last

if TYPE_CHECKING:
    from model_core.engine import Pipeline
    from model_core.scene import SceneSettings

DOCUMENT, LABELS, REPORT, FIGURE = "predictions.json", "lesions.nii.gz", "report", "figure.pdf"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "predict",
        help="run the networks on a series and write what they found",
        description="Writes DIR/predictions.json and DIR/lesions.nii.gz; with --png also annotated pictures. "
        "Pictures are numbered from 1 as in the window (slice-0088.png; axial: head first); --slices and the "
        "indices in predictions.json count from 0. Boxes are pixel edges of the picture as displayed.",
    )
    parser.add_argument("path", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA, or pictures")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into"
    )
    parser.add_argument("--weights", nargs="+", default=[], metavar="W", help="shipped names or files")
    parser.add_argument("--series", metavar="UID", help="series to open where the path holds several")
    parser.add_argument("--score-threshold", type=values.score, metavar="T", help="of shown detections")
    parser.add_argument("--nms-threshold", type=values.iou, metavar="T", help="of shown detections (IoU)")
    parser.add_argument(
        "--join",
        action=argparse.BooleanOptionalAction,
        help="show touching detections as one lesion (default: the card's)",
    )
    parser.add_argument("--evidence-score", type=values.score, metavar="T", help="of the RoI batch")
    parser.add_argument("--evidence-nms", type=values.iou, metavar="T", help="of the RoI batch (IoU)")
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
    values.add_computing(parser)
    parser.add_argument("--png", action="store_true", help="also write annotated pictures")
    parser.add_argument(
        "--report", action="store_true", help="also write one page on the scan: report.html, report.pdf"
    )
    parser.add_argument(
        "--figure", type=values.positive, nargs="+", default=[], metavar="N",
        help="also write up to 5 slices, from 1, in the papers' four columns: figure.pdf and figure.png",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
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
    from model_core.explain import burden, lesion_labels, roi_distribution, scan_verdict, show
    from model_core.export import (
        predictions,
        slice_file_name,
        slice_prediction,
        told_problem,
        write_json,
        write_lesions,
        write_png,
    )
    from model_core.export.pages import PageSettings, page_names, write_page
    from model_core.export.paper import paper_figure, paper_targets, write_paper_figure
    from model_core.export.paper_captions import PaperLook
    from model_core.export.scan_page import page_slices, scan_page
    from model_core.read import scan
    from model_core.report import require_pdf
    from model_core.weights.card import control_regions

    output: Path = arguments.output
    if arguments.report:
        require_pdf()
    catalogue = last(scan(arguments.path), title="Reading")
    entry = choose_series(catalogue.series, arguments.series)
    volume = open_series(entry, every=arguments.every, straight=arguments.correct_tilt)
    slices = _range(arguments.slices, volume)
    names = [DOCUMENT, LABELS, *(slice_file_name(index) for index in slices if arguments.png)]
    names += page_names(REPORT) if arguments.report else ()
    wanted = _of_figure(arguments.figure, slices)
    figures = paper_targets(Path(FIGURE))
    names += [path.name for path in figures] if wanted else ()
    refuse_to_replace([output / name for name in names], overwrite=arguments.overwrite)
    # What a run before this one wrote and this one does not would be of other results.
    again = arguments.overwrite and (output / DOCUMENT).is_file()
    mine = [*output.glob("slice-[0-9][0-9][0-9][0-9].png")]
    mine += map(output.joinpath, (*page_names(REPORT), *(path.name for path in figures)))
    former = [path for path in mine if again and path.name not in names and path.is_file()]
    pipeline = load_pipeline(arguments.weights, device=arguments.device, backend=arguments.backend)
    detections, evidence = _settings(arguments, pipeline)
    lungs = last(lungs_of(volume), title="Looking for the lung")

    make_folder(output)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    records, summaries = [], []
    # Of a report's pictures: without FPN maps, as their masks are known.
    kept: dict[int, SliceResult] = {}
    # Everything is written beside its place and moved there at the end, or not at all.
    with atomic_folder(output, last=DOCUMENT, outdated=former) as work:
        for result in follow(run_networks(pipeline, volume, slices), title="Analysing"):
            seen = show(pipeline, volume, result, detections, evidence)
            labels[seen.slice_index] = lesion_labels(seen)
            if arguments.png:
                write_png(work / slice_file_name(seen.slice_index), _picture(seen, volume, pipeline))
            # Not the slice itself: the masks of a whole series would fill the memory.
            records.append(slice_prediction(volume, seen, pipeline=pipeline))
            summaries.append(seen.summary)
            if arguments.report or seen.slice_index in wanted:
                kept[seen.slice_index] = dataclasses.replace(result, features={})
        classes = pipeline.image_classes
        basis = pipeline.evidence_basis(evidence)
        verdict = None
        if basis is not None:
            verdict = scan_verdict(
                summaries,
                basis=basis,
                control=classes[0],
                names=classes,
                calibration=pipeline.calibration,
                volume=volume,
                lung_ml=lung_ml(lungs, volume.geometry),
            )
        found = last(burden(volume, labels, lungs=lungs, analysed=slices), title="Measuring lesions")
        document = predictions(
            volume,
            records,
            pipeline=pipeline,
            detections=detections,
            evidence=evidence,
            scan=verdict,
            lesions=found,
        )
        if arguments.report:
            page_settings = PageSettings(pipeline, detections, evidence, _weights(pipeline))
            shown = {
                index: _picture(show(pipeline, volume, kept[index], detections, evidence), volume, pipeline)
                for index in page_slices(summaries, verdict)
            }
            page = scan_page(
                volume, summaries, verdict, page_settings, pictures=shown, lesions=found,
                rois=roi_distribution(kept.values(), control_regions(pipeline.cards), summaries),
                outside=lungs.outside,
            )  # fmt: skip
            write_page(work, REPORT, page)
        if wanted:
            rows = [show(pipeline, volume, kept[index], detections, evidence) for index in wanted]
            figure = paper_figure(volume, rows, PaperLook(scene=scene_of(volume, pipeline)))
            write_paper_figure(work / FIGURE, figure, title="CTMaskNet, slices in four columns")
        notes = write_lesions(work / LABELS, volume, labels)
        document["series"]["problems"] = [
            {"code": note.code, **told_problem(note, volume)} for note in (*volume.problems, *notes)
        ]
        write_json(work / DOCUMENT, document)
    for problem in volume.problems:
        if problem.level != "info":
            sys.stderr.write(f"ctmasknet: {problem.text} {problem.action}\n")
    for note in notes:
        sys.stderr.write(f"ctmasknet: {LABELS}: {note.text} {note.action}\n")
    return 0


def make_folder(folder: Path) -> None:
    """Make the folder of the results; raises `ExportError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file has its name" if isinstance(error, FileExistsError) else error.strerror
        raise ExportError(
            f"The folder '{folder.name}' cannot be made: {reason}.", details=str(error)
        ) from error


def refuse_to_replace(targets: Sequence[Path], *, overwrite: bool) -> None:
    """Raise `ExportError` where results are there already and may not be replaced."""
    if folders := [target.name for target in targets if target.is_dir()]:
        raise ExportError(f"{folders[0]} is a folder there and cannot be replaced: use another folder.")
    there = [target.name for target in targets if target.exists()]
    if there and not overwrite:
        raise ExportError(
            f"{' and '.join(there)} exist already in that folder: use --overwrite or another folder."
        )


def choose_series(series: Sequence[SeriesEntry], uid: str | None) -> SeriesEntry:
    """Return the series of this UID, or the best one; tells which, where there are several."""
    if uid is not None:
        chosen = [entry for entry in series if uid in (entry.series_uid, entry.series_id)]
        if not chosen:
            known = ", ".join(entry.series_uid or entry.series_id for entry in series)
            raise UsageError(f"There is no series {uid} at that path. Found: {known or 'none'}.")
        if len(chosen) > 1:
            known = ", ".join(entry.series_id for entry in chosen)
            raise UsageError(f"{len(chosen)} series at that path have this UID. Name one of {known}.")
        return chosen[0]
    usable = [entry for entry in series if entry.status != "error"]
    if not usable:
        reasons = [problem.text for entry in series for problem in entry.problems]
        raise DataError("No series at that path can be opened. " + (reasons[0] if reasons else ""))
    if len(usable) > 1:
        others = ", ".join(entry.series_uid or entry.series_id for entry in usable[1:])
        name = usable[0].series_uid or usable[0].series_id
        sys.stderr.write(f"ctmasknet: series {name} of {len(usable)}; others, for --series: {others}\n")
    return usable[0]


def open_series(entry: SeriesEntry, *, every: int, straight: bool) -> Volume:
    """Read a series, or every n-th of its slices; where it is tilted, corrected if that is asked for."""
    from model_core.read import load, straighten, thin

    if every > 1 and entry.size[0] <= every:
        raise UsageError(f"--every {every} leaves less than two of the {entry.size[0]} slices.")
    if straight:
        entry = straighten(entry)
    try:
        return last(load(entry if every == 1 else thin(entry, every)), title="Opening")
    except MemoryNeeded as error:
        if not error.steps:
            raise
        raise ReadError(f"{error.message} --every {every * error.steps[0]} does so.") from error


def _range(limits: tuple[int | None, int | None] | None, volume: Volume) -> range:
    first, end = limits or (None, None)
    first, end = first or 0, volume.slices if end is None else end
    if end > volume.slices or first >= volume.slices:
        raise UsageError(
            f"--slices {first}:{end} is out of range: the series has slices 0 to {volume.slices - 1} "
            f"(A:B is half-open, so at most 0:{volume.slices})."
        )
    return range(first, end)


def _of_figure(numbers: Sequence[int], slices: range) -> list[int]:
    """Return the slices of a figure, from 0, in their order."""
    from model_core.export.paper_captions import MOST_ROWS

    wanted = sorted({number - 1 for number in numbers})
    for index in wanted:
        if index not in slices:
            raise UsageError(
                f"--figure {index + 1}: only slices {slices[0] + 1} to {slices[-1] + 1} are analysed."
            )
    if len(wanted) > MOST_ROWS:
        raise UsageError(f"--figure has room for {MOST_ROWS} slices, not for {len(wanted)}.")
    return wanted


def _settings(
    arguments: argparse.Namespace, pipeline: Pipeline
) -> tuple[DetectionSettings, EvidenceSettings]:
    """Return the card's settings with what the command line changes."""

    def given(**values: float | None) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    detections = dataclasses.replace(
        pipeline.detections,
        **given(
            score=arguments.score_threshold,
            nms_iou=arguments.nms_threshold,
            join_touching=arguments.join,
        ),
    )
    evidence = dataclasses.replace(
        pipeline.evidence,
        **given(score=arguments.evidence_score, nms_iou=arguments.evidence_nms),
    )
    return detections, evidence


def _weights(pipeline: Pipeline) -> str:
    from model_core.weights.card import names_text

    return names_text(pipeline.cards)


def scene_of(volume: Volume, pipeline: Pipeline) -> SceneSettings:
    """Return how slices are drawn: the lung window, or the automatic one without HU."""
    from model_core.base.voi import automatic_window
    from model_core.scene import SceneSettings

    return SceneSettings(
        window=LUNG_WINDOW if volume.unit == "HU" else automatic_window(volume),
        region_classes=pipeline.region_classes,
        image_classes=pipeline.image_classes,
        weights=_weights(pipeline),
    )


def _picture(shown: ShownSlice, volume: Volume, pipeline: Pipeline) -> ByteArray:
    from model_core.export import Overlays, render_slice

    scene = scene_of(volume, pipeline)
    return render_slice(
        volume,
        shown.slice_index,
        window=scene.window,
        shown=shown,
        overlays=Overlays(),
        region_classes=scene.region_classes,
        image_classes=scene.image_classes,
        scale=2.0,
        edited=shown.verdict is not None and shown.verdict.basis == "edited",
        weights=scene.weights,
    )
