"""Weights in words: what they find and how good, on one line, in a tooltip, and their whole card.

Every word comes from their cards; what a card does not say is not said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from model_core.weights.card import ModelCard

# A kind (heading, paragraph, table: see resources/help/blocks.html.jinja) and what it holds.
Block = tuple[str, Any]

# Region classes in words; others are called as the card calls them.
_FINDS = {"lesion": "lesions", "ggo": "ground glass", "consolidation": "consolidation"}
_BACKBONES = {"resnet": "ResNet"}

_MEASURES = {
    "images": "Slices",
    "negative_images": "of them without lesion",
    "patients": "Patients",
    "lesions": "Lesions",
    "dice": "Dice, mean over slices",
    "dice_by_patient": "Dice, mean over patients",
    "paper_map": "mAP",
    "paper_map_by_patient": "mAP, mean over patients",
    "paper_map_lesion_images": "mAP, slices with lesions",
    "paper_ap50": "AP50",
    "paper_ap75": "AP75",
    "sensitivity": "Sensitivity",
    "false_positives_per_image": "False detections per slice",
    "negative_images_without_detection": "Lesion-free slices left empty",
}
_EXPLAINED = (
    "With 95 % intervals over patients where there are several. mAP: average precision of each slice at IoU "
    "0.5 to 0.95, averaged, as in the papers; a slice without lesion counts 1 if nothing is marked. "
    "Sensitivity: share of lesions found at IoU over 0.5. Thresholds of others: each slice at those that are "
    "best on the slices of all other patients. The data sets (A, A3 and so on) are named in "
    "LICENSE.txt beside the weights."
)
_CLASS_MEASURES = {
    "dice_of_all_pixels": "Dice of all pixels",
    "dice": "Dice, mean over slices",
    "lesions": "Lesions",
    "found": "of them found",
    "detections": "Detections",
}
_STAGE = {
    "kind": "Trains",
    "steps": "Steps",
    "batch": "Slices a step",
    "size": "Pixels",
    "learning_rate": "Rate, first",
    "final_rate": "last",
    "paste": "Pasted",
    "synthetic": "Computed",
}
_INTERVAL = "_interval"
# Among the sources in a card: the same of the slices alone that the detector behind the class never saw.
_UNSEEN = "unseen_by_the_detector"
_NAMES = {
    "balanced_accuracy": "Balanced accuracy, any answer",
    "balanced_accuracy_of_the_two": "Balanced accuracy, of the two",
    "backbone_start": "Starts from",
}
_ABBREVIATIONS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "auc": "AUC",
    "coco": "COCO",
    "ece": "ECE",
    "nms": "NMS",
    "iou": "IoU",
}


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


def in_one_line(cards: Sequence[ModelCard]) -> str:
    """Return what weights find and how good they are, as far as their cards say."""
    return " · ".join(filter(None, (finds(cards), quality(cards))))


def at_length(cards: Sequence[ModelCard]) -> str:
    """Return lines for a tooltip: `in_one_line` in full words, the architecture, the notes of the cards."""
    good = quality(cards) and f"{quality(cards)}: overlap with the outlines of experts, at best 1"
    names = " + ".join(card.title for card in cards)
    notes = dict.fromkeys(card.notes for card in cards if card.notes)
    return "\n".join(filter(None, (finds(cards), good, f"{names} ({architecture(cards)})", *notes)))


def card_blocks(card: ModelCard) -> Iterator[Block]:
    """Lay out a card to be read: what the weights are, how good they were, how they were trained.

    Cards are free JSON beside known keys. What is known is laid out in tables; whatever else a card says
    follows as it stands. Only the finer settings of stages are left to the recipe.
    """
    yield "h2", finds([card])
    line = " · ".join(filter(None, (quality([card]), card.title)))
    yield "p", line
    if card.notes:
        yield "p", card.notes
    yield "facts", _facts(card)
    not_stated: tuple[Block, ...] = (("muted", "Not stated."),)
    yield "h3", "Measured quality"
    yield from _quality(card) if card.metrics else not_stated
    yield "h3", "Training"
    yield from _training(card.training) if card.training else not_stated


def _facts(card: ModelCard) -> list[tuple[str, str]]:
    shape = card.architecture
    nms = "off" if card.detections.nms_iou is None else f"{card.detections.nms_iou:g}"
    joined = ", touching ones joined" if card.detections.join_touching else ""
    return [
        ("Name", card.name),
        ("Kind", card.kind.replace("_", "-")),
        ("Backbone", f"{shape.backbone}, truncation {shape.truncation}"),
        ("Regions", ", ".join(card.region_classes) or "none"),
        ("Image classes", ", ".join(card.image_classes) or "none"),
        ("Input", str(card.input)),
        ("Shown detections", f"score > {card.detections.score:g}, NMS IoU {nms}{joined}"),
        ("Licence", card.licence or "not stated"),
        ("SHA-256", card.sha256 or "not stated"),
    ]


def _quality(card: ModelCard) -> Iterator[Block]:
    rest = dict(card.metrics)
    yield from _note(rest)
    groups = _taken(rest, _is_group)
    if groups:
        yield _grid(groups, _MEASURES)
        yield "muted", _EXPLAINED
    yield from _rest(_taken(rest, lambda value: isinstance(value, int | float)))
    if isinstance(rest.get("by_class"), Mapping):
        by_class = dict(rest.pop("by_class"))
        yield "h4", "By class of lesion"
        yield from _note(by_class)
        yield _grid(_taken(by_class, lambda value: isinstance(value, Mapping)), _CLASS_MEASURES)
        yield from _rest(by_class)
    if isinstance(rest.get("within_source"), Mapping):
        yield from _classification(rest.pop("within_source"), card.image_classes)
    if isinstance(rest.get("scan_check"), str):
        yield "h4", "Whole series"
        yield "p", rest.pop("scan_check")
    if isinstance(rest.get("calibration"), Mapping):
        yield "h4", "Calibration of the scores"
        yield "facts", _flat(rest.pop("calibration"))
    folds = rest.pop("cross_validation", None)
    yield from _rest(rest)
    if isinstance(folds, Mapping):
        yield from _cross_validation(dict(folds))
    elif folds is not None:
        yield from _rest({"cross_validation": folds})


def _cross_validation(rest: dict[str, Any]) -> Iterator[Block]:
    yield "h3", "Cross-validation of the recipe"
    yield from _note(rest)
    groups = _taken(rest, _is_group)
    yield from _rest(rest)
    if groups:
        yield _grid(groups, _MEASURES)


def _classification(
    sources: Mapping[str, Any], classes: Sequence[str], *, which: str = ""
) -> Iterator[Block]:
    for source, values in sources.items():
        if source == _UNSEEN and isinstance(values, Mapping):
            yield from _classification(values, classes, which=", slices that the detector never saw")
            continue
        yield "h4", f"Image class within {source}{which}"
        if not isinstance(values, Mapping):
            yield "p", _text(values)
            continue
        rest = dict(values)
        rows = _confusion(rest, classes)
        yield from _rest(rest)
        if rows:
            yield _lines(["True class \\ answer", *classes], rows)


def _confusion(rest: dict[str, Any], classes: Sequence[str]) -> list[list[str]]:
    """Take the rows of the confusion matrix out of a source's values; none where they do not fit."""
    numbers, matrix = rest.get("classes"), rest.get("confusion")
    if not (isinstance(numbers, list | tuple) and isinstance(matrix, list | tuple)):
        return []
    known = all(isinstance(number, int) and number in range(len(classes)) for number in numbers)
    whole = all(isinstance(row, list | tuple) and len(row) == len(classes) for row in matrix)
    if not (known and whole and len(numbers) == len(matrix)):
        return []
    del rest["classes"], rest["confusion"]
    named = [classes[number] for number in numbers]
    counts = rest.get("slices")
    if isinstance(counts, list | tuple) and len(counts) == len(named):
        named = [f"{name} ({_text(n)} slices)" for name, n in zip(named, rest.pop("slices"), strict=True)]
    return [[name, *map(_text, row)] for name, row in zip(named, matrix, strict=True)]


