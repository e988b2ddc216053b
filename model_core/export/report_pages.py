"""A page on a scan, or on a slice: picture, verdict with its doubt, evidence, settings, limits."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core import DISCLAIMER, __version__
from model_core.base.arrays import ByteArray
from model_core.base.files import refuse_existing, write_text
from model_core.base.results import UNDECIDED, ScanVerdict, ShownSlice, SliceSummary, probability_text
from model_core.base.settings import DetectionSettings, EvidenceBasis, EvidenceSettings
from model_core.base.stability import ScanStability, Stability
from model_core.base.threads import DRAWING
from model_core.base.voi import automatic_window
from model_core.base.volume import LUNG_WINDOW, Volume, readable_name
from model_core.explain.distribution import RoiDistribution
from model_core.explain.explanation import Explanation
from model_core.explain.lesions import Burden
from model_core.explain.stability import OFFSET_HU
from model_core.export.explanation import in_words, target
from model_core.export.picture import render_slice
from model_core.export.predictions import Networks, series_title, told_problem
from model_core.export.series import NONE_MARKED
from model_core.report import Block, Document, Note, Picture, Row, Table, write_pdf
from model_core.scene import Overlays, class_name, scan_words, slice_words
from model_core.scene.palette import NO_CLASS, image_colour
from model_core.scene.reasons import signed_logit
from model_core.scene.settings import SceneSettings
from model_core.scene.verdict import SliceWords, steady_scan_words, worth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 200
# Inches of plots that stand side by side.
_BARS = (4.2, 2.8)
# Regions and slices that are listed.
_MOST_ROWS, _MOST_PICTURES, _MOST_KEY_IMAGES = 8, 3, 4
# Key images beside each other: so large that lesions can be judged.
_BESIDE = 2
_ADDS = "adds (Shapley)"
# Characters of a note.
_LONGEST_NOTE = 160
_NOTICE = f"{DISCLAIMER} Nothing on this page is validated for diagnosis."
_OF_CLASS = (
    "The class rests on the regions that a network ranked, not on the whole picture, and was learned from "
    "few patients and sources."
)


@dataclass(frozen=True)
class PageSettings:
    """What ran, and how; ``weights`` names it for people, ``identity`` allows the name of the patient."""

    pipeline: Networks
    detections: DetectionSettings
    evidence: EvidenceSettings
    weights: str
    identity: bool = False


def slice_page(
    volume: Volume,
    shown: ShownSlice,
    settings: PageSettings,
    *,
    explanation: Explanation | None = None,
    steady: Stability | None = None,
    scene: SceneSettings | None = None,
) -> Document:
    """Return the page of one slice.

    Parameters
    ----------
    explanation:
        What carries its class; None leaves that out.
    steady:
        What small changes of the picture do; None leaves that out.
    scene:
        How the slice is shown; None takes the lung window (the automatic one without HU) and outlines.
    """
    from model_core import plots

    names = settings.pipeline.image_classes
    verdict, summary = shown.verdict, shown.summary
    words = slice_words(summary)
    lines = _said(words)
    answer, colour = (words.answer, words.colour) if words else _likeliest(shown, names)
    if verdict is not None and verdict.basis == "edited":
        lines.append("edited evidence: not the class that the weights give")
    picture = _slice_picture(volume, shown, settings, scene)
    calibration = settings.pipeline.cards[-1].calibration
    if words is not None and calibration is not None:
        lines.append(f"these weights: {worth(calibration.checked).lower()}")
    right: list[str | Table | Picture] = [f"{line[:1].upper()}{line[1:]}." for line in lines]
    if verdict is not None:
        classes = [class_name(names, number) for number in range(len(verdict.logits))]
        right.append(
            Table(
                ("class", "probability", "logit"),
                [
                    (name, float(p), float(logit))
                    for name, p, logit in zip(classes, verdict.probabilities, verdict.logits, strict=True)
                ],
                "Each class alone, as sigmoids of the network's outputs (logits): they need not sum to 1.",
            )
        )
    right.append(_found(summary))
    if steady is not None:
        right.append(steady_words(steady, edited=verdict is not None and verdict.basis == "edited"))
    sections: dict[str, Sequence[Block]] = {"": [Row([[picture], right], (1.15, 1))]}
    scores = _figure(
        "score-area",
        lambda f: plots.score_area(f, shown.rois, calibrated=shown.calibrated, theme="light"),
        f"{'Ranked regions' if verdict is None else 'Regions that the class rests on'}, by score and box area"
        f"{'; filled: shown as detections' * any(roi.detected is not None for roi in shown.rois)}.",
        size=_BARS,
    )
    if explanation is None:
        sections["Evidence"] = [scores]
    else:
        sections["Why this class"] = _why(explanation, names, beside=scores)
    sections["Regions"] = [_regions(shown, explanation)]
    sections["How it was made"] = _made(settings, basis=None if verdict is None else verdict.basis)
    return Document(
        title=f"Slice {shown.slice_index + 1} of {volume.slices} – {series_title(volume)}",
        opening=_patient(volume, settings),
        sections=sections,
        answer=answer,
        colour=colour,
        notice=_NOTICE,
    )


def scan_page(
    volume: Volume,
    summaries: Sequence[SliceSummary],
    scan: ScanVerdict | None,
    settings: PageSettings,
    *,
    pictures: Mapping[int, ByteArray],
    lesions: Burden | None = None,
    key_images: Mapping[int, str] = NONE_MARKED,
    rois: RoiDistribution | None = None,
    outside: Collection[int] = (),
    steady: ScanStability | None = None,
) -> Document:
    """Return the page of a scan.

    Parameters
    ----------
    summaries:
        Of the analysed slices.
    scan:
        None for weights without a class.
    pictures:
        (h, w, 3) annotated pictures by slice (from 0), of `page_slices`.
    lesions:
        Connected through the slices; None leaves them out.
    key_images:
        Notes by slice that a person marked; these slices come first.
    rois:
        The regions of the scan beside those of controls; None leaves them out.
    outside:
        Slices (from 0) that are known to lie outside the lungs, though they were not analysed.
    steady:
        What the scan gives after small changes; None leaves the ranges out.
    """
    from model_core import plots

    names = settings.pipeline.image_classes
    areas = rois is not None and rois.areas is not None
    deciding = () if scan is None else scan.deciding
    opening = _patient(volume, settings)
    answer, colour = "No image class: these weights have none", NO_CLASS
    # One that was analysed all the same counts no more than others, but for a series without any lung.
    counted = [summary for summary in summaries if summary.slice_index not in outside] or summaries
    left_out = set(outside) - {summary.slice_index for summary in counted}
    if scan is not None:
        words = scan_words(
            scan,
            classes=names,
            analysed=len(counted),
            slices=volume.slices - len(left_out),
            lung_known=any(summary.lung is not None for summary in summaries),
            steady=steady,
        )
        answer, colour = words.answer, words.colour
        where = f"{words.answer} {words.where}" if words.where.startswith("in ") else words.where
        lines = (where, words.amount, words.kind, words.worth, f"{words.progress} analysed")
        opening += [" ".join(f"{line[:1].upper()}{line[1:].rstrip('.')}." for line in lines if line)]
        if steady is not None:
            what = "In brackets: from the least to the most with eight small changes of the picture"
            steadiness = " ".join(steady_scan_words(steady, scan.verdict))
            opening += [f"{what}. {steadiness} A wrong verdict can be steady."]
        if scan.verdict_rule:
            opening += [f"Rule: {scan.verdict_rule}"]
        if words.edited:
            opening += ["Edited evidence: not the class that the weights give."]
    height = 2.5
    profile = _figure(
        "profile",
        lambda figure: plots.scan_profile(
            figure,
            summaries,
            slices=volume.slices,
            deciding=deciding,
            control=scan is not None and scan.verdict == "control",
            outside=outside,
            theme="light",
        ),
        "From the first slice (left) to the last."
        + " Above: calibrated probability that it looks ill; below: marked area."
        * any(summary.ill_probability is not None for summary in summaries),
        size=(7.2 if rois is None else 4.4 if areas else 5.2, height),
    )
    along = [
        profile if rois is None else Row([[profile], [_rois(rois, height)]], (1, 1.1) if areas else (1.6, 1))
    ]
    sections: dict[str, Sequence[Block]] = {}
    # Key images need the first side for themselves.
    second = ""
    if key_images:
        sections["Key images"] = _key_images(key_images, pictures, deciding, _what_decides(scan))
    others = [index for index in sorted(pictures) if index not in key_images]
    columns = [[_png(f"slice-{k + 1:04d}", pictures[k], f"Slice {k + 1}.")] for k in others]
    what = _what_decides(scan) if deciding else "with most lesion"
    if key_images:
        second = "Profile"
        rest = {f"Other slices {what}": [_beside(columns, _MOST_PICTURES)]} if columns else {}
        # Where there is room they stand below the key images.
        few = len(key_images) <= _BESIDE
        sections |= {**rest, second: along} if few else {second: along, **rest}
    else:
        sections[""] = along
        if columns:
            sections[f"Slices {what}"] = [_beside(columns, 1)]
    numbers = _numbers(volume, counted, scan, lesions, left_out=len(left_out))
    compared = [] if rois is None else [_distances(rois)]
    if lesions is None:
        sections["Numbers"] = [numbers, *compared]
    else:
        beside = [_lesions(lesions, settings), *compared]
        sections["Numbers and lesions"] = [Row([[numbers], beside], (1, 1.5))]
    told = [told_problem(problem, volume) for problem in volume.problems if problem.level != "info"]
    problems = [f"{problem['text']} {problem['action']}".strip() for problem in told]
    if problems:
        sections["What was noticed while reading"] = problems
    basis = settings.pipeline.evidence_basis(settings.evidence) if scan is None else scan.basis
    sections["How it was made"] = _made(settings, basis=basis)
    return Document(
        title=f"Scan of {volume.slices} slices – {series_title(volume)}",
        opening=opening,
        sections=sections,
        answer=answer,
        colour=colour,
        notice=_NOTICE,
        second=second,
    )


def page_slices(
    summaries: Sequence[SliceSummary], scan: ScanVerdict | None, key_images: Iterable[int] = ()
) -> tuple[int, ...]:
    """Return which slices (from 0) a scan's page shows: the first key images, then the deciding ones.

    Where none decide those with most lesion.
    """
    chosen = sorted(key_images)[:_MOST_KEY_IMAGES]
    if scan is not None and scan.deciding:
        carrying = list(scan.deciding[:_MOST_PICTURES])
    else:
        most = sorted(summaries, key=lambda summary: (-summary.lesion_px, summary.slice_index))
        carrying = [summary.slice_index for summary in most[:_MOST_PICTURES] if summary.lesion_px]
    return tuple(dict.fromkeys([*chosen, *carrying]))


def page_names(stem: str) -> tuple[str, str]:
    """Return the names of the files of a page."""
    return f"{stem}.html", f"{stem}.pdf"


def write_page(folder: Path, stem: str, page: Document, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write a page as HTML, which needs no other file, and as PDF of A4; return both paths.

    The PDF has one side, where there are key images two.

    Raises
    ------
    ExportError
        If one of them exists, or cannot be written.
    """
    html, pdf = (folder / name for name in page_names(stem))
    for path in (html, pdf):
        refuse_existing(path, overwrite=overwrite)
    write_text(html, page.html(), overwrite=overwrite)
    write_pdf(pdf, page, one_page=True, overwrite=overwrite)
    return html, pdf


