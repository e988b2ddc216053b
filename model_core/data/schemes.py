"""What the values of a mask file mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import ByteArray
from model_core.base.errors import DataError, SettingsError

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

    def unknown(self, stored: ByteArray) -> list[int]:
        """Return the values of a mask file that the scheme does not know."""
        known = dict(self.values)
        return [int(value) for value in np.unique(stored) if int(value) not in known]

    def apply(self, stored: ByteArray, *, file: str) -> ByteArray:
        """Return the (H, W) mask in the values 0, 1, 2.

        Raises
        ------
        DataError
            If the file holds a value outside the scheme; it is never silently background.
        """
        if unknown := self.unknown(stored):
            raise DataError(
                f"The mask {file} holds the values {', '.join(map(str, unknown))}, which the scheme "
                f"'{self.name}' does not know (it has {', '.join(str(value) for value, _ in self.values)}). "
                "Say what the values mean with --mask-values.",
            )
        table = np.zeros(256, np.uint8)
        for value, label in self.values:
            table[value] = label
        return table[stored]


SHARED = MaskScheme("shared", ((0, BACKGROUND), (1, GGO), (2, CONSOLIDATION)))
# The segmentation set of the papers: 1 is clean lung, merged with the background.
PAPERS = MaskScheme("papers", ((0, BACKGROUND), (1, BACKGROUND), (2, GGO), (3, CONSOLIDATION)))


@dataclass(frozen=True)
class ReleasedScheme(MaskScheme):
    """The rule of the released training code: a class is the position of its value among those present.

    Values are first merged for the mask type (``ggo``: 3 becomes 0; ``merge``: 3 becomes 2); then "all unique
    values but the first two" are the classes, in order. So a slice without a single pixel of clean lung loses
    its first class, and one of consolidation alone calls it class 1, GGO. Kept to reproduce the papers' runs
    (spec §1.1); the explicit map is the default everywhere.
    """

    mask_type: str = "both"

    def apply(self, stored: ByteArray, *, file: str) -> ByteArray:
        """See `MaskScheme.apply`; the values returned are the labels the rule gives."""
        super().apply(stored, file=file)
        merged = stored.copy()
        merged[stored == _PAPER_CONSOLIDATION] = _MERGED_TO.get(self.mask_type, _PAPER_CONSOLIDATION)
        labels = np.zeros_like(stored)
        for label, value in enumerate(np.unique(merged)[2:], 1):
            labels[merged == value] = label
        return labels

    def differs(self, stored: ByteArray, *, file: str) -> bool:
        """Return whether the rule labels a mask otherwise than the explicit map does."""
        explicit = PAPERS.apply(stored, file=file)
        if self.mask_type == "merge":
            explicit = np.minimum(explicit, GGO)
        elif self.mask_type == "ggo":
            explicit = np.where(explicit == GGO, GGO, BACKGROUND).astype(np.uint8)
        return not np.array_equal(explicit, self.apply(stored, file=file))


_PAPER_CONSOLIDATION = 3
# What the released code makes of consolidation before it looks at the values; ``both`` keeps it.
_MERGED_TO = {"ggo": 0, "merge": 2}


def parse_mask_values(text: str, *, mask_type: str = "both") -> MaskScheme:
    """Return the scheme ``shared``, ``papers``, ``released``, or one written as ``1=ggo,2=consolidation``.

    ``mask_type`` matters to ``released`` alone, whose labels depend on it.

    Raises
    ------
    SettingsError
        If the text is none of these.
    """
    if text == "released":
        return ReleasedScheme("released", PAPERS.values, mask_type)
    for scheme in (SHARED, PAPERS):
        if text == scheme.name:
            return scheme
    values = {0: BACKGROUND}
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdecimal() or int(value) > 255 or name.lower() not in _NAMES:
            raise SettingsError(
                f"'{text}' is no scheme of mask values: use shared, papers, released, or value=name pairs "
                f"such as 1=ggo,2=consolidation (names: {', '.join(_NAMES)})."
            )
        values[int(value)] = _NAMES[name.lower()]
    return MaskScheme(text, tuple(sorted(values.items())))
