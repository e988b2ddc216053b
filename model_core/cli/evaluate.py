"""``ctmasknet evaluate``: networks against expert masks or class labels, and a report of how they did."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.base.errors import DataError, SettingsError
from model_core.cli import values

if TYPE_CHECKING:
    from model_core.base.settings import DetectionSettings
    from model_core.measure.explained_slices import Subject

_LOG = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its subcommands."""
    parser = commands.add_parser(
        "evaluate",
        help="measure weights on a labelled data set and write a report",
        description="Measures weights on a labelled data set. Writes report.html, report.md, report.json, "
        "tables and figures into one folder, complete or not at all.",
    )
    kinds = parser.add_subparsers(dest="evaluation", required=True, metavar="WHAT")
    _add_segmentation(kinds)
    _add_classifier(kinds)
    _add_scans(kinds)
    _add_explanations(kinds)
    _add_heals(kinds)


def _add_segmentation(kinds: Any) -> None:
    parser = kinds.add_parser(
        "segmentation",
        help="lesion detection and masks against expert masks",
        description="DIR holds images/ and masks/ with files of equal names (or the CNCB folders of the "
        "papers) and perhaps index.tsv with the optional columns file or slice, approx_hu_at_0, "
        "approx_hu_at_255, patient, source.",
    )
    _add_common(parser)
    parser.add_argument(
        "--mask-type",
        choices=("both", "ggo", "merge"),
        help="GGO and consolidation apart, GGO alone, or one lesion class; default what the weights find",
    )
    parser.add_argument(
        "--mask-values",
        default="shared",
        metavar="SCHEME",
        help="shared (0; 1 GGO or lesion; 2 consolidation; default), papers (0-3), released (0-3 labelled by "
        "position, as the released code does), or 1=ggo,2=consolidation",
    )
    parser.add_argument(
        "--preset",
        choices=("p1", "p2", "p3"),
        help="thresholds of the numbers reported in one of the papers, instead of the card's",
    )
    parser.add_argument("--score-threshold", type=values.score, metavar="T", help="default: the card's")
    parser.add_argument("--nms-threshold", type=values.iou, metavar="T", help="default: the card's")
    parser.add_argument(
        "--join",
        action=argparse.BooleanOptionalAction,
        help="report touching detections as one lesion (default: the card's)",
    )
    parser.add_argument(
        "--mask-threshold", type=values.logit, metavar="T", help="on the card's scale; default: the card's"
    )
    parser.add_argument(
        "--min-area",
        type=values.count,
        default=100,
        metavar="PX",
        help="reference components up to this area are dropped for AP, not for Dice (default 100)",
    )
    parser.set_defaults(run=run_segmentation)


def _add_classifier(kinds: Any) -> None:
    parser = kinds.add_parser(
        "classifier",
        help="the image class against slice labels",
        description="DIR holds a folder of pictures per class (normal, other, covid), or pictures whose "
        "class is in the column class of index.tsv, in their names as in COVIDx-CT and iCTCF, or in a "
        "split list.",
    )
    _add_common(parser)
    parser.add_argument(
        "--roi-sample",
        type=values.count,
        default=475,
        metavar="N",
        help="slices per class in the RoI statistics (default 475, as in the papers)",
    )
    parser.add_argument(
        "--seed", type=values.count, default=0, metavar="N", help="seed of that sample (default 0)"
    )
    parser.set_defaults(run=run_classifier)


def _add_scans(kinds: Any) -> None:
    parser = kinds.add_parser(
        "scans",
        help="the verdict of whole scans against what is known of them",
        description="LIST is a text file with one scan a line, separated by tabs or commas: path (from the "
        "folder of the list), label (ill, control, or no_class for what shows no chest) and perhaps a group "
        "(source, scanner: results are also given by group). Every slice of every scan is analysed.",
    )
    parser.add_argument("list", type=Path, metavar="LIST", help="scans and their labels")
    parser.add_argument(
        "--stability",
        action="store_true",
        help="also run lung slices 10 mm apart with eight small changes each: volume, slices that look ill, "
        "and verdict after each (one pixel to each side, 25 HU, mirror image, noise)",
    )
    _add_output(parser)
    parser.set_defaults(run=run_scans)


