"""Checkpoints as the papers' code writes them (spec §2.2): read without running anything, and written back.

The files are pickles. Zip files are read by torch's weights-only unpickler, which builds tensors and plain
containers, with one class allowed besides: a stub for the pickled ``AnchorGenerator``. That unpickler does
not know the module records of files older than the zip format, so those have one of their own, as narrow.
Other containers that `torch.load` would take (TorchScript, the oldest tar format) are refused beforehand.
"""

from __future__ import annotations

import functools
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy.typing as npt
import torch
from torch import Tensor

from model_core.base.errors import ExportError, WeightsError
from model_core.base.files import atomic_path
from model_core.weights.entries import check_kind, read_entries
from model_core.weights.names import published_name

ANCHOR_CLASS = "AnchorGenerator"
_ZIP_MAGIC = b"PK\x03\x04"
# Pickle protocol 2 of torch's magic number: how files older than the zip format begin.
_OLD_MAGIC = b"\x80\x02\x8a\x0a"
# Where training code keeps the state dict in a checkpoint, the released code first.
_STATE_KEYS = ("model_weights", "model_state_dict", "state_dict", "model", "network", "net")


class AnchorStub:
    """Stands in for any pickled ``AnchorGenerator``: holds its attributes, computes nothing."""

    # Files older than the zip format carry the class's source text; torch compares it only if this is set.
    dump_patches = False

    def __setstate__(self, state: Any) -> None:
        values = state if isinstance(state, dict) else {}
        self.sizes = values.get("sizes", ())
        self.aspect_ratios = values.get("aspect_ratios", ())


@dataclass(frozen=True, eq=False)
class PublishedCheckpoint:
    """A released checkpoint: float32 tensors by modern name, anchors of the first level, training state.

    ``optimizer_state`` is None where the file has none (a bare state dict). ``note`` says what of the names
    was left out, see `entries.read_entries`.
    """

    tensors: dict[str, Tensor]
    anchor_sizes: tuple[int, ...] | None = None
    aspect_ratios: tuple[float, ...] | None = None
    epoch: int | None = None
    model_name: str = ""
    lrate: float | None = None
    optimizer_state: dict[str, Any] | None = field(default=None, repr=False)
    note: str = ""


def read_published(path: Path) -> PublishedCheckpoint:
    """Read a released checkpoint or a bare state dict, of zip or older format, tensors on the CPU.

    Raises
    ------
    WeightsError
        If the file is truncated, holds anything but tensors and plain values, no state dict, or values that
        are no numbers.
    """
    try:
        with warnings.catch_warnings():
            # Old files carry the source text of the anchor class, which is not ours: torch says so.
            warnings.simplefilter("ignore")
            content = _load(path)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"The weight file '{path.name}' cannot be read.", details=str(error)) from error
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error) or "global" in str(error):
            raise WeightsError(
                f"'{path.name}' holds more than weights: it asks to run code. It was not loaded.",
                details=str(error),
            ) from error
        raise _damaged(path, error) from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"'{path.name}' holds no checkpoint: found {type(content).__name__}, not a dictionary."
        )
    state = next((content[key] for key in _STATE_KEYS if key in content), content)
    if not isinstance(state, Mapping) or not state or not all(_is_entry(*item) for item in state.items()):
        raise WeightsError(
            f"'{path.name}' holds no state dict of a network (entry 'model_weights', or tensors by name)."
        )
    arrays, note = read_entries(path.name, _arrays(path.name, state))
    sizes, ratios = _anchors(content.get("anchor_generator"))
    return PublishedCheckpoint(
        tensors=as_tensors(arrays),
        anchor_sizes=sizes,
        aspect_ratios=ratios,
        epoch=_epoch(content),
        model_name=str(content.get("model_name") or ""),
        lrate=float(content["lrate"]) if isinstance(content.get("lrate"), int | float) else None,
        optimizer_state=content.get("optimizer_state"),
        note=note,
    )


# Sets stand in the state of every pickled module; our own exports hold the anchors in a namespace.
_PLAIN: list[Any] = [set, (set, "__builtin__.set"), SimpleNamespace]
_OLD_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}
_OLD_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")


class _OldUnpickler(pickle.Unpickler):
    """Resolves the names above, the classes of tensor storages (in torch's own subclass), and the stub."""

    def find_class(self, module: str, name: str) -> Any:
        if name == ANCHOR_CLASS:
            return type(ANCHOR_CLASS, (AnchorStub,), {})
        if module == "torch._utils" and name in _OLD_REBUILD:
            # A pickle can set attributes of what it is given, so it is given a throw-away.
            return functools.partial(getattr(torch._utils, name))
        if (module, name) not in _OLD_ALLOWED:
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {module}.{name}")
        return _OLD_ALLOWED[module, name]


class _OldPickle:
    """What `torch.load` needs of a pickle module."""

    __name__ = "old_pickle"
    Unpickler = _OldUnpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """Unpickle one object under the restrictions."""
        return _OldUnpickler(file, **options).load()


