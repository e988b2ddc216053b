"""What the selected regions do to the class, in words."""

from __future__ import annotations

import numpy as np

from ctmasknet_gui.state import Effect, WeightsState
from model_core.base.results import ImageVerdict, probability_text
from model_core.scene import class_name

_MOST_NAMED = 3


def effect_text(effect: Effect, now: ImageVerdict, weights: WeightsState) -> str:
    """Say how the class changes where the regions of an effect are excluded, or put back."""
    name, before, after = _compared(now, effect.verdict, weights)
    which = f"With {_named(effect)} again" if effect.restored else f"Without {_named(effect)}"
    return f"{which}: {name} {before} → {after}"


def alone_text(effect: Effect, now: ImageVerdict, weights: WeightsState) -> str:
    """Say what the class would be from the regions of an effect alone; empty where nobody asked."""
    if effect.alone is None:
        return ""
    name, _, after = _compared(now, effect.alone, weights)
    return f"{'It' if len(effect.ranks) == 1 else 'They'} alone: {name} {after}"


def _named(effect: Effect) -> str:
    if len(effect.ranks) > _MOST_NAMED:
        return f"{len(effect.ranks)} regions"
    noun = "region" if len(effect.ranks) == 1 else "regions"
    return f"{noun} {', '.join(str(rank) for rank in effect.ranks)}"


def _compared(now: ImageVerdict, then: ImageVerdict, weights: WeightsState) -> tuple[str, str, str]:
    """Return what is compared, "ill" or the class that is likeliest now, and its probability now and then."""
    calibration = weights.calibration
    if calibration is not None:
        before, after = (
            calibration.ill_probability(tuple(float(logit) for logit in verdict.logits))
            for verdict in (now, then)
        )
        return "ill", probability_text(before), probability_text(after)
    best = int(np.argmax(now.probabilities))
    before, after = (float(verdict.probabilities[best]) for verdict in (now, then))
    return class_name(weights.image_classes, best), probability_text(before), probability_text(after)