def _key_images(
    notes: Mapping[int, str], pictures: Mapping[int, ByteArray], deciding: Sequence[int], what: str
) -> list[Block]:
    """Return the pictures of the first key images with their notes beside each other."""
    shown = [index for index in sorted(notes) if index in pictures]
    columns: list[list[Picture]] = []
    for index in shown:
        caption = _with_note(index, notes[index])
        caption += "." * (caption[-1] not in "?!…")
        if index in deciding:
            caption += f" One of the slices {what}."
        columns.append([_png(f"slice-{index + 1:04d}", pictures[index], caption)])
    rows = [columns[k : k + _BESIDE] for k in range(0, len(columns), _BESIDE)]
    blocks: list[Block] = [_beside(row, _BESIDE) for row in rows]
    left = [_with_note(index, notes[index]) for index in sorted(notes) if index not in shown]
    if left:
        blocks.append(f"Key images without a picture here: {'; '.join(left)}.")
    return blocks


def _what_decides(scan: ScanVerdict | None) -> str:
    """Say what the deciding slices are: where there are no clear signs, they speak against that."""
    against = scan is not None and scan.verdict == "control"
    return "that look most ill" if against else "that decide"


def _with_note(index: int, note: str) -> str:
    """Return the number of a slice and its note, whose end is left out where pictures need the room."""
    note = f"{note[:_LONGEST_NOTE].rstrip()}…" if len(note) > _LONGEST_NOTE else note.rstrip(".")
    return f"Slice {index + 1}{': ' * bool(note)}{note}"


