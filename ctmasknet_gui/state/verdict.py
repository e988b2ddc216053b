"""What the window says of the scan: the verdict in words, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ctmasknet_gui.state import AppState
from model_core.base.results import ScanVerdict, SliceSummary
from model_core.scene import ScanWords, scan_words
from model_core.scene.verdict import NO_LESION, worth

# How many of the deciding slices are shown and marked.
MOST_DECIDING = 6


def gives_no_class(state: AppState) -> bool:
    """Whether the weights that run only find regions; weights not loaded yet may give a class."""
    return bool(state.weights.cards) and not state.weights.image_classes


def verdict_may_come(state: AppState) -> bool:
    """Whether slices of the open series are still to be analysed by weights that give a class."""
    if state.case.volume is None or gives_no_class(state) or state.results.scan is not None:
        return False
    return state.run.kind == "run" or not state.results.summaries


def verdict_stands(state: AppState) -> bool:
    """Whether the scan has a calibrated verdict on all of its slices, with no evidence edited by hand."""
    results = state.results
    if results.scan is None or results.scan.verdict in (None, "no_class") or results.updating:
        return False
    return not state.thresholds.edits and analysed_slices(state) >= wanted_slices(state)


def wanted_slices(state: AppState) -> int:
    """Return how many slices of the open series the verdict wants: all but those known to show no lung."""
    volume = state.case.volume
    return 0 if volume is None else state.case.lungs.wanted(range(volume.slices))


def analysed_slices(state: AppState) -> int:
    """Return how many of the wanted slices are analysed.

    One without lung that a person ran, or that ran before the lungs were known, counts no more than others.
    """
    return state.case.lungs.wanted(state.results.summaries.keys())


def verdict_words(state: AppState) -> ScanWords:
    """Return what is said of the open scan as it is now."""
    volume, results, weights = state.case.volume, state.results, state.weights
    if state.case.in_view is not volume:
        return ScanWords("Reading the series", where="It can be analysed once all of it is read.")
    if volume is None:
        return ScanWords("No series open", where="Open a series to begin.")
    lesions = lesion_volume(state)
    analysed = analysed_slices(state)
    if results.scan is not None:
        words = scan_words(
            results.scan,
            classes=weights.image_classes,
            analysed=analysed,
            slices=wanted_slices(state),
            lung_known=any(summary.lung is not None for summary in results.summaries.values()),
            lesions=lesions,
            steady=state.stability.scan,
        )
        thresholds = state.thresholds
        moved = thresholds.evidence_edited or thresholds.detections != thresholds.default_detections
        return replace(words, edited=words.edited or moved)
    if gives_no_class(state):
        where = "These weights find regions only; they give no class."
        return ScanWords("No class", where=where, amount=lesions)
    known = weights.calibration
    before = "" if known is None else worth(known.checked)
    if state.run.kind == "run":
        done = f"No verdict yet: {analysed} of {wanted_slices(state)} slices are done."
        return ScanWords("Analysing…", where=done, worth=before)
    if not (weights.cards or weights.available or weights.chosen):
        return ScanWords("No network weights", where="Choose some under Weights.")
    if analysed:
        return ScanWords("No class", where="No class could be computed for these slices.", amount=lesions)
    slices = "every slice that shows lung" if volume.slices > 1 else "the slice"
    todo = f"Run series (Ctrl+Shift+R) analyses {slices}."
    return ScanWords("Not analysed yet", where=todo, worth=before)


def deciding_slices(scan: ScanVerdict | None, summaries: Mapping[int, SliceSummary]) -> tuple[int, ...]:
    """Return the slices that speak most for what is said of the scan, most telling first."""
    if scan is None or scan.verdict is not None:
        return () if scan is None else scan.deciding
    known = {k: summaries[k].probabilities for k in scan.slices_used if k in summaries}
    return tuple(sorted(known, key=lambda k: known[k] or ()))


def lesion_volume(state: AppState) -> str:
    """Return the volume of the shown masks over the analysed slices, or why it is off.

    Area times distance along the normal: true for slices that a tilted gantry shifts sideways too.
    """
    volume, summaries = state.case.volume, state.results.summaries
    step = None if volume is None else volume.geometry.spacing_mm[0]
    areas = [summary.lesion_mm2 for summary in summaries.values() if summary.lung is not False]
    known = [area for area in areas if area is not None]
    if volume is None or not areas:
        return ""
    if state.results.updating:
        return "Lesion volume follows…"
    if not any(summary.lesion_px for summary in summaries.values() if summary.lung is not False):
        return NO_LESION
    if len(known) < len(areas):
        return "Lesion volume off: the pixel size is unknown"
    if step is None:
        uneven = volume.slices > 1 and volume.slice_positions_mm is not None
        why = "slices are missing or uneven" if uneven else "the slice distance is unknown"
        return f"Lesion volume off: {why}"
    where = ""
    analysed = analysed_slices(state)
    if analysed < wanted_slices(state):
        where = " in this slice" if analysed == 1 else " in these slices"
    return f"Lesions{where} {sum(known) * step / 1000:.0f} ml"
