"""Finds the files of the top-level folder ``resources/`` in a checkout and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def resource(*parts: str) -> Path:
    """Return the path of ``resources/<parts...>``, which need not exist.

    An installed wheel holds the folder inside ``model_core``; a checkout (and an editable
    install) holds it beside ``model_core``.
    """
    inside = _PACKAGE / "resources"
    root = inside if inside.is_dir() else _PACKAGE.parent / "resources"
    return root.joinpath(*parts)