def _add_explanations(kinds: Any) -> None:
    parser = kinds.add_parser(
        "explanations",
        help="what is said to carry the class against what does, by method",
        description="Measures each method of 'ctmasknet explain' in the six categories of Quantus, against "
        "the order of scores and chance (docs/explanation.md). Of segmentation sets only slices are taken "
        "that the detector never saw, where the list of its slices lies beside its weights.",
    )
    _add_subjects(parser, slices=60)
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep the regions here, so that another run begins with them"
    )
    parser.add_argument("--seed", type=values.count, default=0, metavar="N", help="of all that is drawn (0)")
    _add_output(parser)
    parser.set_defaults(run=run_explanations)


def _add_heals(kinds: Any) -> None:
    parser = kinds.add_parser(
        "heals",
        help="what healed lesions and sham heals do to the verdict",
        description="Heals the experts' lesions of slices, and gives every slice, controls too, eight sham "
        "heals in unmarked lung (docs/explanation.md). Those of controls have the shapes of the experts' "
        "lesions. Of segmentation sets only slices are taken that the detector never saw, where the list of "
        "its slices lies beside its weights.",
    )
    _add_subjects(parser, slices=20)
    parser.add_argument("--seed", type=values.count, default=0, metavar="N", help="of all that is drawn (0)")
    _add_output(parser)
    parser.set_defaults(run=run_heals)


