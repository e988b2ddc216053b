"""``ctmasknet explain``: why a slice has its class, as explanation.json and pictures."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_core.base.picture_edit import PLANTED_HU
from model_core.cli import values
from model_core.cli.errors import UsageError
from model_core.cli.predict import (
    choose_series,
    make_folder,
    open_series,
    refuse_to_replace,
    scene_of,
)
from model_core.cli.progress import last

if TYPE_CHECKING:
    from model_core.base.picture_edit import PictureEditKind, PictureEffect
    from model_core.base.results import ShownSlice, SliceResult
    from model_core.base.settings import EvidenceSettings
    from model_core.base.stability import Stability
    from model_core.base.volume import Volume
    from model_core.engine import Pipeline
    from model_core.explain import Explanation
    from model_core.explain.pixels import RegionPixels

DOCUMENT, REPORT = "explanation.json", "report"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "explain",
        help="say which regions of a slice carry its class, and what would change it",
        description="Runs the networks on one slice and writes DIR/explanation.json, the slice with the "
        "contribution of each region as colour, and their bars. Slices count from 1, as in the window. What "
        "each number means is in docs/explanation.md. --exclude, --only and --ask edit the evidence first, "
        "as in the window, and what is written is marked as edited. --heal, --heal-area and --plant change "
        "the picture: that tells about the network, not about the patient.",
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
        "--exclude", type=values.positive, nargs="+", default=[], metavar="RANK",
        help="leave regions out, by their ranks in the evidence before any edit",
    )  # fmt: skip
    parser.add_argument(
        "--only", type=values.positive, nargs="+", default=[], metavar="RANK",
        help="leave everything but these regions out",
    )  # fmt: skip
    parser.add_argument(
        "--ask", type=values.box, action="append", default=[], metavar="X1,Y1,X2,Y2",
        help="a box in pixels of the slice as the proposal: its answer joins the evidence (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "--nms-anew", action="store_true", help="regions come in that excluded ones had suppressed"
    )
    changed = parser.add_mutually_exclusive_group()
    changed.add_argument(
        "--heal", type=values.positive, nargs="+", default=[], metavar="RANK",
        help="also run the slice with the lesions of these regions replaced by healthy lung of the same "
        "slice, and with eight sham heals",
    )  # fmt: skip
    changed.add_argument(
        "--heal-area", type=values.box, metavar="X1,Y1,X2,Y2", help="the same for the lung in a box"
    )
    changed.add_argument(
        "--plant", type=values.box, metavar="X1,Y1,X2,Y2",
        help="the same with ground glass planted in the lung in a box",
    )  # fmt: skip
    parser.add_argument(
        "--ground-glass", type=values.ground_glass, metavar="HU",
        help=f"of what --plant plants, -600 to -400 (default {PLANTED_HU:g})",
    )  # fmt: skip
    values.add_computing(parser)
    parser.add_argument(
        "--stability",
        action="store_true",
        help="also run eight slightly changed pictures (one pixel to each side, 25 HU, mirror image, noise)",
    )
    parser.add_argument(
        "--report", action="store_true", help="also write one page on the slice: report.html, report.pdf"
    )
    parser.add_argument(
        "--region",
        type=values.positive,
        metavar="RANK",
        help="also say which pixels the logit of this region hangs on (runs the network some 50 times)",
    )
    parser.add_argument(
        "--compare-nms", type=values.iou, nargs=2, metavar=("A", "B"),
        help="also write the slice under two NMS thresholds side by side: slice-N-nms.pdf, slice-N-nms.png",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain the slice and write the results; nothing is written before everything is computed."""
    from model_core.engine.load import load_pipeline
    from model_core.explain import explain_slice, stability
    from model_core.export import in_words
    from model_core.report import require_pdf

    output: Path = arguments.output
    if arguments.report:
        require_pdf()
    volume, index = _open(arguments)
    refuse_to_replace([output / name for name in _names(arguments, index)], overwrite=arguments.overwrite)
    pipeline = load_pipeline(arguments.weights, device=arguments.device, backend=arguments.backend)
    given = {"score": arguments.evidence_score, "nms_iou": arguments.evidence_nms}
    evidence = dataclasses.replace(
        pipeline.evidence, **{name: value for name, value in given.items() if value is not None}
    )
    result, original, shown = _analyse(arguments, pipeline, volume, index, evidence)
    region = _region(arguments.region, pipeline, volume, result, shown)
    changed = _changed(arguments, pipeline, volume, result, original, evidence)
    found = last(explain_slice(pipeline, result, shown, seed=arguments.seed), title="Explaining")
    steady = None
    if arguments.stability:
        changes = stability(pipeline, volume, index, pipeline.detections, evidence, seed=arguments.seed)
        steady = last(changes, title="Changing the picture")
    edited = shown is not original
    _write(
        output, pipeline, volume, shown, found,
        original=original if edited else None, steady=steady, region=region, changed=changed,
        report=arguments.report, under=_under(arguments, pipeline, volume, result, evidence),
    )  # fmt: skip
    for problem in volume.problems:
        if problem.level != "info":
            sys.stderr.write(f"ctmasknet: {problem.text} {problem.action}\n")
    if edited:
        from model_core.export import edited_in_words

        sys.stdout.write(edited_in_words(original, shown, pipeline.image_classes) + "\n")
    if region is not None:
        from model_core.export import region_in_words

        sys.stdout.write(f"{region_in_words(region)}\n")
    if changed is not None:
        from model_core.scene.picture_edit import effect_words, sham_words

        sys.stdout.write(f"{changed.edited.done}: {effect_words(changed)}; {sham_words(changed)}.\n")
    if found.why_none:
        sys.stderr.write(f"ctmasknet: no contributions: {found.why_none}\n")
    elif sentence := in_words(found, pipeline.image_classes):
        sys.stdout.write(f"{sentence}\n")
    return 0


