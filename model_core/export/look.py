"""How a picture is to look: window, overlays, size, what is written on it. Plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from model_core.errors import SettingsError
from model_core.types import Window

Colour = tuple[int, int, int]

# Okabe and Ito's colours, told apart with every colour blindness. Classes are coloured by what they are,
# as on screen; the first match wins.
ORANGE: Colour = (0xE6, 0x9F, 0x00)
SKY_BLUE: Colour = (0x56, 0xB4, 0xE9)
GREEN: Colour = (0x00, 0x9E, 0x73)
_REGIONS = (
    ("consolidation", SKY_BLUE),
    ("lung", GREEN),
    ("ground", ORANGE),
    ("ggo", ORANGE),
    ("lesion", ORANGE),
)
_SPARE: tuple[Colour, ...] = (
    (0xCC, 0x79, 0xA7),
    (0xD5, 0x5E, 0x00),
    (0x00, 0x72, 0xB2),
    (0xF0, 0xE4, 0x42),
)
REFERENCE_COLOUR: Colour = (0xF0, 0xE4, 0x42)
WHITE: Colour = (255, 255, 255)
MUTED: Colour = (0xB8, 0xC4, 0xD0)
WARNING: Colour = (0xFF, 0xB0, 0x3A)
DARK: Colour = (0, 0, 0)

LUNG = Window(1500, -600, "Lung")
MAX_SCALE = 64.0


def class_name(names: Sequence[str], number: int) -> str:
    """Return the name of class ``number`` (from 0), or its count where the weights name none."""
    return names[number] if 0 <= number < len(names) else f"class {number + 1}"


@dataclass(frozen=True, kw_only=True)
class Overlays:
    """What is drawn over the voxels; ``opacity`` 0..1 is that of the mask fill."""

    masks: bool = True
    outlines: bool = True
    boxes: bool = True
    logits: bool = False
    reference: bool = True
    opacity: float = 0.35

    def __post_init__(self) -> None:
        if not 0.0 <= self.opacity <= 1.0:
            raise SettingsError(f"An opacity lies in 0..1, not {self.opacity}.")


class LookArguments(TypedDict, total=False):
    """The fields of `Look` as keyword arguments."""

    window: Window
    overlays: Overlays
    region_classes: tuple[str, ...]
    image_classes: tuple[str, ...]
    scale: float
    text: bool
    identity: bool
    plots: bool
    edited: bool
    inverted: bool
    flip_horizontal: bool
    flip_vertical: bool
    smooth: bool
    selected: int | None
    logit_range: tuple[float, float] | None
    weights: str


@dataclass(frozen=True, kw_only=True)
class Look:
    """Everything about a picture but the slice and its results.

    Attributes
    ----------
    scale:
        Picture pixels per slice pixel along the axis with the smaller pixel spacing; the other axis follows
        the spacing, so that circles stay circles. With text or plots a picture too small to hold them is
        enlarged by a whole factor.
    identity:
        Write the patient text of the volume into the picture.
    plots:
        Set the plots beside the picture.
    edited:
        Mark the class as "edited evidence"; a verdict from evidence that is edited always is.
    smooth:
        Interpolate between pixels (values first, then the window); False shows the pixels as squares.
    selected:
        Candidate to stand out, as picked on screen; dashed where it is not among the shown detections.
    logit_range:
        Logits at the ends of the colour bar; None takes those of the slice (`ShownSlice.logit_range`).
    weights:
        Which weights computed the results, for people; stands with the thresholds.
    """

    window: Window = LUNG
    overlays: Overlays = field(default_factory=Overlays)
    region_classes: tuple[str, ...] = ()
    image_classes: tuple[str, ...] = ()
    scale: float = 1.0
    text: bool = True
    identity: bool = False
    plots: bool = False
    edited: bool = False
    inverted: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False
    smooth: bool = True
    selected: int | None = None
    logit_range: tuple[float, float] | None = None
    weights: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.scale <= MAX_SCALE:
            raise SettingsError(f"A picture scale lies above 0 and up to {MAX_SCALE:g}, not {self.scale}.")

    def region_name(self, label: int) -> str:
        """Return the name of a region class (label 1 first)."""
        return class_name(self.region_classes, label - 1)

    def region_colour(self, label: int) -> Colour:
        """Return the colour of a region class; names that say nothing take spare colours by number."""
        name = self.region_name(label).casefold()
        for part, colour in _REGIONS:
            if part in name:
                return colour
        return _SPARE[(label - 1) % len(_SPARE)]
