"""What the values of a mask file mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_core.errors import DataError, SettingsError
from model_core.types import ByteArray

BACKGROUND, GGO, CONSOLIDATION = 0, 1, 2

_NAMES = {
    "background": BACKGROUND,
    "lung": BACKGROUND,
    "ggo": GGO,
    "lesion": GGO,
    "consolidation": CONSOLIDATION,
}


@dataclass(frozen=True)
class MaskScheme:
    """An explicit map from the values of a mask file to 0 background, 1 GGO or lesion, 2 consolidation."""

    name: str
    values: tuple[tuple[int, int], ...]

    def apply(self, stored: ByteArray, *, file: str) -> ByteArray:
        """Return the (H, W) mask in the values 0, 1, 2.

        Raises
        ------
        DataError
            If the file holds a value outside the scheme; it is never silently background.
        """
        known = dict(self.values)
        found = np.unique(stored)
        if unknown := [int(value) for value in found if int(value) not in known]:
            raise DataError(
                f"The mask {file} holds the values {', '.join(map(str, unknown))}, which the scheme "
                f"'{self.name}' does not know (it has {', '.join(str(v) for v in sorted(known))}). "
                "Say what the values mean with --mask-values.",
            )
        table = np.zeros(256, np.uint8)
        for value, label in self.values:
            table[value] = label
        return table[stored]


SHARED = MaskScheme("shared", ((0, BACKGROUND), (1, GGO), (2, CONSOLIDATION)))
# The segmentation set of the papers: 1 is clean lung, merged with the background.
PAPERS = MaskScheme("papers", ((0, BACKGROUND), (1, BACKGROUND), (2, GGO), (3, CONSOLIDATION)))


def parse_mask_values(text: str) -> MaskScheme:
    """Return the scheme ``shared``, ``papers``, or one written as ``1=ggo,2=consolidation``.

    Raises
    ------
    SettingsError
        If the text is none of these.
    """
    for scheme in (SHARED, PAPERS):
        if text == scheme.name:
            return scheme
    values = {0: BACKGROUND}
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdecimal() or int(value) > 255 or name.lower() not in _NAMES:
            raise SettingsError(
                f"'{text}' is no scheme of mask values: use shared, papers, or value=name pairs such as "
                f"1=ggo,2=consolidation (names: {', '.join(_NAMES)})."
            )
        values[int(value)] = _NAMES[name.lower()]
    return MaskScheme(text, tuple(sorted(values.items())))