def _names(arguments: argparse.Namespace, index: int) -> list[str]:
    """Return the names of what will be written."""
    from model_core.export import picture_edit_name, picture_names, region_picture_name
    from model_core.export.pages import page_names
    from model_core.export.paper import paper_targets

    names = [DOCUMENT, *picture_names(index), *(page_names(REPORT) if arguments.report else ())]
    if arguments.region is not None:
        names.append(region_picture_name(index, arguments.region))
    if arguments.ground_glass is not None and not arguments.plant:
        raise UsageError("--ground-glass says how dense is what --plant plants: give its box, too.")
    if arguments.heal or arguments.heal_area or arguments.plant:
        names.append(picture_edit_name(index))
    if arguments.compare_nms:
        if arguments.compare_nms[0] == arguments.compare_nms[1]:
            raise UsageError("--compare-nms takes two different thresholds.")
        names += [path.name for path in paper_targets(Path(_nms_name(index)))]
    return names


def _open(arguments: argparse.Namespace) -> tuple[Volume, int]:
    """Return the series and the slice, from 0."""
    from model_core.read import scan

    catalogue = last(scan(arguments.path), title="Reading")
    volume = open_series(choose_series(catalogue.series, arguments.series), every=1, straight=False)
    index = arguments.slice - 1
    if index >= volume.slices:
        raise UsageError(
            f"--slice {arguments.slice} is out of range: the series has slices 1 to {volume.slices}."
        )
    return volume, index


def _analyse(
    arguments: argparse.Namespace, pipeline: Pipeline, volume: Volume, index: int, evidence: EvidenceSettings
) -> tuple[SliceResult, ShownSlice, ShownSlice]:
    """Run the networks; return the result, what it shows, and the same with edited evidence."""
    from model_core.base.asked import AskedRegion
    from model_core.base.settings import EvidenceEdit
    from model_core.engine import ask
    from model_core.engine import run as run_networks
    from model_core.engine.lungs import lungs_of
    from model_core.explain import show

    last(lungs_of(volume), title="Looking for the lung")
    result = last(run_networks(pipeline, volume, [index]), title="Analysing")
    original = show(pipeline, volume, result, pipeline.detections, evidence)
    edit = EvidenceEdit(
        excluded=_candidates(original, arguments.exclude),
        only=_candidates(original, arguments.only) if arguments.only else None,
        nms_anew=arguments.nms_anew,
    )
    for box in arguments.ask:
        asked = last(ask(pipeline, volume, result, box), title="Asking")
        assert isinstance(asked, AskedRegion)
        edit = edit.ask(asked)
    if not edit:
        return result, original, original
    return result, original, show(pipeline, volume, result, pipeline.detections, evidence, edit=edit)


def _region(
    rank: int | None, pipeline: Pipeline, volume: Volume, result: SliceResult, shown: ShownSlice
) -> RegionPixels | None:
    """Return what the region of a rank hangs on, where one was asked for."""
    from model_core.explain import explain_region

    if rank is None:
        return None
    if rank > len(shown.rois):
        raise UsageError(
            f"--region {rank} is out of range: the evidence of this slice has {len(shown.rois)} regions."
        )
    roi = shown.rois[rank - 1]
    if roi.asked is not None:
        raise UsageError(f"--region {rank} is a box that was asked about: give a region that was found.")
    job = explain_region(pipeline, volume, result, roi, pipeline.detections)
    return last(job, title=f"Region {rank}")