def _beside(columns: Sequence[Sequence[Picture]], least: int) -> Row:
    """Return columns of equal width, no wider than of ``least`` columns."""
    filled = [*columns, *([[]] * (least - len(columns)))]
    return Row(filled, [1] * len(filled))


def _likeliest(shown: ShownSlice, names: Sequence[str]) -> tuple[str, str]:
    """Return the answer of weights without a calibration."""
    if shown.verdict is None:
        return "No image class: these weights have none", NO_CLASS
    if shown.verdict.from_bias:
        return "The network's bias: no region left", NO_CLASS
    likeliest = int(np.argmax(shown.verdict.logits))
    name = class_name(names, likeliest)
    chance = probability_text(float(shown.verdict.probabilities[likeliest]))
    return f"{name} {chance} (uncalibrated)", image_colour(name, likeliest)


def _patient(volume: Volume, settings: PageSettings) -> list[str]:
    if not settings.identity:
        return []
    patient = volume.patient
    parts = (readable_name(patient.name), patient.patient_id, patient.study_date, patient.study_description)
    return [", ".join(filter(None, parts))] if any(parts) else []


def _slice_picture(
    volume: Volume, shown: ShownSlice, settings: PageSettings, scene: SceneSettings | None
) -> Picture:
    automatic = LUNG_WINDOW if volume.unit == "HU" else automatic_window(volume)
    rgb = render_slice(
        volume,
        shown.slice_index,
        shown=shown,
        window=automatic if scene is None else scene.window,
        overlays=Overlays() if scene is None else scene.overlays,
        flip_horizontal=scene is not None and scene.flip_horizontal,
        flip_vertical=scene is not None and scene.flip_vertical,
        inverted=scene is not None and scene.inverted,
        selected=None if scene is None else scene.selected,
        region_classes=settings.pipeline.region_classes,
        image_classes=settings.pipeline.image_classes,
        identity=settings.identity,
        weights=settings.weights,
        scale=2.0,
    )
    return _png(f"slice-{shown.slice_index + 1:04d}", rgb, "The slice with what is shown of the detections.")


