"""The palette of everything drawn over CT: Okabe-Ito, told apart in every common colour vision.

Colour is never the only carrier: outlines, text or position say the same.
"""

from __future__ import annotations

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

REFERENCE = YELLOW
LESION = ORANGE
_SPARE = (PURPLE, VERMILION, BLUE, YELLOW)

# First match wins; "Other (non-COVID)" must meet "other" before "covid".
_REGIONS = (("consolidation", SKY), ("lung", GREEN), ("ground", ORANGE), ("ggo", ORANGE), ("lesion", ORANGE))
_IMAGES = (
    ("other", SKY),
    ("non-covid", SKY),
    ("pneumonia", SKY),
    ("control", GREEN),
    ("normal", GREEN),
    ("healthy", GREEN),
    ("covid", ORANGE),
)

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


def region_colour(name: str, index: int = 0) -> str:
    """Return the colour (``#rrggbb``) of a region class; unknown names take spare colours by index."""
    return _by_name(name, index, _REGIONS)


def image_colour(name: str, index: int = 0) -> str:
    """Return the colour (``#rrggbb``) of an image class; unknown names take spare colours by index."""
    return _by_name(name, index, _IMAGES)


def class_name(names: tuple[str, ...], index: int) -> str:
    """Return the name of class ``index`` (from 0), or words that say which it is."""
    return names[index] if 0 <= index < len(names) else f"class {index + 1}"


def _by_name(name: str, index: int, table: tuple[tuple[str, str], ...]) -> str:
    lowered = name.casefold()
    for part, colour in table:
        if part in lowered:
            return colour
    return _SPARE[index % len(_SPARE)]
