"""The verdict of a scan from its slices. The papers stop at the slice; the rules are in docs/verdict.md."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtrc

from model_core.anatomy.lungs import third_of
from model_core.base.arrays import DoubleArray
from model_core.base.calibration import Calibration
from model_core.base.results import (
    ILL_PROBABILITY,
    UNDECIDED,
    Doubt,
    ScanVerdict,
    SliceSummary,
    Third,
    Verdict,
)
from model_core.base.settings import EvidenceBasis
from model_core.base.volume import Volume
from model_core.scene import class_name

SLICES_USED = 10
# Neighbours show the same: lung slices count as one for each of these.
APART_MM = 10.0
# Fewer than so many of them are no scan.
FEWEST_SLICES = 5
LESION_ML = 1.0
# Chance that a control whose slices look ill as often as the limit of its card passes for ill.
_TAIL = 0.05
_MOST_DECIDING = 6
# Of slices, for the rule that asks for neighbours.
_IN_A_ROW = 3
_SAME_MM = 1e-3


def scan_verdict(
    summaries: Iterable[SliceSummary],
    *,
    basis: EvidenceBasis,
    control: str = "Control",
    names: Sequence[str] = (),
    calibration: Calibration | None = None,
    volume: Volume | None = None,
    lung_ml: float | None = None,
) -> ScanVerdict | None:
    """Return what is said of the scan: mean class probabilities, and the verdict where it is calibrated.

    The mean is over the (up to) ten slices least like the control class. Most slices of an ill patient may
    look normal, so a mean over all would hide the disease; a single worst slice would follow one mistake.
    Class 0 is the control class in every system of the papers. Slices outside the lungs take no part.

    Parameters
    ----------
    basis:
        Of the class of the slices; "edited" where that of one was edited (`SliceSummary.edited`).
    control, names:
        Name of class 0, for the text of the rule; and of all classes, for the kind.
    calibration:
        Of the weights; without one the likeliest class is named, and there is no verdict but "no_class".
    volume:
        Where the slices lie; without it each counts for itself, and no volume is known.
    lung_ml:
        Volume of the lungs.

    Returns
    -------
    ScanVerdict or None
        None where no slice has a class.
    """
    analysed = [s for s in summaries if s.probabilities]
    if not analysed:
        return None
    inside = [s for s in analysed if s.lung is not False]
    edited = sum(s.edited for s in inside)
    if edited:
        basis = "edited"
    if not inside:
        rule = f"No lung in the slices analysed ({len(analysed)}): no class."
        return ScanVerdict((), None, (), rule, basis, verdict="no_class", verdict_rule=rule)
    even = volume is not None and volume.geometry.spacing_mm[0] is not None
    marked = marked_ml(inside, slice_steps_mm(volume))
    found = replace(
        _mean_class(inside, basis=basis, control=control),
        lung_slices=len(inside),
        lesion_ml=marked if even else None,
        lung_ml=lung_ml,
        mostly=_mostly(inside) if even else None,
    )
    if calibration is not None:
        found = _judged(found, inside, marked, calibration=calibration, volume=volume, names=names)
    return _told_as_edited(found, edited) if edited else found


@dataclass(frozen=True)
class RuleAnswer:
    """What another rule says of a scan.

    Attributes
    ----------
    rule:
        In words.
    ill:
        What it says; None where it cannot say anything.
    because:
        The number that it looks at, in words.
    """

    rule: str
    ill: bool | None
    because: str


def other_rules(summaries: Iterable[SliceSummary], *, volume: Volume | None = None) -> tuple[RuleAnswer, ...]:
    """Return what common rules other than that of the verdict say of a scan, from the same slices.

    None of them was checked on scans of known patients. Slices outside the lungs take no part.
    """
    inside = sorted((s for s in summaries if s.lung is not False), key=lambda s: s.slice_index)
    known = [s.ill_probability for s in inside if s.ill_probability is not None]
    if not known:
        return ()
    chances = np.array(known)
    looks = chances > ILL_PROBABILITY
    share, middle = float(looks.mean()), float(chances.mean())
    top = np.sort(chances)[-SLICES_USED:]
    joined = _longest_run([bool(s.ill) for s in inside])
    ml = marked_ml(inside, slice_steps_mm(volume))
    counted = f"{int(looks.sum())} of {len(looks)} lung slices"
    return (
        RuleAnswer(
            "One slice is enough: the greatest probability of a slice is above one half",
            bool(looks.any()), f"greatest {chances.max():.2f}",
        ),
        RuleAnswer(
            f"Mean probability of the {SLICES_USED} slices that look most ill is above one half",
            float(top.mean()) > ILL_PROBABILITY, f"mean {top.mean():.2f}",
        ),
        RuleAnswer("Mean probability of all lung slices is above one half", middle > ILL_PROBABILITY,
                   f"mean {middle:.2f}"),
        RuleAnswer("Most lung slices look ill", share > 0.5, f"{counted} ({share:.0%})"),
        RuleAnswer(f"{_IN_A_ROW} neighbouring analysed slices look ill", joined >= _IN_A_ROW,
                   f"at most {joined} in a row"),
        RuleAnswer(f"At least {LESION_ML:g} ml of lesion is marked, whatever the slices look like",
                   None if ml is None else ml >= LESION_ML,
                   "the volume is unknown" if ml is None else f"{ml:.1f} ml"),
    )  # fmt: skip


def _longest_run(flags: Sequence[bool]) -> int:
    longest = now = 0
    for flag in flags:
        now = now + 1 if flag else 0
        longest = max(longest, now)
    return longest


def _told_as_edited(found: ScanVerdict, slices: int) -> ScanVerdict:
    """Return the verdict with the remark, in its rules, that evidence was edited by hand."""
    remark = f" The evidence was edited by hand in {slices} slice{'s' * (slices != 1)}."
    verdict_rule = found.verdict_rule and found.verdict_rule + remark
    return replace(found, rule=found.rule + remark, verdict_rule=verdict_rule)


def _mean_class(inside: Sequence[SliceSummary], *, basis: EvidenceBasis, control: str) -> ScanVerdict:
    judged = sorted((s.probabilities, s.slice_index, s.from_bias) for s in inside if s.probabilities)
    used = judged[:SLICES_USED]
    mean = np.mean([probabilities for probabilities, _, _ in used], axis=0)
    empty = [index for _, index, from_bias in used if from_bias]
    if len(judged) > SLICES_USED:
        rule = f"Mean over the {SLICES_USED} slices least like {control}, of {len(judged)} analysed."
    else:
        rule = f"Mean over the {len(judged)} analysed slices." if len(judged) > 1 else "One slice analysed."
    if empty:
        which = "any" if len(empty) == len(used) else str(len(empty))
        rule += f" No region is left in {which} of those: there it is the network's bias."
    return ScanVerdict(
        probabilities=tuple(float(p) for p in mean),
        class_index=int(np.argmax(mean)),
        slices_used=tuple(sorted(index for _, index, _ in used)),
        rule=rule,
        basis=basis,
        from_bias=len(empty) == len(used),
    )


@dataclass(frozen=True)
class _Counts:
    """What the rule looks at: the share that looks ill, of so many slices ``apart``, and what is marked.

    ``ml`` is an estimate where slices are missing or uneven, None where no distance is known; ``chest`` says
    whether lung was found.
    """

    share: float
    apart: int
    marked: bool
    ml: float | None
    chest: bool


def rule_verdict(
    inside: Sequence[SliceSummary],
    marked: float | None,
    *,
    calibration: Calibration,
    volume: Volume | None,
) -> Verdict:
    """Return what the rule says of lung slices where so much (ml; None: unknown) is marked in the scan."""
    return _rule(_counts(inside, marked, volume), calibration)[0]


def _counts(inside: Sequence[SliceSummary], marked: float | None, volume: Volume | None) -> _Counts:
    return _Counts(
        share=sum(bool(s.ill) for s in inside) / len(inside),
        apart=len(slices_apart(inside, volume)),
        marked=any(s.detections for s in inside) or bool(marked),
        ml=marked,
        chest=any(s.lung for s in inside),
    )


def _judged(
    found: ScanVerdict,
    inside: Sequence[SliceSummary],
    marked: float | None,
    *,
    calibration: Calibration,
    volume: Volume | None,
    names: Sequence[str],
) -> ScanVerdict:
    ill = [s for s in inside if s.ill]
    counts = _counts(inside, marked, volume)
    verdict, why = _rule(counts, calibration)
    kind = UNDECIDED
    if verdict == "ill" and calibration.kinds_told:
        kind = _kind(ill, names, calibration.ill_classes)
    telling = sorted(inside, key=lambda s: (-(s.ill_probability or 0.0), -s.lesion_px))
    named = {"control": 0, "ill": list(names).index(kind) if kind in names else None}
    return replace(
        found,
        class_index=named.get(verdict),
        verdict=verdict,
        ill_slices=len(ill),
        control_rate=calibration.control_rate,
        kind=kind,
        deciding=tuple(s.slice_index for s in slices_apart(telling, volume)[:_MOST_DECIDING]),
        verdict_rule=why,
        checked=calibration.checked,
        doubt=_doubt(counts) if verdict == "uncertain" else None,
    )


def _rule(counts: _Counts, calibration: Calibration) -> tuple[Verdict, str]:
    """Return the verdict and how it follows, see docs/verdict.md."""
    limit, share = calibration.control_limit, counts.share
    seen = int(share * counts.apart + _SAME_MM)
    exceeds = seen > 0 and float(bdtrc(seen - 1, counts.apart, limit)) < _TAIL
    ml = counts.ml
    text = (
        f"{100 * share:.0f} % of the {'lung ' * counts.chest}slices look ill. Neighbours are alike, so that "
        f"they count as {counts.apart} at least {APART_MM:g} mm apart. Of slices of controls "
        f"{100 * calibration.control_rate:.0f} % look ill (upper 95 % limit {100 * limit:.0f} %)."
    )
    few = counts.apart < FEWEST_SLICES
    enough = ml is not None and ml >= LESION_ML
    little = not counts.marked or (ml is not None and ml < LESION_ML)
    marks = "an unknown volume" if ml is None and counts.marked else f"{ml or 0.0:.1f} ml"
    if not counts.chest:
        return "uncertain", f"{text} Whether this is a chest is not known: no lung was looked for or found."
    if not few and exceeds and enough:
        return "ill", f"{text} That is more than chance, and {marks} are marked."
    if not few and share <= limit and little:
        return "control", f"{text} That is no more than in controls, and under {LESION_ML:g} ml is marked."
    if few:
        return "uncertain", f"{text} Fewer than {FEWEST_SLICES} are no scan."
    told = "more than chance" if exceeds else "perhaps chance"
    if share <= limit:
        told = "no more than in controls"
    return "uncertain", f"{text} That is {told}, while {marks} are marked."


def _doubt(counts: _Counts) -> Doubt:
    """Return why the rule names neither."""
    if not counts.chest:
        return "no_chest"
    if counts.apart < FEWEST_SLICES:
        return "few_slices"
    if counts.marked and counts.ml is None:
        return "no_volume"
    return "few_ill" if counts.ml is not None and counts.ml >= LESION_ML else "few_lesions"


def _mostly(inside: Sequence[SliceSummary]) -> Third | None:
    """Return the third of the slices with lung, from the head, where more than half of the masks are.

    The thirds are those of `anatomy.Lungs.third` once all slices are analysed.
    """
    lung = [summary for summary in inside if summary.lung]
    if not lung:
        return None
    numbers = [summary.slice_index for summary in lung]
    slices = range(min(numbers), max(numbers) + 1)
    areas: dict[Third, float] = {}
    for summary in lung:
        third = third_of(summary.slice_index, slices)
        areas[third] = areas.get(third, 0.0) + (summary.lesion_mm2 or 0.0)
    most = max(areas, key=areas.__getitem__)
    return most if 2 * areas[most] > sum(areas.values()) else None


def _kind(ill: Sequence[SliceSummary], names: Sequence[str], ill_classes: Sequence[int]) -> str:
    """Return the name of the class of pneumonia with the largest mean probability over the ill slices."""
    mean = np.mean([s.probabilities for s in ill if s.probabilities], axis=0)
    return class_name(names, max(ill_classes, key=lambda k: float(mean[k])))


def _positions(inside: Sequence[SliceSummary], volume: Volume | None) -> dict[int, float] | None:
    """Return where the slices lie along the stack in mm, by index; None where that is unknown."""
    if volume is None:
        return None
    places, step = volume.slice_positions_mm, volume.geometry.spacing_mm[0]
    if places is not None:
        return {s.slice_index: float(places[s.slice_index]) for s in inside}
    return None if step is None else {s.slice_index: s.slice_index * step for s in inside}


def slices_apart(ordered: Sequence[SliceSummary], volume: Volume | None) -> list[SliceSummary]:
    """Return those, in their order, that lie at least `APART_MM` from all before them; all without places."""
    places = _positions(ordered, volume)
    if places is None:
        return list(ordered)
    kept: list[SliceSummary] = []
    taken: list[float] = []  # places of those that are kept, sorted
    for one in ordered:
        place = places[one.slice_index]
        at = bisect(taken, place)
        if all(abs(place - other) > APART_MM - _SAME_MM for other in taken[max(0, at - 1) : at + 1]):
            kept.append(one)
            taken.insert(at, place)
    return kept


def slice_steps_mm(volume: Volume | None) -> DoubleArray | None:
    """Return (D,) how thick each slice counts in mm: half the way to either neighbour where these differ."""
    if volume is None:
        return None
    step, places = volume.geometry.spacing_mm[0], volume.slice_positions_mm
    if step is not None:
        return np.full(volume.slices, step)
    return None if places is None or len(places) < 2 else np.abs(np.gradient(places))


def marked_ml(inside: Sequence[SliceSummary], steps: DoubleArray | None) -> float | None:
    """Return the volume of the masks (ml) where slices count so thick (`slice_steps_mm`); None if unknown."""
    if steps is None or any(s.lesion_mm2 is None for s in inside):
        return None
    return sum((s.lesion_mm2 or 0.0) * float(steps[s.slice_index]) for s in inside) / 1000.0
