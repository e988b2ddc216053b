"""What a changed picture does, as JSON values and a picture that says it is none of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_core import __version__
from model_core.base.arrays import BoolArray
from model_core.base.files import atomic_path
from model_core.base.picture_edit import (
    ABOUT_THE_NETWORK,
    SHAMS,
    PictureEffect,
    PictureOutcome,
)
from model_core.base.threads import DRAWING
from model_core.base.voi import usual_picture
from model_core.base.volume import Volume
from model_core.export.png import RESEARCH_USE
from model_core.export.predictions import by_name
from model_core.scene import edge_letters
from model_core.scene.picture_edit import effect_words, sham_words

_SIZE, _DPI = (10.0, 5.6), 150


def picture_edit_entry(found: PictureEffect, names: Sequence[str]) -> dict[str, Any]:
    """Return what a changed picture does as JSON values (docs/explanation.md); unknown is null."""
    edited, changes = found.edited, found.sham_changes
    ill = found.target == "ill"
    return {
        "about": ABOUT_THE_NETWORK,
        "kind": edited.kind,
        "what": edited.done,
        "area_px": int(edited.area.sum()),
        "area_box": _box(edited.area),
        "donors": edited.pieces or None,
        "ground_glass_hu": edited.level_hu,
        "target": "ill_or_not" if ill else found.target,
        "before": _outcome(found.before, names, ill=ill),
        "after": _outcome(found.after, names, ill=ill),
        "logit_change": found.change,
        "verdict_changed": found.verdict_changed,
        "regions": [
            {
                "fate": one.fate,
                "in_the_changed_area": one.inside,
                "class": one.label,
                "box_before": None if one.box_before is None else list(one.box_before),
                "box_after": None if one.box_after is None else list(one.box_after),
                "score_before": one.score_before,
                "score_after": one.score_after,
            }
            for one in found.regions
        ],
        "shams": {
            "count": len(found.shams),
            "asked_for": SHAMS,
            "seed": found.seed,
            "boxes": [_box(area) for area in found.sham_areas],
            "logit_changes": list(changes),
            "verdicts_changed": found.sham_verdicts_changed,
        },
        "beyond_shams": found.beyond_shams,
    }


def _outcome(outcome: PictureOutcome, names: Sequence[str], *, ill: bool) -> dict[str, Any]:
    return {
        "image_logits": [float(value) for value in outcome.logits],
        "class_probabilities": by_name(names, [float(value) for value in outcome.probabilities]),
        "logit": outcome.output,
        "ill_probability": outcome.probability if ill else None,
        "lesion_px": outcome.lesion_px,
        "lesion_mm2": outcome.lesion_mm2,
    }


def _box(area: BoolArray) -> list[int]:
    """Return x1, y1, x2, y2, the pixel edges around an area."""
    rows, columns = (np.flatnonzero(area.any(axis=axis)) for axis in (1, 0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def picture_edit_name(index: int) -> str:
    """Return the name of the picture of a changed slice, counted from 0."""
    return f"slice-{index + 1:04d}-changed.png"


def write_picture_edit(folder: Path, volume: Volume, found: PictureEffect) -> None:
    """Write the slice as it is and changed side by side, with what is marked in each."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from model_core import plots

    edited = found.edited
    letters = edge_letters(volume.geometry)
    about = {"Software": f"CTMaskNet {__version__}, {RESEARCH_USE.replace('–', '-')}"}
    file = folder / picture_edit_name(edited.slice_index)
    with DRAWING, rc_context(), atomic_path(file, overwrite=True) as temporary:
        figure = Figure(figsize=_SIZE, dpi=_DPI)
        plots.picture_pair(
            figure,
            (usual_picture(volume, edited.before), usual_picture(volume, edited.after)),
            (np.any(found.shown_before.masks, axis=0), np.any(found.shown_after.masks, axis=0)),
            edited.area,
            titles=("As it was taken", f"CHANGED PICTURE: {edited.done.lower()}"),
            notes=(effect_words(found), sham_words(found), ABOUT_THE_NETWORK),
            letters=(letters.left, letters.right),
            aspect=volume.geometry.pixel_aspect,
        )
        figure.savefig(temporary, format="png", metadata=about)