def _said(words: SliceWords | None) -> list[str]:
    """Return what stands below the answer, for readers who see the page alone."""
    if words is None:
        return []
    lines = list(words.lines)
    if words.probability is not None:
        chance = probability_text(words.probability)
        lines[0] = f"calibrated probability that the slice looks ill: {chance}"
    return [f"kind of pneumonia {UNDECIDED}" if line == f"kind {UNDECIDED}" else line for line in lines]


def _found(summary: SliceSummary) -> str:
    count = summary.detections
    text = f"{count or 'No'} region{'' if count == 1 else 's'} marked"
    if count and summary.lesion_mm2 is not None:
        text += f", {summary.lesion_mm2 / 100:.1f} cm² together"
    return f"{text}."


def steady_words(found: Stability, *, edited: bool = False) -> str:
    """Say what small changes of the picture do; ``edited``: beside evidence that they do not know of."""
    low, high = found.area_range
    unit, scale = ("cm²", 100.0) if found.in_mm else ("px", 1.0)
    area = f"marked {low / scale:.1f} to {high / scale:.1f} {unit}"
    least, most = found.ml(low), found.ml(high)
    if least is not None and most is not None:
        area += f" ({least:.2f} to {most:.2f} ml of the scan)"
    chances = found.ill_range
    ill = "" if chances is None else "pneumonia {} to {}, ".format(*map(probability_text, chances))
    shifted = f", {OFFSET_HU} HU" * any(name.endswith(f"{OFFSET_HU} HU") for name in found.changes)
    return (
        f"After {len(found.changes)} small changes (one pixel to each side{shifted}, mirror image, noise)"
        f"{', with the evidence as it was before the edit' * edited}: {ill}{area}."
    )


def _why(found: Explanation, names: Sequence[str], *, beside: Picture) -> list[Block]:
    from model_core import plots

    if found.why_none:
        return [found.why_none, beside]
    sentence = in_words(found, names)
    output, name = target(found, names)
    exact = found.contributions["shapley"]
    values, baseline = exact.values[:, output], float(exact.baseline[output])
    bars = _figure(
        "contributions",
        lambda figure: plots.contribution_bars(
            figure,
            found.ranks,
            values,
            baseline=baseline,
            logit=baseline + float(values.sum()),
            name=name,
            theme="light",
        ),
        f"Shapley values in logits of {name}, against {found.references} RoI batches of controls.",
        size=_BARS,
    )
    return [*([sentence] if sentence else []), Row([[bars], [beside]], (1, 1))]


