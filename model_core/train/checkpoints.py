"""Checkpoints of a running training: everything the next step depends on, replaced atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from model_core.base.errors import DataError
from model_core.weights.published import write_pickled

# Form of what `loop.Training` writes. The former also holds what a recipe's network labelled itself; those
# before had none.
FORM, FORMER = "ctmasknet training 2", "ctmasknet training 1"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; a stop in between leaves the old file.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    write_pickled(path, {"form": FORM, **state})


def read_checkpoint(path: Path, *, identity: str) -> dict[str, Any] | None:
    """Return the state, or None where there is no file. Runs no code from the file.

    Raises
    ------
    DataError
        If the file is damaged, of an older form, of a network that learned from labels of its own, or
        belongs to another recipe or other settings.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        form, owner = state.get("form"), state.get("identity")
        # Their pictures would count as never seen.
        self_trained = form == FORMER and bool(state["system"].get("labels"))
    except Exception as error:  # a damaged checkpoint can fail in any way
        raise DataError(
            f"The checkpoint {path.name} is damaged; delete it to start again.", details=str(error)
        ) from error
    if form not in (FORM, FORMER) or self_trained:
        raise DataError(
            f"The checkpoint {path.name} was written by another version of this program, whose training "
            "cannot go on in this one. Use another folder, or delete it to start again."
        )
    if owner != identity:
        raise DataError(
            f"The checkpoint {path.name} belongs to another recipe or other settings. "
            "Use another folder, or delete it to start again."
        )
    return state
