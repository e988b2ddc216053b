"""What is said of a scan and of a slice: the window's card and exported pictures use the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_core.base.calibration import ScanCheck
from model_core.base.results import (
    UNDECIDED,
    Doubt,
    ScanVerdict,
    SliceSummary,
    Verdict,
    probability_text,
)
from model_core.base.stability import ScanStability
from model_core.scene.palette import AMBER, GREEN, NO_CLASS, PNEUMONIA, PURPLE, class_name, image_colour

SIGNS, NO_SIGNS, UNCERTAIN = "Pneumonia signs", "No clear pneumonia signs", "Uncertain"
OUTSIDE = "Outside the lung: no class"
UNCALIBRATED = "uncalibrated"
NO_LESION = "No lesion marked"
UNLIKE = "unlike the training data"
BIAS = "network's bias: no region left"
# What contradicts what.
_DOUBTS: dict[Doubt, str] = {
    "no_chest": "It is not known whether this is a chest",
    "few_slices": "Too few slices for a verdict",
    "no_volume": "Lesions are marked, but their volume is unknown",
    "few_ill": "Lesions are marked, but the slices look like controls",
    "few_lesions": "Slices look ill, but hardly any lesion is marked",
}
# Shorter, as there is less room beside a count.
_SO_FAR: dict[Verdict, str] = {
    "control": "No clear signs",
    "uncertain": UNCERTAIN,
    "no_class": "No lung found",
}


@dataclass(frozen=True)
class ScanWords:
    """What is said of a scan, most important first; each a line of its own, "" where there is nothing to say.

    Attributes
    ----------
    answer, colour:
        The verdict in two or three words, and the colour that stands for it.
    where:
        In how many slices; goes on after ``answer`` as one sentence where it begins with "in".
    amount:
        Volume of the lesions, their share of the lung, where they are.
    kind:
        Of an ill scan the kind of pneumonia; of others what the answer does not mean.
    worth:
        How often these weights were right before.
    progress:
        How much of the series it is about.
    partial:
        Whether slices are still missing: the window says so, a picture that is kept says nothing of the scan.
    edited:
        Whether it rests on edited evidence or thresholds.
    """

    answer: str
    colour: str = NO_CLASS
    where: str = ""
    amount: str = ""
    kind: str = ""
    worth: str = ""
    progress: str = ""
    uncalibrated: bool = False
    partial: bool = False
    edited: bool = False

    @property
    def text(self) -> str:
        """Everything as sentences."""
        joint = " " if self.where.startswith("in ") else ". "
        start = f"{self.answer}{joint}{self.where}" if self.where else self.answer
        lines = (start, self.amount, self.kind, self.worth, self.progress)
        return " ".join(f"{line[:1].upper()}{line[1:].rstrip('.')}." for line in lines if line)


@dataclass(frozen=True)
class SliceWords:
    """What is said of a slice: the answer, its colour, the probability of pneumonia, what goes with it."""

    answer: str
    colour: str
    probability: float | None = None
    detail: str = ""
    unlike: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines below the answer."""
        chance = "" if self.probability is None else f"pneumonia {probability_text(self.probability)}"
        return tuple(filter(None, (chance, self.detail, UNLIKE if self.unlike else "")))