def _regions(shown: ShownSlice, found: Explanation | None) -> Table:
    """Return the first rows of the RoI batch, with what each contributes where that is known."""
    contributions: Mapping[int, float] = {}
    columns = ["region", "class", "score", "box (px)", "box area (mm²)", "uses", "shown"]
    if found is not None and "shapley" in found.contributions:
        output, _ = target(found, ())
        values = found.contributions["shapley"].values[:, output]
        contributions = dict(zip(found.ranks, map(float, values), strict=True))
        columns.append(_ADDS)
    rows = []
    for roi in shown.rois[:_MOST_ROWS]:
        box = " ".join(f"{edge:.0f}" for edge in roi.box)
        area = None if roi.area_mm2 is None else round(roi.area_mm2)
        uses = "excluded" if roi.excluded else roi.copies
        there = "–" if roi.detected is None else "yes" if roi.detected else "no"
        row: list[Any] = [str(roi.rank), roi.label, f"{roi.score:.3f}", box, area, uses, there]
        if _ADDS in columns:
            value = contributions.get(roi.rank)
            row.append(None if value is None else signed_logit(value))
        rows.append(row)
    more = len(shown.rois) - len(rows)
    caption = (
        f"{f'The best of {len(shown.rois)} regions. ' * (more > 0)}Score: how sure the network is of the "
        "class, 0 to 1. Box: left, top, right, bottom edge in slice pixels. Uses: how often the class is "
        "computed from it. Shown: drawn as a detection."
    )
    if all(roi.detected is None for roi in shown.rois):
        caption = caption.replace("a detection.", "a detection (–: the class has regions of its own).")
    if _ADDS in columns:
        caption += " Adds: contribution as in the bars above, in logits."
    return Table(tuple(columns), rows, caption)


def _lesions(found: Burden, settings: PageSettings) -> str | Table:
    """Return the largest lesions, each with where it is and how dense."""
    if not found.lesions:
        return "No lesion is marked."
    rows: list[tuple[Any, ...]] = []
    for lesion in found.lesions[:_MOST_ROWS]:
        where = " ".join(filter(None, (lesion.side, lesion.third)))
        rows.append(
            (
                str(lesion.number),
                class_name(settings.pipeline.region_classes, lesion.label - 1),
                "–".join(str(k + 1) for k in sorted({lesion.first, lesion.last})),
                "–" if lesion.ml is None else f"{lesion.ml:.1f}",
                where or "–",
                "–" if lesion.mean_hu is None else f"{lesion.mean_hu:.0f}".replace("-", "−"),
                "–" if lesion.non_aerated is None else f"{100 * lesion.non_aerated:.0f} %",
            )
        )
    more = len(found.lesions) - len(rows) + found.smaller
    caption = (
        "Connected through the slices; non-aerated: share above −100 HU. Lower, middle, upper: third of the "
    )
    caption += "slices with lung."
    if more:
        caption += f" {more} smaller one{' is' if more == 1 else 's are'} not listed."
    return Table(("lesion", "class", "slices", "ml", "where", "mean HU", "non-aerated"), rows, caption)


def _numbers(
    volume: Volume,
    summaries: Sequence[SliceSummary],
    scan: ScanVerdict | None,
    lesions: Burden | None,
    *,
    left_out: int,
) -> Table:
    rows: list[tuple[str, str]] = [("slices analysed", f"{len(summaries)} of {volume.slices}")]
    if left_out:
        rows.append(("slices without lung, left out", str(left_out)))
    lung = any(summary.lung is not None for summary in summaries)
    # What is marked outside the lungs counts nowhere.
    marked = sum(s.detections > 0 for s in summaries if s.lung is not False)
    rows.append(("slices with a marked lesion", str(marked)))
    if scan is not None and scan.verdict is not None and scan.lung_slices:
        rows.append((f"{'lung ' * lung}slices that look ill", f"{scan.ill_slices} of {scan.lung_slices}"))
        if scan.control_rate is not None:
            rows.append(("the same in slices of controls", f"{100 * scan.control_rate:.0f} %"))
        if scan.lesion_ml is not None:
            rows.append((f"marked{' in slices with lung' * lung}", f"{scan.lesion_ml:.1f} ml"))
        if scan.lung_ml is not None:
            rows.append(("both lungs", f"{scan.lung_ml:.0f} ml"))
    if lesions is not None and lesions.lung_shares is not None:
        shares = lesions.lung_shares
        rows.append(
            ("marked inside the right, left lung", f"{_share(shares['right'])}, {_share(shares['left'])}")
        )
        rows.append(("grade of the worse lung (steps of 25 %)", f"{lesions.grade} of 4"))
    return Table(("what", "how much"), rows)


