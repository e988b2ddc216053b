"""What a changed picture does, in words, for window and picture."""

from __future__ import annotations

from collections import Counter

from model_core.base.picture_edit import SHAMS, PictureEffect
from model_core.base.results import probability_text


def signed(value: float) -> str:
    """Return a change of a logit with its sign; one that rounds to nothing has none."""
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text


def effect_words(found: PictureEffect) -> str:
    """Say what becomes of the class, in a line."""
    before, after = found.before, found.after
    verdict = "the verdict changes" if found.verdict_changed else "the verdict stays"
    return (
        f"{found.target} {probability_text(before.probability)} → {probability_text(after.probability)} "
        f"(logit {signed(found.change)}): {verdict}"
    )


def sham_words(found: PictureEffect) -> str:
    """Say how the effect compares with sham heals, in a line."""
    changes = found.sham_changes
    if not found.complete:
        return f"{len(changes)} of at most {found.wanted} sham heals have run"
    if not changes:
        return "No sham heal fits into unmarked lung of this slice: what the effect is beyond is unknown"
    few = "" if len(changes) == SHAMS else f" (no more of {SHAMS} fit)"
    verdict = "Beyond the shams" if found.beyond_shams else "Not more than a sham"
    return (
        f"{verdict}: {len(changes)} sham heal{'s' * (len(changes) > 1)} of equal shape in unmarked lung{few} "
        f"change the logit by {signed(min(changes))} to {signed(max(changes))}"
    )


def region_words(found: PictureEffect) -> str:
    """Count what became of the regions, in a line."""
    counts = Counter((one.fate, one.where) for one in found.regions)
    told = [
        f"{count} {fate} {where}"
        for fate in ("gone", "new", "changed")
        for where in ("in the changed area", "elsewhere")
        if (count := counts[fate, where])
    ]
    return f"Regions: {', '.join(told)}" if told else "Regions: none changed"


def area_words(found: PictureEffect) -> str:
    """Say how large the marked area is before and after."""
    before, after = found.before, found.after
    if before.lesion_mm2 is None or after.lesion_mm2 is None:
        return f"Marked area {before.lesion_px} → {after.lesion_px} px"
    return f"Marked area {before.lesion_mm2 / 100:.1f} → {after.lesion_mm2 / 100:.1f} cm²"