def _add_subjects(parser: argparse.ArgumentParser, *, slices: int) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, nargs="+", metavar="DIR", help="segmentation sets"
    )
    parser.add_argument(
        "--controls", type=Path, required=True, metavar="DIR", help="class set, of which controls are taken"
    )
    parser.add_argument(
        "--slices",
        type=values.positive,
        default=slices,
        metavar="N",
        help=f"of the segmentation sets ({slices})",
    )
    parser.add_argument(
        "--control-slices", type=values.positive, default=20, metavar="N", help="of the class set (20)"
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="labelled data set")
    parser.add_argument("--list", type=Path, metavar="FILE", help="split list: only the slices it names")
    parser.add_argument(
        "--grey-map",
        choices=("window", "estimate"),
        help="pictures without a grey-to-HU map: taken as a lung window, or as a wider one where their lung "
        "and soft-tissue peaks show it (default: as the weights have it, which is what the app does)",
    )
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the report"
    )
    parser.add_argument("--weights", nargs="+", default=[], metavar="W", help="shipped names or files")
    values.add_computing(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")


def run_segmentation(arguments: argparse.Namespace) -> int:
    """Evaluate masks; the report is written once everything is computed."""
    from model_core.cli.progress import follow
    from model_core.data import parse_mask_values, read_segmentation
    from model_core.data.lists import data_and_list
    from model_core.engine.load import load_pipeline
    from model_core.measure import coco
    from model_core.measure.output import check_target
    from model_core.measure.segmentation import (
        SegmentationSettings,
        check_mask_type,
        default_mask_type,
        evaluate_slices,
    )
    from model_core.measure.segmentation_report import settings_document, write_segmentation_report
    from model_core.measure.slices import read_sources, with_grey_map

    check_target(arguments.output, overwrite=arguments.overwrite)
    found = read_segmentation(arguments.data, list_file=arguments.list, mask_values=arguments.mask_values)
    folder, _ = data_and_list(arguments.data, arguments.list)
    sources = read_sources(folder, [item.name for item in found])
    pipeline = load_pipeline(arguments.weights, device=arguments.device, backend=arguments.backend)
    grey_map = arguments.grey_map or pipeline.cards[0].input.grey
    slices = with_grey_map(found, grey_map)
    mask_type = arguments.mask_type or default_mask_type(pipeline.region_classes)
    check_mask_type(mask_type, pipeline.region_classes)
    scheme = parse_mask_values(arguments.mask_values, mask_type=mask_type)
    slices = [dataclasses.replace(item, scheme=scheme) for item in slices]
    settings = SegmentationSettings(
        mask_type=mask_type,
        detections=_detections(arguments, pipeline.detections),
        min_area=arguments.min_area,
    )
    outcomes = list(follow(evaluate_slices(pipeline, slices, settings), title="Evaluating"))
    if not coco.available():
        _LOG.warning(coco.MISSING)
    cards = pipeline.cards[:1]
    about = settings_document(
        settings,
        cards,
        data=arguments.data.resolve().name,
        mask_values=arguments.mask_values,
        grey_map=grey_map,
        device=pipeline.device,
    )
    report = write_segmentation_report(
        arguments.output,
        outcomes,
        slices,
        settings=settings,
        cards=cards,
        about=about,
        sources=sources,
        overwrite=arguments.overwrite,
    )
    _tell(report, ("dice", "paper_map", "paper_ap50", "coco_map"), arguments.output)
    return 0


def _detections(arguments: argparse.Namespace, card: DetectionSettings) -> DetectionSettings:
    """Return the card's (or a preset's) settings with what the command line changes."""
    import dataclasses

    base = card
    if arguments.preset:
        from model_core.train.systems.presets import preset

        base = preset(arguments.preset).detections
    changes = {
        name: value
        for name, value in (
            ("score", arguments.score_threshold),
            ("nms_iou", arguments.nms_threshold),
            ("mask_threshold", arguments.mask_threshold),
            ("join_touching", arguments.join),
        )
        if value is not None
    }
    return dataclasses.replace(base, **changes)


def run_classifier(arguments: argparse.Namespace) -> int:
    """Evaluate the image class; the report is written once everything is computed."""
    from model_core.cli.progress import follow
    from model_core.data import read_classes
    from model_core.engine.load import load_pipeline
    from model_core.measure.classifier import evaluate_classes
    from model_core.measure.classifier_report import settings_document, write_classifier_report
    from model_core.measure.output import check_target
    from model_core.measure.slices import with_grey_map

    check_target(arguments.output, overwrite=arguments.overwrite)
    found = read_classes(arguments.data, list_file=arguments.list)
    pipeline = load_pipeline(arguments.weights, device=arguments.device, backend=arguments.backend)
    if not pipeline.image_classes:
        raise SettingsError("These weights give no image class: give a classifier or a single-shot model.")
    # Of the network that the class rests on: a whole classifier reads pictures in a pass of its own.
    grey_map = arguments.grey_map or pipeline.evidence_card.input.grey
    slices = with_grey_map(found, grey_map)
    outcomes = list(follow(evaluate_classes(pipeline, slices), title="Evaluating"))
    about = settings_document(
        pipeline,
        data=arguments.data.resolve().name,
        grey_map=grey_map,
        roi_sample=arguments.roi_sample,
        seed=arguments.seed,
    )
    report = write_classifier_report(
        arguments.output,
        outcomes,
        class_names=pipeline.image_classes,
        cards=pipeline.cards,
        about=about,
        roi_sample=arguments.roi_sample,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
    )
    _tell(report, ("accuracy", "balanced_accuracy", "f1"), arguments.output)
    return 0


def run_scans(arguments: argparse.Namespace) -> int:
    """Analyse the scans of a list; the report is written once everything is computed."""
    from model_core.cli.progress import last
    from model_core.engine.load import load_pipeline
    from model_core.measure.output import check_target
    from model_core.measure.report_parts import common_settings
    from model_core.measure.scans import evaluate_scan, read_scans, verdict_id, write_scan_report
    from model_core.read import load, scan

    check_target(arguments.output, overwrite=arguments.overwrite)
    listed = read_scans(arguments.list)
    pipeline = load_pipeline(arguments.weights, device=arguments.device, backend=arguments.backend)
    if pipeline.calibration is None:
        raise SettingsError(
            "These weights give no verdict, as their card has no calibration: 'ctmasknet train calibrate' "
            "adds it."
        )
    outcomes = []
    for item in listed:
        usable = [one for one in last(scan(item.path), title="Reading").series if one.status != "error"]
        if len(usable) != 1:
            found = "no series" if not usable else f"{len(usable)} series"
            raise DataError(f"'{item.name}' holds {found} that can be opened: a line names one scan.")
        volume = last(load(usable[0]), title="Opening")
        outcomes.append(
            last(evaluate_scan(pipeline, volume, item, stability=arguments.stability), title=item.name)
        )
    own = {
        "slope": pipeline.calibration.slope,
        "bias": pipeline.calibration.bias,
        "control_limit": pipeline.calibration.control_limit,
        "verdict_id": verdict_id(pipeline),
    }
    about = common_settings(pipeline.cards, data=arguments.list.name, device=pipeline.device, own=own)
    report = write_scan_report(
        arguments.output, outcomes, pipeline=pipeline, about=about, overwrite=arguments.overwrite
    )
    share = report["share_right"]
    sys.stdout.write(
        f"{report['scans']} scans, {report['right']} right (95 %: {share['low']:.0%}-{share['high']:.0%}), "
        f"{report['uncertain']} uncertain, {report['wrong']} wrong\n{arguments.output / 'report.html'}\n"
    )
    return 0


def run_explanations(arguments: argparse.Namespace) -> int:
    """Measure explanations; the report is written once everything is computed."""
    from model_core.cli.progress import last
    from model_core.engine.load import load_pipeline
    from model_core.measure.explained_slices import gather
    from model_core.measure.explanation_report import settings_document, write_explanation_report
    from model_core.measure.explanations import check_pipeline, measure_explanations
    from model_core.measure.output import check_target

    check_target(arguments.output, overwrite=arguments.overwrite)
    pipeline = load_pipeline(arguments.weights, device=arguments.device)
    check_pipeline(pipeline)
    pipeline = pipeline.class_alone()
    card = pipeline.evidence_card
    subjects, data = _subjects(arguments, card.name)
    cases = last(gather(pipeline, subjects, card.input.grey, work=arguments.work), title="Analysing")
    measured = last(measure_explanations(pipeline, cases, seed=arguments.seed), title="Measuring")
    about = settings_document(
        pipeline,
        data=data,
        grey_map=card.input.grey,
        seed=arguments.seed,
    )
    report = write_explanation_report(
        arguments.output, measured, cases, pipeline=pipeline, about=about, overwrite=arguments.overwrite
    )
    better = ", ".join(report["better_than_the_order_of_scores"]) or "none"
    sys.stdout.write(
        f"{len(cases)} slices: better than the order of scores: {better}\n"
        f"{arguments.output / 'report.html'}\n"
    )
    return 0


def run_heals(arguments: argparse.Namespace) -> int:
    """Measure healing; the report is written once everything is computed."""
    from model_core.cli.progress import last
    from model_core.engine.load import load_pipeline
    from model_core.measure.explained_slices import CONTROLS
    from model_core.measure.heals import measure_heals, write_heal_report
    from model_core.measure.output import check_target

    check_target(arguments.output, overwrite=arguments.overwrite)
    pipeline = load_pipeline(arguments.weights, device=arguments.device)
    if not pipeline.has_class:
        raise SettingsError("These weights give no image class: give a classifier or a single-shot model.")
    subjects, data = _subjects(arguments, pipeline.evidence_card.name)
    found = last(measure_heals(pipeline, subjects, seed=arguments.seed), title="Healing")
    report = write_heal_report(
        arguments.output,
        found,
        pipeline=pipeline,
        data=data,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
    )
    controls = report[CONTROLS]
    share = controls["sham_verdict_changed"]["value"]
    told = "no sham heal fits" if share is None else f"{share:.1%} of {controls['shams']} change the verdict"
    sys.stdout.write(f"Sham heals of controls: {told}\n{arguments.output / 'report.html'}\n")
    return 0


def _subjects(arguments: argparse.Namespace, detector: str) -> tuple[list[Subject], str]:
    """Return lesion slices and controls to measure on, and the names of their sets."""
    from model_core.data import read_classes, read_segmentation
    from model_core.measure.explained_slices import choose
    from model_core.weights.store import held_out_slices

    sets = {folder.resolve().name: read_segmentation(folder) for folder in arguments.data}
    subjects = choose(
        sets,
        read_classes(arguments.controls),
        held_out_slices(detector),
        count=arguments.slices,
        control_count=arguments.control_slices,
    )
    return subjects, ", ".join([*sets, arguments.controls.resolve().name])


def _tell(report: dict[str, Any], keys: Sequence[str], output: Path) -> None:
    """Print the main numbers and where the report is."""
    numbers = ", ".join(
        f"{key} {'undefined' if report[key] is None else format(report[key], '.3f')}" for key in keys
    )
    sys.stdout.write(f"{report['images']} slices: {numbers}\n{output / 'report.html'}\n")
