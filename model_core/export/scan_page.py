"""A page on a scan: profile, pictures, verdict with its doubt, lesions, settings, limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from model_core.base.arrays import ByteArray
from model_core.base.results import ScanVerdict, SliceSummary
from model_core.base.stability import ScanStability
from model_core.base.volume import Volume
from model_core.explain.distribution import RoiDistribution
from model_core.explain.lesions import Burden
from model_core.export.pages import (
    MOST_ROWS,
    NOTICE,
    PageSettings,
    how_it_was_made,
    patient_lines,
    plot_picture,
    png,
)
from model_core.export.predictions import series_title, told_problem
from model_core.export.series import NONE_MARKED
from model_core.report import Block, Document, Picture, Row, Table
from model_core.scene import class_name, scan_words
from model_core.scene.palette import NO_CLASS
from model_core.scene.verdict import steady_scan_words

# Pictures that are shown.
_MOST_PICTURES, _MOST_KEY_IMAGES = 3, 4
# Key images beside each other: so large that lesions can be judged.
_BESIDE = 2
# Characters of a note.
_LONGEST_NOTE = 160


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
    opening = patient_lines(volume, settings)
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
    profile = plot_picture(
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
    columns = [[png(f"slice-{k + 1:04d}", pictures[k], f"Slice {k + 1}.")] for k in others]
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
    sections["How it was made"] = how_it_was_made(settings, basis=basis)
    return Document(
        title=f"Scan of {volume.slices} slices – {series_title(volume)}",
        opening=opening,
        sections=sections,
        answer=answer,
        colour=colour,
        notice=NOTICE,
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
        columns.append([png(f"slice-{index + 1:04d}", pictures[index], caption)])
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


def _lesions(found: Burden, settings: PageSettings) -> str | Table:
    """Return the largest lesions, each with where it is and how dense."""
    if not found.lesions:
        return "No lesion is marked."
    rows: list[tuple[Any, ...]] = []
    for lesion in found.lesions[:MOST_ROWS]:
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
    return plot_picture(
        "scan-rois",
        lambda figure: plots.scan_rois(figure, found, theme="light"),
        f"Scores{' and box areas' * both} of all regions that the class rests on, beside those of "
        f"{found.controls_text}.{' Band: 5 to 95 % of the patients.' * bool(found.scores.controls.low)} "
        "Distances, not tests: slices of a patient are not independent.",
        size=(4.8 if both else 3.4, height),
    )


def _share(value: float) -> str:
    return "< 1 %" if 0 < value < 0.01 else f"{100 * value:.0f} %"