def _changed(
    arguments: argparse.Namespace,
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    shown: ShownSlice,
    evidence: EvidenceSettings,
) -> PictureEffect | None:
    """Return what the changed picture does, where one was asked for."""
    from model_core.base.picture_edit import EditedPicture, PictureRequest
    from model_core.explain import edit_picture, picture_effect

    if arguments.heal:
        boxes = {roi.rank: roi.box for roi in shown.rois}
        _candidates(shown, arguments.heal)
        request = PictureRequest("heal", regions=tuple((rank, boxes[rank]) for rank in arguments.heal))
    elif box := arguments.heal_area or arguments.plant:
        left, top, right, bottom = box
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        kind: PictureEditKind = "heal" if arguments.heal_area else "plant"
        level = PLANTED_HU if arguments.ground_glass is None else arguments.ground_glass
        request = PictureRequest(kind, polygon=corners, level_hu=level)
    else:
        return None
    detections = pipeline.detections
    edited = last(edit_picture(pipeline, volume, result, detections, request), title="Changing the picture")
    assert isinstance(edited, EditedPicture)
    job = picture_effect(pipeline, volume, result, detections, evidence, edited, seed=arguments.seed)
    return last(job, title="Running it again")


def _write(
    output: Path,
    pipeline: Pipeline,
    volume: Volume,
    shown: ShownSlice,
    found: Explanation,
    *,
    original: ShownSlice | None,
    steady: Stability | None,
    region: RegionPixels | None,
    changed: PictureEffect | None,
    report: bool,
    under: Sequence[ShownSlice] = (),
) -> None:
    """Write document, pictures and page; ``under``: the slice under other thresholds, for a figure."""
    from model_core.base.files import atomic_folder
    from model_core.export import (
        explanation,
        write_explanation_pictures,
        write_json,
        write_picture_edit,
        write_region_picture,
    )
    from model_core.export.pages import PageSettings, write_page
    from model_core.export.paper import nms_figure, write_paper_figure
    from model_core.export.paper_captions import PaperLook
    from model_core.export.slice_page import slice_page
    from model_core.weights.card import names_text

    make_folder(output)
    former = []
    if (output / DOCUMENT).is_file():  # pictures of another slice or of other weights
        mine = (
            "slice-*-contribution*.png", "slice-*-region-*.png", "slice-*-changed.png", "slice-*-nms.p*",
            f"{REPORT}.[hp]*",
        )  # fmt: skip
        former = sorted(path for pattern in mine for path in output.glob(pattern))
    with atomic_folder(output, last=DOCUMENT, outdated=former) as work:
        write_explanation_pictures(work, volume, shown, found, image_classes=pipeline.image_classes)
        if region is not None:
            write_region_picture(work, volume, shown.slice_index, region)
        if changed is not None:
            write_picture_edit(work, volume, changed)
        if under:
            look = PaperLook(scene=scene_of(volume, pipeline), plot="area")
            title = f"CTMaskNet, slice {shown.slice_index + 1} under two NMS thresholds"
            figure = nms_figure(volume, under, look)
            write_paper_figure(work / _nms_name(shown.slice_index), figure, title=title)
        if report:
            weights = names_text(pipeline.cards)
            settings = PageSettings(pipeline, pipeline.detections, found.verdict.settings, weights)
            write_page(work, REPORT, slice_page(volume, shown, settings, explanation=found, steady=steady))
        write_json(
            work / DOCUMENT,
            explanation(
                shown,
                found,
                pipeline=pipeline,
                steady=steady,
                original=original,
                region=region,
                changed=changed,
            ),
        )


def _nms_name(index: int) -> str:
    from model_core.export import slice_file_name

    return slice_file_name(index, suffix="-nms.pdf")


def _under(
    arguments: argparse.Namespace,
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    evidence: EvidenceSettings,
) -> list[ShownSlice]:
    """Return the slice under each of the thresholds that are to be compared, with nothing edited."""
    from model_core.explain import show
    from model_core.export.paper import with_nms

    settings = [with_nms(pipeline.detections, evidence, iou) for iou in arguments.compare_nms or ()]
    return [show(pipeline, volume, result, *values) for values in settings]


def _candidates(shown: ShownSlice, ranks: Sequence[int]) -> frozenset[int]:
    """Return the candidates of ranks, from 1."""
    known = {roi.rank: roi.candidate for roi in shown.rois}
    for rank in ranks:
        if rank not in known:
            raise UsageError(f"There is no region {rank}: the evidence of this slice has {len(known)}.")
    return frozenset(known[rank] for rank in ranks)
