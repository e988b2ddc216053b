"""What the figures for print say: how they are to look, and their captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from model_core import __version__
from model_core.base.results import ShownSlice, probability_text
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import Volume
from model_core.export.png import RESEARCH_USE
from model_core.scene import SceneSettings, class_name, slice_words
from model_core.scene.corners import EDITED, window_text

if TYPE_CHECKING:
    from model_core.plots.small import SmallPlot

PaperMaps = Literal["logits", "probability"]
# As many slices as are legible on one side of a page.
MOST_ROWS = 5
# So many of the regions stand out in the plots, as in the papers.
TOP_RANKS = 16
_PLOTS: dict[SmallPlot, str] = {
    "scores": f"scores of {{regions}}, the best {TOP_RANKS} dark",
    "area": f"scores and box areas (slice pixels) of {{regions}}, the best {TOP_RANKS} in colour{{filled}}",
    "batch": "the ranked batch of {regions}, each column by its largest magnitude",
}


@dataclass(frozen=True, kw_only=True)
class PaperLook:
    """How a figure is to look.

    Attributes
    ----------
    scene:
        Window, flips, class names and weights; its overlays are not used: each column has its own.
    maps:
        Raw mask logits, or what the sigmoid makes of them.
    plot:
        What stands beside or below the pictures: histogram of the scores, scores against areas, or the RoI
        batch as module S reads it.
    """

    scene: SceneSettings
    maps: PaperMaps = "logits"
    plot: SmallPlot = "scores"


def said_of(shown: ShownSlice, names: Sequence[str], *, short: bool = False, edited: bool = True) -> str:
    """Return in a few words what the network says of a slice; empty for weights without a class.

    Parameters
    ----------
    short:
        The probability alone, where there is one.
    edited:
        Whether it is told that the evidence is edited.
    """
    words, verdict = slice_words(shown.summary), shown.verdict
    if verdict is None:
        return ""
    told = f" ({EDITED})" * (edited and verdict.basis == "edited")
    if words is not None:
        ill = shown.summary.ill_probability
        chance = "" if ill is None else f"pneumonia {probability_text(ill)}"
        return f"{chance if short and chance else ', '.join(filter(None, (words.answer, chance)))}{told}"
    best = int(np.argmax(verdict.logits))
    return f"{class_name(names, best)} {probability_text(float(verdict.probabilities[best]))}{told}"


def nms_text(settings: DetectionSettings | EvidenceSettings) -> str:
    """Return the NMS threshold of settings."""
    return "off" if settings.nms_iou is None else f"{settings.nms_iou:g}"


def caption_of_rows(volume: Volume, rows: Sequence[ShownSlice], look: PaperLook, *, reference: bool) -> str:
    """Return the caption of slices in four columns; ``reference``: an outline is on some of them."""
    settings = rows[0].detections.settings
    numbers = ", ".join(str(row.slice_index + 1) for row in rows)
    rule = "their sum where several overlap" if settings.logit_rule == "sum" else "the greatest of several"
    what = "raw mask logits" if look.maps == "logits" else "mask probabilities"
    parts = (
        f"Slice{'s' * (len(rows) > 1)} {numbers} of {volume.slices}, {_window(look)}.",
        f"a: the slice{', outline of the reference mask dashed' * reference}.",
        f"b: detections with score above {settings.score:g}, NMS {nms_text(settings)}{_masks(settings)}.",
        f"c: {what} of these detections, {rule}, none outside their boxes; white: their outlines.",
        f"d: {_plotted(rows, look)}.",
        _evidence(rows[0], nms=True),
        _pneumonia(rows),
        _made_by(look),
    )
    return " ".join(filter(None, parts))


def caption_of_nms(volume: Volume, columns: Sequence[ShownSlice], look: PaperLook) -> str:
    """Return the caption of one slice under several NMS thresholds."""
    first = columns[0]
    settings = first.detections.settings
    thresholds = " and ".join(nms_text(shown.detections.settings) for shown in columns)
    parts = (
        f"Slice {first.slice_index + 1} of {volume.slices}, {_window(look)}.",
        f"NMS at an IoU of {thresholds}, of the detections and of {_regions(first)}.",
        f"Above: detections with score above {settings.score:g}{_masks(settings)}.",
        f"Below: {_plotted(columns, look)}.",
        _evidence(first, nms=False),
        _pneumonia(columns),
        "The class is the weights' own at their own NMS alone."
        * any(shown.verdict is not None and shown.verdict.basis == "edited" for shown in columns),
        _made_by(look),
    )
    return " ".join(filter(None, parts))


def _window(look: PaperLook) -> str:
    return window_text(look.scene.window).replace("  ", ", ")


def _masks(settings: DetectionSettings) -> str:
    joined = ", touching ones joined" * settings.join_touching
    return f"{joined}, masks where the {settings.mask_scale} is above {settings.mask_threshold:g}".replace(
        "-", "−"
    )


def _evidence(shown: ShownSlice, *, nms: bool) -> str:
    if shown.verdict is None:
        return ""
    settings = shown.verdict.settings
    score = "all scores" if settings.score < 0 else f"score above {settings.score:g}"
    within = f"{score}, NMS {nms_text(settings)}" if nms else score
    text = f"Class from the best {settings.batch_size} regions ({within})."
    if nms and shown.verdict.basis == "edited":
        text += " Edited evidence: not the class that the weights give."
    return text


def _regions(shown: ShownSlice) -> str:
    return "the ranked regions" if shown.verdict is None else "the regions that the class rests on"


def _plotted(rows: Sequence[ShownSlice], look: PaperLook) -> str:
    """Say what the plots show; where the class has regions of its own, none of them is a detection."""
    regions = _regions(rows[0])
    known = any(roi.detected is not None for row in rows for roi in row.rois)
    return _PLOTS[look.plot].format(regions=regions, filled=", those filled that are detections" * known)


def _pneumonia(rows: Sequence[ShownSlice]) -> str:
    known = any(row.verdict is not None and row.summary.ill_probability is not None for row in rows)
    return "Pneumonia: calibrated probability that a slice looks ill." * known


def _made_by(look: PaperLook) -> str:
    weights = f"Weights {look.scene.weights}, " if look.scene.weights else ""
    return f"{weights}CTMaskNet {__version__}. {RESEARCH_USE}."
