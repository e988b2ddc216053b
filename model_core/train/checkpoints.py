"""Checkpoints of a running training: everything the next step depends on, replaced atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from model_core.base.errors import DataError
from model_core.weights.published import write_pickled


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; a stop in between leaves the old file.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    write_pickled(path, state)


def read_checkpoint(path: Path, *, recipe: str) -> dict[str, Any] | None:
    """Return the state, or None where there is no file. Runs no code from the file.

    Raises
    ------
    DataError
        If the file is damaged or belongs to another recipe.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        owner = state["recipe"]
    except Exception as error:  # a damaged checkpoint can fail in any way
        raise DataError(
            f"The checkpoint {path.name} is damaged; delete it to start again.", details=str(error)
        ) from error
    if owner != recipe:
        raise DataError(
            f"The checkpoint {path.name} belongs to another recipe or other settings. "
            "Use another work folder, or delete it to start again."
        )
    return state