def scan_words(
    scan: ScanVerdict,
    *,
    classes: Sequence[str],
    analysed: int,
    slices: int,
    lung_known: bool = True,
    lesions: str = "",
    steady: ScanStability | None = None,
) -> ScanWords:
    """Say what a scan's verdict is.

    Parameters
    ----------
    classes:
        Names of the image classes, the control class first.
    analysed, slices:
        How many slices ``scan`` rests on, and how many there are.
    lung_known:
        Whether it was looked for the lung.
    lesions:
        What is said of the lesions where ``scan`` has no volume of them.
    steady:
        What small changes of the picture do to it: ranges behind volume and share.
    """
    partial = analysed < slices
    progress = f"{analysed} of {slices} slices" if partial else _count(slices)
    if scan.verdict is None:
        return _uncalibrated(scan, classes, lesions)
    counted = scan.ill_slices, scan.lung_slices, "lung slice" if lung_known else "slice"
    answer, where = {
        "ill": (SIGNS, "in " + _some_of(*counted)),
        "control": (NO_SIGNS, _look_ill(*counted)),
        "uncertain": (UNCERTAIN, _look_ill(*counted)),
        "no_class": ("No class: no lung found", _no_lung(analysed)),
    }[scan.verdict]
    if partial and scan.verdict == "ill":
        where += " so far"
    elif partial:
        answer = f"{_SO_FAR[scan.verdict]} so far"
    if scan.verdict == "no_class":
        need = "A verdict needs the lungs"
        return ScanWords(answer, where=where, amount=need, progress=progress, partial=partial)
    beside = [] if steady is None else [_share_range(scan, steady)]
    beside += [] if scan.control_rate is None else [f"controls: {_percent(scan.control_rate)}"]
    controls = f" ({'; '.join(beside)})" if beside else ""
    return ScanWords(
        answer,
        colour=_colour(scan),
        where=where + controls,
        amount=_amount(scan, partial=partial, steady=steady) or lesions,
        kind=_kind(scan, classes, rest=slices - analysed),
        worth=worth(scan.checked),
        progress=progress,
        partial=partial,
        edited=scan.basis == "edited",
    )


def slice_words(summary: SliceSummary) -> SliceWords | None:
    """Say what a slice shows; None where only the classes of its weights can be told, or not even these."""
    unlike = bool(summary.unlike_training)
    if summary.lung is False:
        return SliceWords(OUTSIDE, NO_CLASS, unlike=unlike)
    chance = summary.ill_probability
    if chance is None:
        return None
    if summary.ill != (summary.detections > 0):
        detail = "looks ill; no lesion marked" if summary.ill else "lesion marked; looks normal"
        return SliceWords(UNCERTAIN, AMBER, chance, detail, unlike)
    if not summary.ill:
        return SliceWords(NO_SIGNS, GREEN, chance, BIAS if summary.from_bias else "", unlike)
    if summary.kind in (None, UNDECIDED):
        return SliceWords(SIGNS, PNEUMONIA, chance, f"kind {UNDECIDED}", unlike)
    return SliceWords(SIGNS, image_colour(summary.kind), chance, f"most like {summary.kind}", unlike)


def worth(checked: ScanCheck | None) -> str:
    """Say how often the verdict of these weights was right."""
    if checked is None or not checked.scans:
        return "Not checked on whole scans of known patients"
    low, high = round(100 * checked.low), round(100 * checked.high)
    noun = "scan" if checked.scans == 1 else "scans"
    return f"Checked on {checked.scans} {noun}, {checked.right} right (95 %: {low}–{high} %)"


def steady_scan_words(steady: ScanStability, verdict: Verdict | None = None) -> tuple[str, ...]:
    """Say what small changes of the picture do to the verdict: whether it stays, then how that was found.

    Before that, where these slices say something else than ``verdict``, that of the scan, without any change.
    """
    turned: dict[Verdict, list[str]] = {}
    for name, other in steady.turned:
        turned.setdefault(other, []).append(name)
    told = [f"“{_VERDICTS[other]}” after {', '.join(names)}" for other, names in turned.items()]
    before, whose = [], "The"
    if verdict not in (None, steady.own_verdict):
        before, whose = [f"These slices alone say “{_VERDICTS[steady.own_verdict]}”, unchanged."], "Their"
    first = f"{whose} verdict is the same after all {len(steady.changes)}"
    if told:
        first = f"{whose} verdict would be {', '.join(told)}"
    low, high = steady.ill_range
    many = str(low) if low == high else f"{low} to {high}"
    return (
        *before,
        f"{first}, by {len(steady.slices)} lung slices at least 10 mm apart.",
        f"Of these {steady.own_ill} look ill, and {many} with the changes.",
    )


_VERDICTS: dict[Verdict, str] = {
    "ill": SIGNS,
    "control": NO_SIGNS,
    "uncertain": UNCERTAIN,
    "no_class": "No class",
}