def _training(values: Mapping[str, Any]) -> Iterator[Block]:
    rest = dict(values)
    for key in ("notes", "note"):
        yield from _note(rest, key)
    stages = rest.pop("stages", None)
    if isinstance(rest.get("sources"), Mapping):
        counts = rest.pop("sources")
        rest = {"slices_by_source": ", ".join(f"{name} {_text(n)}" for name, n in counts.items()), **rest}
    yield from _rest(rest)
    if isinstance(stages, list | tuple) and stages and all(isinstance(stage, Mapping) for stage in stages):
        yield "h4", "Stages"
        yield _lines(
            ["", *_STAGE.values()],
            [
                [str(number + 1), *(_text(stage.get(key, "")) for key in _STAGE)]
                for number, stage in enumerate(stages)
            ],
        )
    elif stages is not None:
        yield from _rest({"stages": stages})


def _is_group(value: Any) -> bool:
    """Whether these are measures of some slices."""
    return isinstance(value, Mapping) and "images" in value


def _taken(rest: dict[str, Any], wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Take the entries with such a value out of ``rest``."""
    return {key: rest.pop(key) for key in [key for key, value in rest.items() if wanted(value)]}


def _note(rest: dict[str, Any], key: str = "note") -> Iterator[Block]:
    if isinstance(rest.get(key), str):
        yield "p", rest.pop(key)


def _rest(values: Mapping[str, Any]) -> Iterator[Block]:
    if values:
        yield "facts", _flat(values)


def _grid(groups: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> Block:
    """Return a table with a column for each group and a row for each measure that one of them has."""
    found = [key for group in groups.values() for key in group if not key.endswith(_INTERVAL)]
    keys = [key for key in names if key in found]
    keys += [key for key in dict.fromkeys(found) if key not in names]  # measures that only this card has
    rows = [
        [names.get(key, _name(key)), *(_with_interval(group, key) for group in groups.values())]
        for key in keys
    ]
    return _lines(["", *("All" if name == "all" else name.replace("_", " ") for name in groups)], rows)


def _with_interval(group: Mapping[str, Any], key: str) -> str:
    value = _measure(group[key]) if key in group else "–"
    interval = group.get(f"{key}{_INTERVAL}")
    if isinstance(interval, list | tuple) and len(interval) == 2:
        value += f"\n{_measure(interval[0])}–{_measure(interval[1])}"
    return value


def _measure(value: Any) -> str:
    """Return a value with as many decimals as its neighbours in a table."""
    return f"{value:.3f}" if isinstance(value, float) else _text(value)


def _lines(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Block:
    """Return a table with headings; what stands behind a line break in a cell is small."""
    return "grid", {"titles": titles, "rows": rows}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{_name(str(key)) if not prefix else str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name} › ")
        else:
            rows.append((name, _text(value)))
    return rows


def _name(key: str) -> str:
    """Return a key of a card as words."""
    if key in _NAMES:
        return _NAMES[key]
    words = " ".join(_ABBREVIATIONS.get(word, word) for word in key.split("_"))
    return words[:1].upper() + words[1:]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    return "–" if value is None else str(value)
