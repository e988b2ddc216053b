"""Pictures upright: the turn that EXIF tells (tag Orientation), for the viewer and for data sets."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable

from PIL import ExifTags, Image, ImageOps

# What damaged EXIF was seen to raise; the picture itself may be sound.
_DAMAGED = (SyntaxError, struct.error, ValueError, TypeError, KeyError, IndexError, OverflowError)
# Orientations that swap width and height.
_ON_ITS_SIDE = (5, 6, 7, 8)


def upright(image: Image.Image) -> Image.Image:
    """Return a picture as every viewer shows it (Pillow's ``exif_transpose``); damaged EXIF says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ImageOps.exif_transpose(image)
        except _DAMAGED:
            return image


def turned(image: Image.Image) -> bool:
    """Whether `upright` turns or mirrors a picture."""
    return _orientation(image.getexif) in range(2, 9)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture as `upright` returns it, without decoding it."""
    width, height = image.size
    # A PNG's own would decode the picture, to look for EXIF behind it.
    orientation = _orientation(lambda: Image.Image.getexif(image))
    return (height, width) if orientation in _ON_ITS_SIDE else (width, height)


def _orientation(read: Callable[[], Image.Exif]) -> int | None:
    """Return the orientation 1..8 (EXIF 2.32, tag 274); None where there is none or EXIF is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read().get(ExifTags.Base.Orientation)
        except _DAMAGED:
            return None