def _uncalibrated(scan: ScanVerdict, classes: Sequence[str], lesions: str) -> ScanWords:
    rule = scan.rule.split(". ")[0].rstrip(".")
    named = scan.class_index is not None and not scan.from_bias
    answer, colour = "The network's bias", NO_CLASS
    if scan.class_index is not None and named:
        name = class_name(classes, scan.class_index)
        answer = f"{name} {probability_text(scan.probabilities[scan.class_index])}"
        colour = image_colour(name, scan.class_index)
    return ScanWords(
        answer,
        colour=colour,
        where=rule,
        amount=lesions,
        kind="No verdict: these weights are not calibrated",
        worth=worth(scan.checked),
        uncalibrated=True,
    )


def _colour(scan: ScanVerdict) -> str:
    if scan.verdict == "ill":
        return PNEUMONIA if scan.kind in (None, UNDECIDED) else image_colour(scan.kind)
    by_verdict: dict[Verdict | None, str] = {"control": GREEN, "uncertain": AMBER}
    return by_verdict.get(scan.verdict, NO_CLASS)


def _count(slices: int) -> str:
    return f"{slices} slice{'s' * (slices != 1)}"


def _no_lung(slices: int) -> str:
    return f"None of the {slices} slices analysed shows lung" if slices > 1 else "This slice shows no lung"


def _some_of(ill: int, of: int, noun: str) -> str:
    return f"{ill} of {of} {noun}s" if of > 1 else f"the one {noun}"


def _look_ill(ill: int, of: int, noun: str) -> str:
    if of == 1:
        return f"The one {noun} looks {'ill' if ill else 'normal'}"
    verb = "looks" if ill == 1 else "look"
    return f"{ill or 'None'} of {of} {noun}s {verb} ill"


def _share_range(scan: ScanVerdict, steady: ScanStability) -> str:
    """Return from where to where the share of lung slices that look ill moves."""
    ends = [count / len(steady.slices) for count in steady.ill_range]
    own = scan.ill_slices / scan.lung_slices
    low, high = _percent(min(own, *ends)), _percent(max(own, *ends))
    return low if low == high else f"{low.removesuffix(' %')}–{high}"


def _amount(scan: ScanVerdict, *, partial: bool, steady: ScanStability | None) -> str:
    """Return the volume of the lesions; of the whole lungs its share, and where most of it is."""
    volume = scan.lesion_ml
    if volume is None:
        return ""
    ends = None if steady is None else steady.ml_range(volume)
    if volume == 0 and not (ends and ends[1]):
        return NO_LESION
    digits = 0 if volume >= 10 else 1
    text = f"{volume:.{digits}f} ml" if volume >= 0.05 else "< 0.1 ml" if volume else NO_LESION
    if ends is not None:
        text += f" ({ends[0]:.{digits}f}–{ends[1]:.{digits}f}{' ml' * (volume < 0.05)})"
    if volume == 0:
        return text
    if partial:
        return text + " marked"
    if scan.lung_ml:
        text += f", {_percent(volume / scan.lung_ml)} of the lung"
    return text + (f", mostly {scan.mostly} third" if scan.mostly else "")


def _percent(share: float) -> str:
    text = f"{100 * share:.0f}"
    return "< 1 %" if text == "0" and share > 0 else f"{text} %"


def _kind(scan: ScanVerdict, classes: Sequence[str], *, rest: int) -> str:
    if scan.verdict == "ill":
        if scan.kind in (None, UNDECIDED):
            return f"{_kinds(classes)}: cannot be told apart"
        return f"Most like {scan.kind}"
    if scan.verdict == "uncertain":
        return _DOUBTS[scan.doubt] if scan.doubt else "Classes and lesions contradict each other"
    if rest:
        return f"{rest} slice{' is' if rest == 1 else 's are'} not analysed yet"
    return "This does not rule pneumonia out"


def _kinds(classes: Sequence[str]) -> str:
    kinds = [class_name(classes, k) for k in range(1, len(classes))]
    covid = [name for name in kinds if image_colour(name) == PURPLE]
    if len(kinds) == 2 and len(covid) == 1:
        return f"{covid[0]} or other pneumonia"
    return " or ".join(kinds) or "Kinds of pneumonia"
