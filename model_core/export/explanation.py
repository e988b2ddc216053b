"""Why a slice has its class, as a JSON document and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_core import DISCLAIMER, __version__
from model_core.base.arrays import DoubleArray
from model_core.base.files import atomic_path
from model_core.base.picture_edit import PictureEffect
from model_core.base.results import ShownSlice, probability_text
from model_core.base.stability import Stability
from model_core.base.threads import DRAWING
from model_core.base.voi import usual_picture
from model_core.base.volume import Volume
from model_core.explain.attribution import with_ill
from model_core.explain.decisive import FoundSet
from model_core.explain.explanation import BACKGROUND, METHODS, Explanation
from model_core.explain.pixels import RegionPixels
from model_core.export.picture_edit import picture_edit_entry
from model_core.export.png import RESEARCH_USE
from model_core.export.predictions import Networks, by_name, edit_entry, weights_entry
from model_core.export.region import region_entry
from model_core.scene import class_name

SCHEMA_VERSION = 1
_MOST_NAMED = 8
_SIZE, _DPI = (6.4, 5.4), 150
IN_PLACE = "A region's slots are filled with the rows of the same rank of each RoI batch of controls."
CLOSED_UP = (
    "The region is removed, the rows below close up, and the batch is refilled by the published rule: the "
    "next row enters, or rows are replicated anew."
)


def explanation(
    shown: ShownSlice,
    found: Explanation,
    *,
    pipeline: Networks,
    steady: Stability | None = None,
    original: ShownSlice | None = None,
    region: RegionPixels | None = None,
    changed: PictureEffect | None = None,
) -> dict[str, Any]:
    """Return the document of one slice as JSON values; it holds no text of the file (docs/explanation.md).

    ``rank`` and ``slice_number`` count from 1, ``slots`` from 0; boxes are pixel edges of the slice as
    displayed; lists of logits are in the order of the image classes. What is unknown is null. ``original`` is
    the slice before its evidence was edited, where it was.
    """
    verdict, names = found.verdict, pipeline.image_classes
    count = len(verdict.logits)
    return {
        "schema_version": SCHEMA_VERSION,
        "software": {"name": "ctmasknet", "version": __version__, "disclaimer": DISCLAIMER},
        "slice_number": shown.slice_index + 1,
        "weights": [weights_entry(card) for card in pipeline.cards],
        "settings": {
            "evidence": dataclasses.asdict(verdict.settings),
            "evidence_basis": verdict.basis,
            "edit": edit_entry(shown),
            "mirror_image": False,
            "seed": found.seed,
        },
        "image_logits": _numbers(verdict.logits),
        "class_probabilities": by_name(names, _numbers(verdict.probabilities)),
        "ill_probability": shown.summary.ill_probability,
        "original": None if original is None else _class_of(original, names),
        "roi_batch": [_numbers(row) for row in verdict.batch.rows],
        "rois": [
            {
                "rank": roi.rank,
                "slots": own.tolist(),
                "box": _numbers(roi.box),
                "score": float(verdict.batch.rows[own[0], 0]),
                "contribution": {
                    method: by_name(names, _numbers(found.contributions[method].values[k, :count]))
                    if method in found.contributions
                    else None
                    for method in METHODS
                },
                "leave_one_out_logits": None if found.without is None else _numbers(found.without[k, :count]),
            }
            for k, (roi, own) in enumerate(zip(shown.evidence_rois, found.slots, strict=True))
        ],
        # Leave-one-out adds up to nothing: what is left is interaction.
        "baseline_logits": {
            method: _numbers(found.contributions[method].baseline[:count])
            if method in found.contributions and method != "leave_one_out"
            else None
            for method in METHODS
        },
        "operators": _operators(found, count),
        "decisive_set": _decisive(found, names),
        "stability": None if steady is None else _stability(steady),
        "region": None if region is None else region_entry(region),
        "picture_edit": None if changed is None else picture_edit_entry(changed, names),
    }


def _stability(found: Stability) -> dict[str, Any]:
    """Return what small changes of the picture do, in the order of ``changes``."""
    return {
        "changes": list(found.changes),
        "image_logits": None if found.logits is None else [_numbers(row) for row in found.logits],
        "ill_probability": _numbers(found.ill) or None,
        "lesion_mm2": _numbers(found.lesion_mm2) if found.in_mm else None,
        "lesion_px": None if found.in_mm else _numbers(found.lesion_mm2),
        "lesion_ml": [round(ml, 6) for ml in map(found.ml, found.lesion_mm2) if ml is not None] or None,
    }


def _class_of(shown: ShownSlice, names: Sequence[str]) -> dict[str, Any]:
    verdict = shown.verdict
    assert verdict is not None
    return {
        "image_logits": _numbers(verdict.logits),
        "class_probabilities": by_name(names, _numbers(verdict.probabilities)),
        "ill_probability": shown.summary.ill_probability,
    }


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in values]


def _operators(found: Explanation, count: int) -> dict[str, Any]:
    """Return how regions were taken out, how sure the numbers are, and the same for "ill or not"."""
    closed = found.closed
    in_place: dict[str, Any] | None = None
    if found.contributions:
        made = found.contributions
        single, path, orders = made["leave_one_out"], made["integrated_gradients"], made["shapley"]
        in_place = {
            "what": IN_PLACE,
            "references": found.references,
            "leave_one_out_spread": [_numbers(row[:count]) for row in single.error],
            "integrated_gradients_steps": path.effort,
            "integrated_gradients_error": _numbers(path.error[0, :count]),
            "shapley_orders": orders.effort,
            "shapley_error_95": [_numbers(row[:count]) for row in orders.error],
        }
    return {
        "in_place": in_place,
        "why_no_contributions": found.why_none or None,
        "closed_up": {
            "what": CLOSED_UP,
            "draws": closed.seeds,
            "whole_logits": _numbers(closed.whole[:count]),
            "logits": [_numbers(row[:count]) for row in closed.without],
            "beyond_background": [row[:count].tolist() for row in found.closed_up_tells],
        },
        "ill_or_not": _ill_or_not(found),
    }


def _ill_or_not(found: Explanation) -> dict[str, Any] | None:
    """Return the same for the logit of "ill or not"; None without a calibration."""
    if found.calibration is None:
        return None
    whole = with_ill(np.asarray(found.verdict.logits, np.float64), found.calibration.ill_classes)
    return {
        "logit": float(whole[-1]),
        "baseline_logit": {
            method: float(found.contributions[method].baseline[-1])
            if method in found.contributions and method != "leave_one_out"
            else None
            for method in METHODS
        },
        "contribution": {
            method: _numbers(found.contributions[method].values[:, -1])
            if method in found.contributions
            else None
            for method in METHODS
        },
        "shapley_error_95": _numbers(found.contributions["shapley"].error[:, -1])
        if found.contributions
        else None,
        "closed_up_logit": _numbers(found.closed.without[:, -1]),
        "slope": found.calibration.slope,
        "bias": found.calibration.bias,
    }


def _decisive(found: Explanation, names: Sequence[str]) -> dict[str, Any]:
    """Return what the verdict hangs on."""
    decisive = found.decisive
    if decisive is None or found.outcomes is None:
        return {"text": found.why_undecided, "verdict": None, "without": None, "alone": None}
    ill = found.calibration is not None
    return {
        "text": in_words(found, names),
        "target": "ill_or_not" if ill else "class",
        "verdict": _verdict(found, names),
        "players": "lesions" if found.lesions else f"regions with a score of at least {BACKGROUND:g}",
        "ranks": [[found.ranks[row] for row in player] for player in found.players],
        "without": _set(found, decisive.without, found.outcomes[0]),
        "alone": _set(found, decisive.alone, found.outcomes[1]),
        "exact_to": decisive.exact_to,
    }


def _set(found: Explanation, chosen: FoundSet | None, outcome: DoubleArray) -> dict[str, Any] | None:
    if chosen is None:
        return None
    count = len(found.verdict.logits)
    return {
        "players": [player + 1 for player in chosen.players],
        "ranks": [found.ranks[row] for player in chosen.players for row in found.players[player]],
        "exact": chosen.exact,
        "image_logits": _numbers(outcome[:count]),
        "ill_probability": _ill(found, outcome),
    }


def _ill(found: Explanation, outcome: DoubleArray) -> float | None:
    if found.calibration is None:
        return None
    return found.calibration.probability(float(outcome[-1]))


def in_words(found: Explanation, names: Sequence[str]) -> str:
    """Say in a sentence or two what the verdict hangs on."""
    decisive, outcomes = found.decisive, found.outcomes
    if decisive is None or outcomes is None:
        return found.why_undecided
    kind = "lesion" if found.lesions else "region"
    verdict = f"“{_verdict(found, names)}”"
    if decisive.without is None:
        first = f"No set of {kind}s changes the verdict {verdict}."
    else:
        after = _ill(found, outcomes[0])
        told = "" if after is None else f" (probability of ill {probability_text(after)})"
        least = "" if decisive.without.exact else "; a smaller set may do the same"
        first = f"Without {_named(found, decisive.without)} the verdict {verdict} changes{told}{least}."
    if decisive.alone is None:
        return f"{first} All {kind}s together do not carry it alone."
    if not decisive.alone.players:
        return f"{first} Controls have this verdict without any of them."
    least = "" if decisive.alone.exact else "; fewer may do"
    carry = "carries" if len(decisive.alone.players) == 1 else "carry"
    return f"{first} Alone, {_named(found, decisive.alone)} {carry} it{least}."


def edited_in_words(original: ShownSlice, shown: ShownSlice, names: Sequence[str]) -> str:
    """Say in a sentence or two what was edited of the evidence, and what the class became."""
    assert original.verdict is not None
    assert shown.verdict is not None
    out = [str(roi.rank) for roi in shown.rois if roi.excluded]
    named = f"region{'s' * (len(out) > 1)} {', '.join(out)}"
    done = [f"without {named if len(out) <= _MOST_NAMED else f'{len(out)} regions'}"] if out else []
    for _, roi in shown.asked_rois():
        place = f"rank {roi.rank}" if roi.copies else "too low for the evidence"
        done.append(f"asked about a box: {roi.label} {probability_text(roi.score)}, {place}")
    before, after = original.summary.ill_probability, shown.summary.ill_probability
    what = "ill"
    if before is None or after is None:
        best = int(np.argmax(original.verdict.logits))
        what = class_name(names, best)
        before, after = (float(one.probabilities[best]) for one in (original.verdict, shown.verdict))
    change = f"{what} {probability_text(before)} → {probability_text(after)}"
    return f"Edited evidence ({'; '.join(done)}): {change}."


def _verdict(found: Explanation, names: Sequence[str]) -> str:
    assert found.decisive is not None
    number = found.decisive.verdict
    return class_name(names, number) if found.calibration is None else ("not ill", "ill")[number]


def _named(found: Explanation, chosen: FoundSet) -> str:
    """Name players by their best region, whose number stands in tables and pictures."""
    best = sorted(found.players[player][0] for player in chosen.players)
    numbers = [str(found.ranks[row]) for row in best]
    several = " and ".join(filter(None, (", ".join(numbers[:-1]), numbers[-1])))
    s = "s" if len(numbers) > 1 else ""
    return f"the lesion{s} of region{s} {several}" if found.lesions else f"region{s} {several}"


def target(found: Explanation, names: Sequence[str]) -> tuple[int, str]:
    """Return which output pictures show, and its name: "ill or not", or the likeliest class."""
    if found.calibration is not None:
        return -1, "“ill”"
    likeliest = int(np.argmax(found.verdict.logits))
    return likeliest, class_name(names, likeliest)


def picture_names(index: int) -> tuple[str, str]:
    """Return the names of the pictures of a slice, counted from 0: colour on it, and bars."""
    stem = f"slice-{index + 1:04d}"
    return f"{stem}-contributions.png", f"{stem}-contribution-bars.png"


def write_explanation_pictures(
    folder: Path, volume: Volume, shown: ShownSlice, found: Explanation, *, image_classes: Sequence[str]
) -> None:
    """Write the slice with contributions as colour, and their bars.

    They show Shapley values; without references, how the logit falls where ranks are closed up.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from model_core import plots

    output, name = target(found, image_classes)
    baseline = logit = None
    if "shapley" in found.contributions:
        exact = found.contributions["shapley"]
        values, baseline = exact.values[:, output], float(exact.baseline[output])
        logit = baseline + float(values.sum())
    else:
        values = found.closed.whole[output] - found.closed.without[:, output]
        name += ", ranks closed up"
    if shown.verdict is not None and shown.verdict.edit is not None:
        name += ", edited evidence"
    grey, aspect = usual_picture(volume, volume.voxels[shown.slice_index]), volume.geometry.pixel_aspect
    about = {"Software": f"CTMaskNet {__version__}, {RESEARCH_USE.replace('–', '-')}"}
    for number, file in enumerate(picture_names(shown.slice_index)):
        with DRAWING, rc_context(), atomic_path(folder / file, overwrite=True) as temporary:
            figure = Figure(figsize=_SIZE, dpi=_DPI)
            if number:
                # No method's order finds what matters better than that of scores (docs/explanation.md).
                plots.contribution_bars(
                    figure,
                    found.ranks,
                    values,
                    baseline=baseline,
                    logit=logit,
                    name=name,
                    largest_first=False,
                )
            else:
                plots.contribution_map(figure, grey, shown.evidence_rois, values, name=name, aspect=aspect)
            figure.savefig(temporary, format="png", metadata=about)
