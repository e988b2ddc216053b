"""What weights are called in the window: what they find, how good and how fast; their architecture second.

Every word comes from their cards; what a card does not say is not said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model_core.weights.card import ModelCard, mirrors

# Region classes in words; others are called as the card calls them.
_FINDS = {"lesion": "lesions", "ggo": "ground glass", "consolidation": "consolidation"}
_BACKBONES = {"resnet": "ResNet"}


def finds(cards: Sequence[ModelCard]) -> str:
    """Return what weights find: ``Lesions and image class``."""
    regions = cards[0].region_classes if cards and cards[0].kind != "classifier" else ()
    things = [_FINDS.get(name.casefold(), name) for name in regions]
    if any(card.image_classes for card in cards):
        things.append("image class")
    text = " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else things) or "Regions"
    return text[:1].upper() + text[1:]


def quality(cards: Sequence[ModelCard]) -> str:
    """Return how good the masks are by the card, as ``Dice 0.70 (60 slices)``; empty where it does not say.

    On how many slices stands beside it: cards measured on other slices do not compare.
    """
    measured = cards[0].metrics.get("all") if cards else None
    if not isinstance(measured, Mapping) or not isinstance(measured.get("dice"), float):
        return ""
    count = measured.get("images")
    return f"Dice {measured['dice']:.2f}" + (f" ({count} slices)" if isinstance(count, int) else "")


def speed(cards: Sequence[ModelCard], *, fast: bool = False) -> str:
    """Return what makes weights slow; empty for those that look at a slice once."""
    return "twice the time" if mirrors(cards) and not fast else ""


def architecture(cards: Sequence[ModelCard]) -> str:
    """Return the network behind weights, as ``ResNet18-T1``."""
    if not cards:
        return ""
    shape = cards[0].architecture
    name: str = shape.backbone
    for plain, written in _BACKBONES.items():
        name = name.replace(plain, written)
    kind = "single-shot " if cards[0].kind == "single_shot" else ""
    return f"{kind}{name}-T{shape.truncation}"


def in_one_line(cards: Sequence[ModelCard], *, fast: bool = False) -> str:
    """Return what weights find, how good and how fast, as far as their cards say."""
    return " · ".join(filter(None, (finds(cards), quality(cards), speed(cards, fast=fast))))


def at_length(cards: Sequence[ModelCard], *, fast: bool = False) -> str:
    """Return lines for a tooltip: `in_one_line` in full words, the architecture, the notes of the cards."""
    good = quality(cards) and f"{quality(cards)}: overlap with the outlines of experts, at best 1"
    slow = speed(cards, fast=fast) and "Twice the time: they look at the mirror image of each slice, too"
    names = " + ".join(card.title for card in cards)
    notes = dict.fromkeys(card.notes for card in cards if card.notes)
    return "\n".join(filter(None, (finds(cards), good, slow, f"{names} ({architecture(cards)})", *notes)))
