"""From a region to pixels, as JSON values and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_core import __version__
from model_core.base.files import atomic_path
from model_core.base.threads import DRAWING
from model_core.base.voi import usual_picture
from model_core.base.volume import Volume
from model_core.explain.pixels import FOUND_IOU, RegionPixels
from model_core.export.png import RESEARCH_USE

_SIZE, _DPI = (8.6, 11.2), 150
HELD_FIXED = (
    "The proposal, and which regions there are, are held fixed: this is about the logit of one region, its "
    "class minus background."
)


def region_in_words(found: RegionPixels) -> str:
    """Say in a sentence what the logit is, and what it is compared with."""
    return f"Region {found.roi.rank}: logit {found.logit:+.2f}, compared with {found.filled_with}."


def region_entry(found: RegionPixels) -> dict[str, Any]:
    """Return what the logit of a region hangs on as JSON values (docs/explanation.md); unknown is null."""
    healed = "what of the proposal is lung" if found.filling == "texture" else "the proposal"
    return {
        "what": HELD_FIXED,
        "rank": found.roi.rank,
        "class": found.roi.label,
        "box": list(found.roi.box),
        "proposal": found.proposal.tolist(),
        "logit": found.logit,
        "filling": found.filling,
        "cells": {
            "method": "gradient times activation on the RoI's own map (HiResCAM)",
            "cell_px": list(found.cell_size),
            "values": None if found.cells is None else found.cells.tolist(),
        },
        "occlusion": {
            "grid": found.grid.tolist(),
            "filled_with": found.filled_with,
            "logit_fall_at_the_fixed_proposal": None if found.fixed is None else found.fixed.tolist(),
            "score_fall_of_the_best_region": None if found.found is None else found.found.tolist(),
            "score_of_the_best_region": found.score,
            "least_iou": FOUND_IOU,
        },
        "integrated_gradients": None
        if found.pixels is None
        else {
            "from": f"the slice with {healed} filled in the same way",
            "healed_logit": found.healed,
            "sum": float(found.pixels.sum()),
            "error": found.error,
            "relative_error": found.relative_error,
            "steps": found.steps,
        },
    }


def region_picture_name(index: int, rank: int) -> str:
    """Return the name of the picture of a region of a slice; the slice counts from 0, the region from 1."""
    return f"slice-{index + 1:04d}-region-{rank}.png"


def write_region_picture(folder: Path, volume: Volume, index: int, found: RegionPixels) -> None:
    """Write the maps of a region on the slice, side by side."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from model_core import plots

    grey = usual_picture(volume, volume.voxels[index])
    name = f"What the logit of region {found.roi.rank} hangs on ({found.logit:+.2f})".replace("-", "\u2212")
    about = {"Software": f"CTMaskNet {__version__}, {RESEARCH_USE.replace('–', '-')}"}
    file = folder / region_picture_name(index, found.roi.rank)
    with DRAWING, rc_context(), atomic_path(file, overwrite=True) as temporary:
        figure = Figure(figsize=_SIZE, dpi=_DPI)
        plots.region_maps(
            figure,
            grey,
            found.maps,
            proposal=found.proposal,
            box=found.roi.box,
            name=name,
            note=f"Filled with {found.filled_with}.",
            aspect=volume.geometry.pixel_aspect,
        )
        figure.savefig(temporary, format="png", metadata=about)
