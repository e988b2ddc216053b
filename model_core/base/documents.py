"""From JSON values to frozen dataclasses, every field checked; standard library only."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from model_core.base.errors import SettingsError

D = TypeVar("D")

_WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def from_values(cls: type[D], values: Any) -> D:
    """Make a dataclass, and those in it, from what `json.loads` returns; lists become tuples.

    Raises
    ------
    SettingsError
        If a field is missing, unknown, of another type or outside what is allowed: names it, says what it
        holds and what it may hold.
    """
    return _build(cls, values, "")


def _build(cls: type[D], values: Any, where: str) -> D:
    """Make a (nested) dataclass from JSON values; ``where`` is the field that holds it, "" for the whole.

    Raises
    ------
    SettingsError
        Naming the field, what it holds and what it may hold.
    """
    if not isinstance(values, dict):
        raise SettingsError(f"{where or 'it'} is {_quoted(values)}, not an object with fields.")
    inside = f"{where}." if where else ""
    hints = get_type_hints(cls)
    known = {one.name: one for one in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := [key for key in values if key not in known]:
        raise SettingsError(f"the field {inside}{unknown[0]} is unknown; known are {', '.join(known)}.")
    nothing = dataclasses.MISSING
    for key, one in known.items():
        if key not in values and one.default is nothing and one.default_factory is nothing:
            raise SettingsError(f"the field {inside}{key} is missing.")
    fields = {key: _value(hints[key], value, f"{inside}{key}") for key, value in values.items()}
    try:
        return cls(**fields)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.message}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type of its field: lists become tuples, objects their dataclass."""
    kinds = get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        _check(value in kinds, where, value, " or ".join(map(_quoted, kinds)))
    elif get_origin(hint) is tuple:
        _check(isinstance(value, list), where, value, "a list")
        inner = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        _check(len(value) == len(inner), where, value, f"a list of {len(inner)}")
        return tuple(_value(kind, one, where) for kind, one in zip(inner, value, strict=True))
    elif get_origin(hint) is dict and kinds[1] is not Any:
        _check(isinstance(value, dict), where, value, "an object")
        return {key: _value(kinds[1], one, f"{where}.{key}") for key, one in value.items()}
    elif get_origin(hint) is types.UnionType:
        return None if value is None else _value(kinds[0], value, where)
    elif hint in _WORDS:
        # Whole numbers are numbers, too; true and false are not.
        allowed = (int, float) if hint is float else (hint,)
        fits = isinstance(value, allowed) and isinstance(value, bool) == (hint is bool)
        finite = isinstance(value, str) or (fits and abs(value) <= sys.float_info.max)
        _check(fits and finite, where, value, _WORDS[hint])
    else:
        _check(isinstance(value, dict), where, value, "an object")
    return value


def _check(condition: bool, where: str, value: Any, allowed: str) -> None:
    if not condition:
        raise SettingsError(f"{where} is {_quoted(value)}; it must be {allowed}.")


def _quoted(value: Any) -> str:
    """Return a value as JSON has it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