def _distances(found: RoiDistribution) -> Table:
    """Return how far the regions of a scan are off those of controls."""

    def limited(value: float, ends: Sequence[float], places: int) -> str:
        return f"{value:.{places}f}" + (f" ({ends[1]:.{places}f})" if ends else "")

    rows = []
    for name, one, digits in (("scores", found.scores, 3), ("areas", found.areas, 1)):
        if one is not None:
            off = limited(one.wasserstein, one.controls.wasserstein, digits)
            beyond = None if one.beyond is None else _share(one.beyond)
            apart = limited(one.jensen_shannon, one.controls.jensen_shannon, 2)
            rows.append((name, off, beyond or "–", apart))
    caption = (
        "Regions beside those of controls: how far off on average (Wasserstein; scores 0 to 1, box areas in "
        "doublings), how far apart as histograms (Jensen–Shannon, 0 to 1)."
    )
    if found.scores.beyond is not None:
        caption += (
            " In brackets: 95 of 100 single slices of controls are less. Beyond: slices that are more off."
        )
    return Table(("regions", "off", "beyond", "apart"), rows, caption)


def _rois(found: RoiDistribution, height: float) -> Picture:
    from model_core import plots

    both = found.areas is not None
    return _figure(
        "scan-rois",
        lambda figure: plots.scan_rois(figure, found, theme="light"),
        f"Scores{' and box areas' * both} of all regions that the class rests on, beside those of "
        f"{found.controls_text}.{' Band: 5 to 95 % of the patients.' * bool(found.scores.controls.low)} "
        "Distances, not tests: slices of a patient are not independent.",
        size=(4.8 if both else 3.4, height),
    )


def _share(value: float) -> str:
    return "< 1 %" if 0 < value < 0.01 else f"{100 * value:.0f} %"


_BASES: dict[EvidenceBasis, str] = {
    "published": "as published",
    "trained": "as these weights were trained",
    "fast": "without the mirror image that these weights look at, too",
    "edited": "edited, not as these weights define it",
}


def _made(settings: PageSettings, *, basis: EvidenceBasis | None) -> list[Block]:
    """Say with which weights and settings, and what these weights are worth."""
    pipeline, shown, evidence = settings.pipeline, settings.detections, settings.evidence
    nms = "off" if shown.nms_iou is None else f"{shown.nms_iou:g}"
    level, joined = (
        f"{shown.mask_threshold:g}".replace("-", "−"),
        ", touching detections joined" * shown.join_touching,
    )
    nms_evidence = "off" if evidence.nms_iou is None else f"{evidence.nms_iou:g}"
    lines = [
        f"CTMaskNet {__version__}; weights {settings.weights}.",
        f"Shown: score above {shown.score:g}, NMS {nms}, mask {shown.mask_scale} above {level}{joined}.",
    ]
    if basis is not None:
        score = "all scores" if evidence.score < 0 else f"score above {evidence.score:g}"
        lines.append(
            f"Class: the best {evidence.batch_size} regions, {score}, NMS {nms_evidence} ({_BASES[basis]})."
        )
    # Cards begin alike: a sentence is said once.
    notes = [part for card in pipeline.cards for part in re.split(r"(?<=\.) ", card.notes)]
    limits = (_OF_CLASS * (basis is not None), "The program's documentation says what each number means.")
    return [Note(" ".join(filter(None, [*lines, *dict.fromkeys(notes), *limits])))]


def _figure(
    name: str, draw: Callable[[Figure], None], caption: str, *, size: tuple[float, float] = (4.2, 2.2)
) -> Picture:
    """Return a plot as a PNG in print quality."""
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    with DRAWING:
        figure = Figure(figsize=size, dpi=_DPI)
        draw(figure)
        figure.savefig(stream, format="png", metadata={"Software": None})
    return Picture(name, stream.getvalue(), caption)


def _png(name: str, rgb: ByteArray, caption: str) -> Picture:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "PNG")
    return Picture(name, stream.getvalue(), caption)
