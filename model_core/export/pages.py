"""What the pages on a slice and on a scan have in common: settings, files, plots, how it was made."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_core import DISCLAIMER, __version__
from model_core.base.arrays import ByteArray
from model_core.base.files import refuse_existing, write_text
from model_core.base.settings import DetectionSettings, EvidenceBasis, EvidenceSettings
from model_core.base.threads import DRAWING
from model_core.base.volume import Volume, readable_name
from model_core.export.predictions import Networks
from model_core.report import Block, Document, Note, Picture, write_pdf

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 200
# Regions and lesions that are listed.
MOST_ROWS = 8
NOTICE = f"{DISCLAIMER} Nothing on this page is validated for diagnosis."
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


def patient_lines(volume: Volume, settings: PageSettings) -> list[str]:
    """Return whose series it is, where that may be said."""
    if not settings.identity:
        return []
    patient = volume.patient
    parts = (readable_name(patient.name), patient.patient_id, patient.study_date, patient.study_description)
    return [", ".join(filter(None, parts))] if any(parts) else []


_BASES: dict[EvidenceBasis, str] = {
    "published": "as published",
    "trained": "as these weights were trained",
    "edited": "edited, not as these weights define it",
}


def how_it_was_made(settings: PageSettings, *, basis: EvidenceBasis | None) -> list[Block]:
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


def plot_picture(
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


def png(name: str, rgb: ByteArray, caption: str) -> Picture:
    """Return (h, w, 3) pixels as a PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "PNG")
    return Picture(name, stream.getvalue(), caption)
