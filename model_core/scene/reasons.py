"""What is said, and what stands on a picture, of why a slice has its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import DoubleArray
from model_core.base.reasons import DecisiveRegions, Group, Grouping, SliceReason
from model_core.base.results import ILL_PROBABILITY, ShownSlice, probability_text
from model_core.scene.palette import ORANGE, SKY

FOR, AGAINST = ORANGE, SKY
# Groups of a sentence that are called by their names.
_MOST_NAMED = 3
# The largest has a strong colour only from here on (logits): otherwise nothing hangs on it.
_LEAST = 0.25
# Share from which on it is all.
_WHOLE = 0.995
# The most that regions hide of the slice; those too weak to be drawn; how many are drawn.
_STRONG, _UNSEEN, _MOST_AREAS = 0.42, 0.04, 32


def signed_logit(value: float) -> str:
    """Return a contribution with its sign, none where it rounds to 0; at most five characters below 100."""
    text = f"{value:+.{2 if abs(value) < 9.995 else 1}f}".replace("-", "\N{MINUS SIGN}")
    return "0.00" if text[1:] == "0.00" else text


def group_name(group: Group, grouping: Grouping) -> str:
    """Return what a group is called in a sentence; a lesion has the number of its best region."""
    if grouping == "side":
        return group.side if group.side.endswith("lung") else "what lies outside the lungs"
    if group.rest:
        return "the rest"
    return f"{grouping} {group.rank}"


def answer(reason: SliceReason, output: int, values: DoubleArray) -> str:
    """Say what (outputs,) logits mean: of "ill" whether it is, of a class which is the likeliest."""
    probability = reason.probability(output, values)
    if reason.calibration is not None and output == len(reason.outputs) - 1:
        not_ = "" if probability > ILL_PROBABILITY else "not "
        return f"{not_}ill ({probability_text(probability)})"
    classes = len(reason.outputs) - (reason.calibration is not None)
    best = int(values[:classes].argmax())
    return f"{reason.outputs[best]} {probability_text(reason.probability(best, values))}"


def verdict_of(reason: SliceReason, values: DoubleArray) -> int:
    """Return the verdict of (outputs,) logits, as `SliceReason.verdict` counts."""
    if reason.calibration is not None:
        return int(reason.probability(len(reason.outputs) - 1, values) > ILL_PROBABILITY)
    return int(values.argmax())


def sentence(reason: SliceReason, grouping: Grouping, output: int) -> str:
    """Say which groups carry an output, and what it is without them."""
    carriers = reason.carriers.get(grouping)
    groups = reason.groups.get(grouping)
    if not carriers or not groups:
        return ""
    target, found = reason.outputs[output], carriers[output]
    if found is None:
        now = probability_text(reason.probability(output, reason.logits))
        empty = probability_text(reason.probability(output, reason.baseline))
        if reason.logits[output] - reason.baseline[output] >= _LEAST:
            return f"No single {grouping} counts for {target} ({now}): they stand in for each other."
        if reason.references:
            return f"Nothing speaks for {target}: {now}, regions of controls {empty}."
        return f"No single {grouping} counts for {target} ({now})."
    one = len(found.groups) == 1
    if len(found.groups) > _MOST_NAMED:
        noun = "lesions" if grouping == "lesion" else "regions"
        named = f"{len(found.groups)} {noun}"
    else:
        named = _together([group_name(groups[k], grouping) for k in found.groups])
    outcome = answer(reason, output, found.outcome)
    it = "it" if one else "them"
    if found.share is None:
        weakest = float(groups[found.groups[0]].values[output]) < 0
        most = f"speaks most against {target}" if weakest else "counts most"
        return f"{named[0].upper()}{named[1:]} {most}: without {it} {outcome}."
    ill = reason.calibration is not None and output == len(reason.outputs) - 1
    classes = reason.logits[: len(reason.outputs) - (reason.calibration is not None)]
    said = reason.probability(output, reason.logits) > ILL_PROBABILITY if ill else classes.argmax() == output
    if not said:
        now, share = probability_text(reason.probability(output, reason.logits)), f"{100 * found.share:.0f} %"
        without = probability_text(reason.probability(output, found.outcome))
        return f"What speaks for {target} ({now}): {named} ({share}); without {it} {without}."
    on = f"wholly on {named}" if found.share > _WHOLE else f"on {named} ({100 * found.share:.0f} %)"
    return f"“{target}” rests {on}; without {it} {outcome}."


def _together(names: Sequence[str]) -> str:
    """Join names; those that begin alike share their beginning: "regions 1 and 2"."""
    if len(names) == 1:
        return names[0]
    if all(name.endswith(" lung") for name in names):
        return f"{' and '.join(name.removesuffix(' lung') for name in names)} lung"
    for alike, plural in (("lesion ", "lesions "), ("region ", "regions ")):
        numbers = [name.removeprefix(alike) for name in names if name.startswith(alike)]
        others = [name for name in names if not name.startswith(alike)]
        if len(numbers) > 1:
            parts = [f"{plural}{numbers[0]}", *numbers[1:], *others]
            return f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _set_name(found: DecisiveRegions, *, lesions: bool) -> str:
    kind = "lesion" if lesions else "region"
    names = [f"{kind} {rank}" for rank in sorted(found.ranks)]
    return _together(names) if len(names) <= 4 else f"{len(names)} {'lesions' if lesions else 'regions'}"


def what_changes_it(reason: SliceReason) -> str:
    """Say without what the verdict changes, or that no set does it; why not, where there is no verdict."""
    if reason.verdict is None:
        return reason.why_undecided
    kind = "lesion" if reason.lesions else "region"
    if reason.without is None:
        return f"No small set changes it: it stands without all {kind}s."
    output, found = reason.own_output, reason.without
    least = "" if found.exact else " (fewer may do)"
    name = _set_name(found, lesions=reason.lesions)
    return f"Without {name}: {answer(reason, output, found.outcome)}{least}"


def stays_excluded(reason: SliceReason) -> str:
    """Say the verdict where it stays although what changes it is excluded; else empty.

    Lower ranks close up then, and what comes in may stand in for it.
    """
    found = reason.without
    if found is None or verdict_of(reason, found.edited) != reason.verdict:
        return ""
    return answer(reason, reason.own_output, found.edited)


def what_carries_it(reason: SliceReason) -> str:
    """Say what alone carries the verdict; empty where there is none."""
    if reason.verdict is None:
        return ""
    kind = "lesion" if reason.lesions else "region"
    if reason.alone is None:
        return f"All {kind}s together do not carry it alone."
    if not reason.alone.candidates:
        return "It needs none of them: controls have this verdict, too."
    output, found = reason.own_output, reason.alone
    least = "" if found.exact else " (fewer may do)"
    name = _set_name(found, lesions=reason.lesions)
    named = name[0].upper() + name[1:]
    return f"{named} alone: {answer(reason, output, found.outcome)}{least}"


@dataclass(frozen=True)
class ReasonArea:
    """A region on the slice in the colour of its contribution.

    ``box`` in slice pixels, ``fill`` and ``edge`` opacities 0..1, ``width`` of the line as a multiple of the
    thinnest.
    """

    candidate: int
    box: tuple[float, float, float, float]
    colour: str
    fill: float
    edge: float
    width: float
    value: float


def reason_areas(shown: ShownSlice, reason: SliceReason, output: int) -> tuple[ReasonArea, ...]:
    """Return the regions whose contribution can be seen, the strongest last: it is drawn on top."""
    if reason.values is None or reason.slice_index != shown.slice_index:
        return ()
    telling = np.where(reason.telling(output), reason.values[:, output], 0.0)
    values = dict(zip(reason.candidates, telling.tolist(), strict=True))
    largest = max((abs(value) for value in values.values()), default=0.0)
    scale = max(largest, _LEAST)
    rois = [roi for roi in shown.rois if abs(values.get(roi.candidate, 0.0)) >= _UNSEEN * scale]
    rois.sort(key=lambda roi: abs(values[roi.candidate]))
    rois = rois[-_MOST_AREAS:]
    shares = np.array([abs(values[roi.candidate]) / scale for roi in rois])
    boxes = np.array([roi.box for roi in rois]).reshape(-1, 4)
    middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    over = ((middles >= boxes[:, :2]) & (middles <= boxes[:, 2:])).all(axis=2)
    # Where many lie on each other they hide no more together than one alone.
    piled = np.maximum(1.0, over @ shares)
    return tuple(
        ReasonArea(
            roi.candidate,
            roi.box,
            FOR if values[roi.candidate] > 0 else AGAINST,
            fill=float(_STRONG * share / pile),
            edge=float(0.25 + 0.75 * share),
            width=float(1.0 + 1.5 * share / pile**0.5),
            value=values[roi.candidate],
        )
        for roi, share, pile in zip(rois, shares, piled, strict=True)
    )


def reason_legend(reason: SliceReason, output: int) -> tuple[tuple[str, str], ...]:
    """Return the text and the colour of each line of the legend."""
    target = reason.outputs[output]
    return (f"for {target}", FOR), (f"against {target}", AGAINST)
