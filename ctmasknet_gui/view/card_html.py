"""A model card to read: what the weights are, how good they were, how they were trained.

Cards are free JSON beside known keys. What is known is laid out in tables; whatever else a card says follows
as it stands. Only the finer settings of stages are left to the recipe. All that comes from a file is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ctmasknet_gui.view.weights_text import finds, quality, speed
from model_core.weights.card import ModelCard

# Equal in every table, so that the second columns stand below each other.
NAME_WIDTH = 215

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


def card_html(card: ModelCard) -> str:
    """Return the card as HTML for a `TextDialog`."""
    return "".join(_parts(card))


def table(rows: Sequence[tuple[str, str]], kind: str) -> str:
    """Return a table of two columns; ``kind`` is the style class of the first."""
    lines = (
        f"<tr><td class='{kind}' width='{NAME_WIDTH}'>{escape(name)}</td><td>{escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table cellspacing='0' cellpadding='2'>{''.join(lines)}</table>"


def _parts(card: ModelCard) -> Iterator[str]:
    yield f"<h2>{escape(finds([card]))}</h2>"
    line = " · ".join(filter(None, (quality([card]), speed([card]), card.title)))
    yield f"<p>{escape(line)}</p>"
    if card.notes:
        yield f"<p>{escape(card.notes)}</p>"
    yield table(_facts(card), "name")
    yield "<h3>Measured quality</h3>"
    yield from _quality(card) if card.metrics else ("<p class='muted'>Not stated.</p>",)
    yield "<h3>Training</h3>"
    yield from _training(card.training) if card.training else ("<p class='muted'>Not stated.</p>",)


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
        ("Input", card.input_text),
        ("Shown detections", f"score > {card.detections.score:g}, NMS IoU {nms}{joined}"),
        ("Licence", card.licence or "not stated"),
        ("SHA-256", card.sha256 or "not stated"),
    ]


# ---------------------------------------------------------------------------------------- quality


def _quality(card: ModelCard) -> Iterator[str]:
    rest = dict(card.metrics)
    yield from _note(rest)
    groups = _taken(rest, _is_group)
    if groups:
        yield _grid(groups, _MEASURES)
        yield f"<p class='muted'>{_EXPLAINED}</p>"
    yield _rest(_taken(rest, lambda value: isinstance(value, int | float)))
    if isinstance(rest.get("by_class"), Mapping):
        by_class = dict(rest.pop("by_class"))
        yield "<h4>By class of lesion</h4>"
        yield from _note(by_class)
        yield _grid(_taken(by_class, lambda value: isinstance(value, Mapping)), _CLASS_MEASURES)
        yield _rest(by_class)
    if isinstance(rest.get("within_source"), Mapping):
        yield from _classification(rest.pop("within_source"), card.image_classes)
    if isinstance(rest.get("scan_check"), str):
        yield f"<h4>Whole series</h4><p>{escape(rest.pop('scan_check'))}</p>"
    if isinstance(rest.get("calibration"), Mapping):
        yield f"<h4>Calibration of the scores</h4>{table(_flat(rest.pop('calibration')), 'name')}"
    folds = rest.pop("cross_validation", None)
    yield _rest(rest)
    if isinstance(folds, Mapping):
        yield from _cross_validation(dict(folds))
    elif folds is not None:
        yield _rest({"cross_validation": folds})


def _cross_validation(rest: dict[str, Any]) -> Iterator[str]:
    yield "<h3>Cross-validation of the recipe</h3>"
    yield from _note(rest)
    groups = _taken(rest, _is_group)
    yield _rest(rest)
    if groups:
        yield _grid(groups, _MEASURES)


def _classification(sources: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    for source, values in sources.items():
        yield f"<h4>Image class within {escape(str(source))}</h4>"
        if not isinstance(values, Mapping):
            yield f"<p>{escape(_text(values))}</p>"
            continue
        rest = dict(values)
        rows = _confusion(rest, classes)
        yield _rest(rest)
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


# --------------------------------------------------------------------------------------- training


def _training(values: Mapping[str, Any]) -> Iterator[str]:
    rest = dict(values)
    for key in ("notes", "note"):
        yield from _note(rest, key)
    stages = rest.pop("stages", None)
    if isinstance(rest.get("sources"), Mapping):
        counts = rest.pop("sources")
        rest = {"slices_by_source": ", ".join(f"{name} {_text(n)}" for name, n in counts.items()), **rest}
    yield _rest(rest)
    if isinstance(stages, list | tuple) and stages and all(isinstance(stage, Mapping) for stage in stages):
        yield "<h4>Stages</h4>"
        yield _lines(
            ["", *_STAGE.values()],
            [
                [str(number + 1), *(_text(stage.get(key, "")) for key in _STAGE)]
                for number, stage in enumerate(stages)
            ],
        )
    elif stages is not None:
        yield _rest({"stages": stages})


# ------------------------------------------------------------------------------------ small pieces


def _is_group(value: Any) -> bool:
    """Whether these are measures of some slices."""
    return isinstance(value, Mapping) and "images" in value


def _taken(rest: dict[str, Any], wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Take the entries with such a value out of ``rest``."""
    return {key: rest.pop(key) for key in [key for key, value in rest.items() if wanted(value)]}


def _note(rest: dict[str, Any], key: str = "note") -> Iterator[str]:
    if isinstance(rest.get(key), str):
        yield f"<p>{escape(rest.pop(key))}</p>"


def _rest(values: Mapping[str, Any]) -> str:
    return table(_flat(values), "name") if values else ""


def _grid(groups: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
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


def _lines(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with headings; what stands behind a line break in a cell is small."""
    head = "".join(f"<th align='left'>{escape(title)}</th>" for title in titles)
    body = "".join(
        f"<tr><td class='name whole'>{escape(first)}</td>"
        + "".join(f"<td class='whole'>{_cell(text)}</td>" for text in others)
        + "</tr>"
        for first, *others in rows
    )
    return f"<table cellspacing='0' cellpadding='2'><tr>{head}</tr>{body}</table>"


def _cell(text: str) -> str:
    value, _, small = text.partition("\n")
    return escape(value) + (f"<br><span class='muted'>{escape(small)}</span>" if small else "")


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
