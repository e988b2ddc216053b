"""One page on a slice: picture, verdict with its doubt, evidence, settings, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_core.base.results import UNDECIDED, ShownSlice, SliceSummary, probability_text
from model_core.base.stability import Stability
from model_core.base.voi import automatic_window
from model_core.base.volume import LUNG_WINDOW, Volume
from model_core.explain.explanation import Explanation
from model_core.explain.stability import OFFSET_HU
from model_core.export.explanation import in_words, target
from model_core.export.pages import (
    MOST_ROWS,
    NOTICE,
    PageSettings,
    how_it_was_made,
    patient_lines,
    plot_picture,
    png,
)
from model_core.export.picture import render_slice
from model_core.export.predictions import series_title
from model_core.report import Block, Document, Picture, Row, Table
from model_core.scene import Overlays, class_name, slice_words
from model_core.scene.palette import NO_CLASS, image_colour
from model_core.scene.reasons import signed_logit
from model_core.scene.settings import SceneSettings
from model_core.scene.verdict import SliceWords, worth

# Inches of plots that stand side by side.
_BARS = (4.2, 2.8)
_ADDS = "adds (Shapley)"


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
    scores = plot_picture(
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
    sections["How it was made"] = how_it_was_made(settings, basis=None if verdict is None else verdict.basis)
    return Document(
        title=f"Slice {shown.slice_index + 1} of {volume.slices} – {series_title(volume)}",
        opening=patient_lines(volume, settings),
        sections=sections,
        answer=answer,
        colour=colour,
        notice=NOTICE,
    )


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
    return png(f"slice-{shown.slice_index + 1:04d}", rgb, "The slice with what is shown of the detections.")


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
    bars = plot_picture(
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
    for roi in shown.rois[:MOST_ROWS]:
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