def _load(path: Path) -> Any:
    """Read a zip or an older checkpoint; refuse other containers before torch sees them."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start == _ZIP_MAGIC:
        allowed = [(AnchorStub, name) for name in _anchor_classes(path)]
        with torch.serialization.safe_globals([*allowed, *_PLAIN]):
            return torch.load(path, map_location="cpu", weights_only=True)
    if start == _OLD_MAGIC:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_OldPickle)
    raise _damaged(path, ValueError("neither a zip nor an old checkpoint"))


def _anchor_classes(path: Path) -> set[str]:
    """Return the full names of the ``AnchorGenerator`` classes that a zip mentions; reads opcodes only."""
    found = set()
    for stream in _zipped_pickle(path):
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL" and isinstance(argument, str):
                module, _, name = argument.partition(" ")
                if name == ANCHOR_CLASS:
                    found.add(f"{module}.{name}")
    return found


def _zipped_pickle(path: Path) -> Iterator[BinaryIO]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        scripted = any(m.filename.endswith("constants.pkl") or "/code/" in m.filename for m in members)
        if scripted:
            raise WeightsError(
                f"'{path.name}' is a TorchScript program, not a checkpoint. It was not loaded."
            )
        packed = any(m.compress_type != zipfile.ZIP_STORED for m in members)
        if packed or sum(m.file_size for m in members) > path.stat().st_size:
            raise _damaged(path, ValueError("compressed or overlapping members"))
        pickles = [m for m in members if m.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _damaged(path, ValueError(f"{len(pickles)} members data.pkl"))
        with archive.open(pickles[0]) as stream:
            yield stream  # type: ignore[misc]


def write_published(
    path: Path, checkpoint: PublishedCheckpoint, *, levels: int = 5, single_shot: bool = False
) -> None:
    """Write a checkpoint in the released form: published names, the six keys, anchors as attributes.

    Single-shot checkpoints count their epochs from 0 and have no model name.

    Training goes on from it as far as the released code can (weights, optimizer, epoch); random states and
    the best loss are not in this form.

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    anchors = SimpleNamespace(
        sizes=(checkpoint.anchor_sizes or (),) * levels,
        aspect_ratios=(checkpoint.aspect_ratios or (),) * levels,
    )
    epoch = checkpoint.epoch or 0
    content = {
        "epoch": str(max(0, epoch - 1) if single_shot else epoch),
        **({} if single_shot else {"model_name": checkpoint.model_name or None}),
        "model_weights": OrderedDict((published_name(k), v) for k, v in checkpoint.tensors.items()),
        "optimizer_state": checkpoint.optimizer_state or {},
        "lrate": checkpoint.lrate if checkpoint.lrate is not None else 0.0,
        "anchor_generator": anchors,
    }
    write_pickled(path, content)


def write_pickled(path: Path, content: Mapping[str, Any]) -> None:
    """Write what PyTorch pickles, in place of a file that may be there.

    Raises
    ------
    ExportError
        If it cannot be written; a file that was there is as it was.
    """
    with atomic_path(path, overwrite=True) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # the library's word for a full disk
            raise ExportError(f"'{path.name}' cannot be written.", details=str(error)) from error


def _damaged(path: Path, error: BaseException) -> WeightsError:
    return WeightsError(
        f"'{path.name}' is damaged or no weight file (safetensors, or a checkpoint of the papers' code).",
        details=f"{type(error).__name__}: {error}",
    )


def _is_entry(name: Any, tensor: Any) -> bool:
    return isinstance(name, str) and isinstance(tensor, Tensor)


def as_tensors(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
    """Return arrays as tensors of the same memory."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _arrays(file: str, state: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: _plain(file, name, tensor) for name, tensor in state.items()}


def _plain(file: str, name: str, tensor: Tensor) -> npt.NDArray[Any]:
    if tensor.layout != torch.strided:
        raise WeightsError(f"The checkpoint holds a tensor of the layout {tensor.layout}. It was not loaded.")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        # Overlapping strides: a small file would fill the memory.
        raise WeightsError("The checkpoint holds a tensor larger than its data. It was not loaded.")
    if tensor.is_quantized:
        check_kind(file, name, str(tensor.dtype).removeprefix("torch."), decimal=False)
    detached = tensor.detach()
    array: npt.NDArray[Any] = (detached.float() if tensor.is_floating_point() else detached).numpy()
    return array


def _anchors(generator: Any) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None]:
    """Return the first level's sizes and ratios: files hold five equal tuples, or flat ones when older."""
    if isinstance(generator, Mapping):
        sizes, ratios = generator.get("sizes"), generator.get("aspect_ratios")
    else:
        sizes, ratios = getattr(generator, "sizes", None), getattr(generator, "aspect_ratios", None)
    return _first_level(sizes), _first_level(ratios)


def _first_level(values: Any) -> tuple[Any, ...] | None:
    if not isinstance(values, list | tuple) or not values:
        return None
    first = values[0] if isinstance(values[0], list | tuple) else values
    return tuple(first) if first and all(isinstance(v, int | float) for v in first) else None


def _epoch(content: Mapping[str, Any]) -> int | None:
    """Return the number of epochs done; single-shot files (no model name) count them from 0."""
    try:
        value = int(content["epoch"])
    except (KeyError, TypeError, ValueError):
        return None
    return value if "model_name" in content else value + 1
