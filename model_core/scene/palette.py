"""Every colour that means something, as ``#rrggbb``: on screen, in pictures and in plots the same.

The colours are those of M. Okabe and K. Ito (jfly.uni-koeln.de/color), told apart in every common colour
vision. Image classes, regions and the reference mask share none, so that a colour means one thing. Colour is
never the only carrier: outlines, text or position say the same.
"""

from __future__ import annotations

from collections.abc import Sequence

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

# Shades of two hues, for maps from one over nothing to the other: on dark and on white.
PALE_SKY, PALE_ORANGE = "#9bd3f5", "#ffd27a"
DEEP_SKY, DEEP_ORANGE, PAPER = "#0b5d8f", "#8a4b00", "#f1f3f5"

REFERENCE = YELLOW
# Pneumonia of a kind that is not told: between the colours of the kinds.
PNEUMONIA = "#9B8AE6"
# What is of all regions or of no class: the bars of the strip, the bars of a histogram.
NEUTRAL = "#A9BACB"
# Analysed, but without a class.
NO_CLASS = "#5C6F83"
# Regions that were taken out of the evidence.
EXCLUDED = "#A9B4C0"
# Boxes that a person asked about: no finding of the network.
ASKED = "#FF8FAB"

# Cividis in equal steps: blue below, grey at, yellow above the middle.
CIVIDIS = (
    "#00224e",
    "#1a386f",
    "#434e6c",
    "#61656f",
    "#7d7c78",
    "#9b9476",
    "#bcae6c",
    "#dec958",
    "#fee838",
)

# Texts over CT.
WHITE, MUTED, LETTER, AMBER, INK = "#EEF3F8", "#B4C2D0", "#8CC8FF", "#E8B04A", "#1A1300"
SELECTED = "#FFFFFF"

# First match wins; "Other (non-COVID)" must meet "other" before "covid".
_REGIONS = (
    ("consolidation", VERMILION),
    ("ground", SKY),
    ("ggo", SKY),
    ("lesion", ORANGE),
    ("lung", "#A6E3D0"),
)
_IMAGES = (
    ("other", BLUE),
    ("non-covid", BLUE),
    ("pneumonia", BLUE),
    ("control", GREEN),
    ("normal", GREEN),
    ("healthy", GREEN),
    ("covid", PURPLE),
)
# "COVID-19 pneumonia" is COVID-19, "non-COVID pneumonia" is not.
_COVID, _NOT_COVID = "covid", ("non", "other")
# Tints of the same hues for names that say nothing.
_SPARE_REGIONS = ("#F5CE7E", "#A6D8F5", "#F0A878", "#D9D9D9")
_SPARE_IMAGES = ("#7FCFB9", "#7FB8D8", "#E5BCD3", "#BBBBBB")


def region_colour(name: str, index: int = 0) -> str:
    """Return the colour of a region class; names that say nothing take spare colours by index (from 0)."""
    return _by_name(name.casefold(), _REGIONS) or _SPARE_REGIONS[index % len(_SPARE_REGIONS)]


def image_colour(name: str, index: int = 0) -> str:
    """Return the colour of an image class; names that say nothing take spare colours by index (from 0)."""
    lowered = name.casefold()
    if _COVID in lowered and not any(word in lowered for word in _NOT_COVID):
        return PURPLE
    return _by_name(lowered, _IMAGES) or _SPARE_IMAGES[index % len(_SPARE_IMAGES)]


def class_name(names: Sequence[str], index: int) -> str:
    """Return the name of class ``index`` (from 0), or words that say which it is."""
    return names[index] if 0 <= index < len(names) else f"class {index + 1}"


def rgb(colour: str) -> tuple[int, int, int]:
    """Return a colour as red, green and blue, 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _by_name(lowered: str, table: tuple[tuple[str, str], ...]) -> str:
    return next((colour for part, colour in table if part in lowered), "")
