"""The entries of a weight file as arrays: names of today, float32, numbers that a network can hold."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from model_core.base.errors import WeightsError
from model_core.weights.names import modern_name

_LOG = logging.getLogger(__name__)

# Entries of a weight file by modern name.
Arrays = dict[str, npt.NDArray[Any]]

# What wrappers put before the names of the network that they hold.
_WRAPPERS = ("module.", "model.", "network.", "net.", "_orig_mod.")


def read_safetensors(file: str, data: bytes) -> tuple[Arrays, str]:
    """Return the entries of a safetensors file, see `read_entries`.

    Raises
    ------
    WeightsError
        If it is not complete, or its entries are no numbers of a network.
    """
    try:
        try:
            stored = load_safetensors(data)
        except (KeyError, TypeError, AttributeError):  # a kind of floats that NumPy does not have
            from safetensors.torch import load as load_tensors

            tensors = load_tensors(data)
            stored = {
                name: (t.float() if t.is_floating_point() else t).numpy() for name, t in tensors.items()
            }
    except SafetensorError as error:
        raise WeightsError(f"'{file}' is not a complete safetensors file.", details=str(error)) from error
    return read_entries(file, stored)


def read_entries(file: str, state: Mapping[str, npt.NDArray[Any]]) -> tuple[Arrays, str]:
    """Return the entries of a state dict as float32 by modern name, and a sentence on what was left out.

    Names that a wrapper put before those of the network (``module.`` of DataParallel, ``model.`` of a
    Lightning module, ``_orig_mod.`` of torch.compile, also nested) lose it; entries beside the wrapped ones,
    such as the counter of an averaged model, are left out. The arrays may be written to.

    Raises
    ------
    WeightsError
        If an entry holds NaN or infinite values, a negative variance, or no decimal numbers; names the entry.
    """
    entries, prefix = dict(state), ""
    while word := _wrapper(entries):
        entries = {name.removeprefix(word): t for name, t in entries.items() if name.startswith(word)}
        prefix += word
    note = ""
    if prefix:
        note = f"The names of its entries begin with '{prefix}', which was left out."
        if rest := [name for name in state if not name.startswith(prefix)]:
            note += f" {len(rest)} entries without it were not read ({rest[0]})."
        _LOG.warning("%s: %s", file, note)
    arrays = {}
    for name, array in entries.items():
        decimal = np.issubdtype(array.dtype, np.floating)
        check_kind(file, prefix + name, array.dtype.name, decimal=decimal)
        arrays[modern_name(name)] = plain = np.array(array, np.float32 if decimal else None, order="C")
        _check_numbers(file, prefix + name, plain)
    return arrays, note


def _wrapper(names: Collection[str]) -> str:
    """Return what a wrapper put before most of the names, or ""."""
    counts = {word: sum(name.startswith(word) for name in names) for word in _WRAPPERS}
    word = max(counts, key=counts.__getitem__)
    return word if 2 * counts[word] >= len(names) else ""


def check_kind(file: str, name: str, kind: str, *, decimal: bool) -> None:
    """Raise `WeightsError` where an entry holds no decimal numbers, such as those of a quantised network."""
    # The counters of BatchNorm are whole numbers.
    if not decimal and not name.endswith("num_batches_tracked"):
        raise WeightsError(
            f"{file} was not loaded: its entry '{name}' holds numbers of the kind {kind}, as of a network "
            "made smaller for other programs. Take the checkpoint before that."
        )


def _check_numbers(file: str, name: str, array: npt.NDArray[Any]) -> None:
    wrong = int((~np.isfinite(array)).sum())
    what = "NaN or infinite values"
    if not wrong and name.endswith("running_var"):
        wrong, what = int((array < 0).sum()), "negative variances"
    if wrong:
        raise WeightsError(
            f"{file} was not loaded: its entry '{name}' holds {what} ({wrong} of {array.size}), so that "
            "the network finds nothing. Its training diverged or the file is damaged: take an earlier "
            "checkpoint or another copy."
        )
