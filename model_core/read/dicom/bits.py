"""Keep the used bits of stored pixel values (PS3.5 8.1.1)."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from model_core.read.dicom.records import FileHeader


def used_bits(values: npt.NDArray[Any], header: FileHeader) -> npt.NDArray[Any]:
    """Return integers with the used bits only, moved to the bottom and their sign extended.

    Older files hide overlays in the other bits. Padding that needs them becomes 0, the smallest number.
    """
    above, below = header.unused_bits
    if not (above or below):
        return values
    # Shifting up drops the bits above, shifting down again extends the sign or fills zeros.
    used: npt.NDArray[Any] = (values << above) >> (above + below)
    if header.padding_words is not None:
        low, high = header.padding_words
        used[(values >= low) & (values <= high)] = 0
    return used
