"""Fields for numbers that mean the same in every language of the system: 0.5 and 0,5, in any digits."""

from __future__ import annotations

import re
import unicodedata

from PySide6.QtCore import QLocale
from PySide6.QtGui import QValidator
from PySide6.QtWidgets import QDoubleSpinBox, QSpinBox, QWidget

# Decimal separators: comma, Arabic, and the full-width forms of both; minus signs; marks of direction.
_POINTS, _MINUSES = ",\u066b\uff0e\uff0c", "\u2212\u2010\u2011\u2013\ufe63\uff0d"
_INVISIBLE = "\u200e\u200f\u061c\u2066\u2067\u2068\u2069"
_NUMBER = re.compile(r"-?\d*(?:\.\d*)?")


def plain_number(text: str) -> str:
    """Return a typed number in ASCII digits with a point: ``0,5``, ``٠٫٥`` and ``0.5`` are one.

    There are no group separators: what is typed into these fields is short, and one point or comma in it is
    always the decimal one. Anything else is left as it is.
    """
    plain = []
    for character in text:
        digit = unicodedata.decimal(character, None)
        if digit is not None:
            plain.append(str(digit))
        elif character in _POINTS:
            plain.append(".")
        elif character in _MINUSES:
            plain.append("-")
        elif character not in _INVISIBLE and not character.isspace():
            plain.append(character)
    return "".join(plain)


def _judged(text: str, *, low: float, high: float) -> QValidator.State:
    """Tell whether a plain number is complete, on its way to one, or none."""
    if not _NUMBER.fullmatch(text) or (text.startswith("-") and low >= 0):
        return QValidator.State.Invalid
    try:
        inside = low <= float(text) <= high
    except ValueError:
        return QValidator.State.Intermediate
    return QValidator.State.Acceptable if inside else QValidator.State.Intermediate


class NumberBox(QDoubleSpinBox):
    """A number with decimals, shown with a point as everywhere in the window, typed as the user does."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setLocale(QLocale.c())

    def _typed(self, text: str) -> str:
        return plain_number(text.removeprefix(self.prefix()).removesuffix(self.suffix()))

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Accept points, commas and the digits of every script."""
        special = self.specialValueText()
        if text and special.startswith(text):
            done = text == special
            return QValidator.State.Acceptable if done else QValidator.State.Intermediate, text, position
        state = _judged(self._typed(text), low=self.minimum(), high=self.maximum())
        return state, text, position

    def valueFromText(self, text: str) -> float:
        """Return the number that was typed; what is none leaves the value as it is."""
        if text == self.specialValueText():
            return self.minimum()
        try:
            return round(float(self._typed(text)), self.decimals())
        except ValueError:
            return self.value()


class WholeNumberBox(QSpinBox):
    """A whole number, typed in the digits of any script."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setLocale(QLocale.c())

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Accept whole numbers; a decimal separator is refused, not left out."""
        typed = plain_number(text)
        if "." in typed:
            return QValidator.State.Invalid, text, position
        return _judged(typed, low=self.minimum(), high=self.maximum()), text, position

    def valueFromText(self, text: str) -> int:
        """Return the number that was typed; what is none leaves the value as it is."""
        try:
            return int(plain_number(text))
        except ValueError:
            return self.value()
