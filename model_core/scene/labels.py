"""The labels of regions: what they say, and places inside the picture where they cover nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from model_core.base.results import RoiRow, ShownSlice, probability_text
from model_core.scene.palette import ASKED, EXCLUDED, SELECTED
from model_core.scene.reasons import reason_areas, signed_logit
from model_core.scene.settings import SceneSettings

# Left, top, right, bottom.
Rect = tuple[float, float, float, float]

# More labels than this would hide the picture; the others follow when their region is selected.
MOST_LABELS = 24
_GAP = 3.0
# Of the strongest contributions so many are labelled, whether they are shown detections or not.
_MOST_STRONG = 6


@dataclass(frozen=True)
class Label:
    """The label of one region.

    Attributes
    ----------
    box:
        Of the region, in pixels of the slice or of what it is drawn on.
    texts:
        The longest first; shorter ones are for crowded pictures.
    """

    candidate: int
    box: Rect
    texts: tuple[str, ...]
    colour: str
    selected: bool = False


@dataclass(frozen=True)
class PlacedLabels:
    """Labels with their text and rectangle, and how many in sight found no place."""

    places: tuple[tuple[Label, str, Rect], ...] = ()
    left_out: int = 0


def unshown_roi(shown: ShownSlice, selected: int | None) -> RoiRow | None:
    """Return the selected RoI where it is neither among the shown detections nor drawn as asked about."""
    if selected is None or selected in shown.detections.indices:
        return None
    if any(one.candidate == selected for one in shown.asked):
        return None
    return next((roi for roi in shown.rois if roi.candidate == selected), None)


def box_labels(shown: ShownSlice, settings: SceneSettings) -> list[Label]:
    """Return the labels of a slice, boxes in slice pixels, in the order in which they get their places.

    The selected region comes first. One that is not shown has a label even where labels are off.
    """
    detections, selected, excluded = shown.detections, settings.selected, shown.excluded
    ranks = {roi.candidate: f"{roi.rank} · " for roi in shown.rois if roi.detected}
    labels = []
    for number in range(len(detections)):
        candidate, class_ = int(detections.indices[number]), int(detections.labels[number])
        score = probability_text(float(detections.scores[number]))
        name = f"{settings.region_name(class_)} {score}"
        adds = _adds(settings, candidate)
        if adds:
            name, score = f"{name} · {adds}", adds
        out = candidate in excluded
        if out:
            name, score = f"{name} · excluded", f"{score} out"
        left, top, right, bottom = (float(edge) for edge in detections.boxes[number])
        labels.append(
            Label(
                candidate,
                (left, top, right, bottom),
                (ranks.get(candidate, "") + name, name, score),
                EXCLUDED if out else settings.region_colour(class_),
                candidate == selected,
            )
        )
    if not settings.overlays.labels:
        labels = []
    else:
        labels += _strongest(shown, settings)
    for one, row in shown.asked_rois():
        if settings.overlays.labels or one.candidate == selected:
            labels.append(Label(one.candidate, row.box, asked_texts(row), ASKED, one.candidate == selected))
    labels.sort(key=lambda label: not label.selected)
    roi = unshown_roi(shown, selected)
    if roi is not None:
        short = f"{roi.rank} · {roi.label} {probability_text(roi.score)}"
        texts = (f"{short} · {roi.why_unshown}", short)
        labels.insert(0, Label(roi.candidate, roi.box, texts, SELECTED, selected=True))
    return labels


def _adds(settings: SceneSettings, candidate: int) -> str:
    """Return what a region contributes, where contributions are shown."""
    if settings.reason is None or not settings.overlays.contributions:
        return ""
    value = settings.reason.value_of(candidate, settings.reason.output_of(settings.output))
    return "" if value is None else signed_logit(value)


def _strongest(shown: ShownSlice, settings: SceneSettings) -> list[Label]:
    """Label the strongest contributions that are not among the shown detections, where they are shown."""
    if settings.reason is None or not settings.overlays.contributions:
        return []
    labels = []
    output = settings.reason.output_of(settings.output)
    ranks = {roi.candidate: roi.rank for roi in shown.rois}
    # These have labels of their own.
    labelled = {*shown.detections.indices.tolist(), *(one.candidate for one in shown.asked)}
    for area in reason_areas(shown, settings.reason, output)[: -_MOST_STRONG - 1 : -1]:
        if area.candidate in labelled or area.candidate == settings.selected:
            continue
        text = f"{ranks[area.candidate]} · {signed_logit(area.value)}"
        labels.append(Label(area.candidate, area.box, (text,), area.colour))
    return labels


def asked_texts(roi: RoiRow) -> tuple[str, ...]:
    """Say what was answered to an asked region, the longest text first."""
    found = f"{roi.label} {probability_text(roi.score)}"
    if not roi.copies:
        return f"asked: {found} · too low for the evidence", f"asked: {found}"
    return f"{roi.rank} · asked: {found}", f"asked {probability_text(roi.score)}"


def place_labels(
    labels: Sequence[Label],
    measure: Callable[[str], tuple[float, float]],
    *,
    area: Rect,
    taken: Sequence[Rect],
) -> PlacedLabels:
    """Place the labels of regions in sight, in order; what finds no free place is left out.

    Parameters
    ----------
    measure:
        Width and height of a text with the border of its label.
    area:
        The visible part of the picture; labels stay inside.
    taken:
        Rectangles to keep clear of. Other regions are kept visible where there is room.
    """
    places: list[tuple[Label, str, Rect]] = []
    occupied = list(taken)
    visible = [label for label in labels if _meet(label.box, area)]
    for label in visible[:MOST_LABELS]:
        others = [other.box for other in visible if other is not label]
        for text in label.texts:
            place = _place(label.box, measure(text), area, occupied, others)
            if place is not None:
                places.append((label, text, place))
                occupied.append(place)
                break
    return PlacedLabels(tuple(places), len(visible) - len(places))


def _place(
    box: Rect, size: tuple[float, float], area: Rect, taken: Sequence[Rect], others: Sequence[Rect]
) -> Rect | None:
    width, height = size
    left, top, right, bottom = area
    if width > right - left or height > bottom - top:
        return None
    free = []
    for x, y in _spots(box, width, height):
        x, y = min(max(x, left), right - width), min(max(y, top), bottom - height)
        place = (x, y, x + width, y + height)
        if _is_clear(place, taken):
            if _is_clear(place, others):
                return place
            free.append(place)
    return free[0] if free else None


def _is_clear(place: Rect, others: Sequence[Rect]) -> bool:
    """Whether a rectangle meets none of others; hundreds of times a frame, so without a call for each."""
    left, top, right, bottom = place
    return not any(left < x2 and x1 < right and top < y2 and y1 < bottom for x1, y1, x2, y2 in others)


def _spots(box: Rect, width: float, height: float) -> Iterator[tuple[float, float]]:
    """Top left corners to try, the best first: above, below, beside, further up and down, inside."""
    x1, y1, x2, y2 = box
    left, right = x1, x2 - width
    above, below = y1 - height - _GAP, y2 + _GAP
    yield from ((left, above), (left, below), (right, above), (right, below))
    for y in (y1, y2 - height):
        yield from ((x2 + _GAP, y), (x1 - width - _GAP, y))
    for step in (1, 2, 3):
        shift = step * (height + 1)
        for x in (left, right):
            yield from ((x, above - shift), (x, below + shift))
    yield x1 + _GAP, y1 + _GAP


def _meet(one: Rect, other: Rect) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
