"""Checkpoints as the papers' code writes them (spec §2.2): read without running anything, and written back.

The files are pickles. They are read by an unpickler that knows tensors, plain containers and a stub for
the pickled ``AnchorGenerator``, and refuses every other name before it is looked up.
"""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from model_core.errors import WeightsError
from model_core.networks import modern_name, published_name

ANCHOR_CLASS = "AnchorGenerator"

_ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.storage", "UntypedStorage"),
    ("torch.serialization", "_get_layout"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("types", "SimpleNamespace"),
}


class AnchorStub:
    """Stands in for any pickled ``AnchorGenerator``: holds its attributes, computes nothing."""

    # Files older than the zip format carry the class's source text; torch compares it only if this is set.
    dump_patches = False

    def __setstate__(self, state: Any) -> None:
        values = state if isinstance(state, dict) else {}
        self.sizes = values.get("sizes", ())
        self.aspect_ratios = values.get("aspect_ratios", ())


class _Unpickler(pickle.Unpickler):
    """Resolves only the names above, the classes of tensor storages, and the anchor stub."""

    def find_class(self, module: str, name: str) -> Any:
        if name == ANCHOR_CLASS:
            return AnchorStub
        storage = module in ("torch", "torch.cuda") and name.endswith("Storage") and name.isidentifier()
        if not storage and (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which is not allowed")
        return super().find_class(module, name)


class _RestrictedPickle:
    """What `torch.load` needs of the pickle module."""

    __name__ = "restricted_pickle"
    Unpickler = _Unpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        """Unpickle one object under the restrictions."""
        return _Unpickler(file, **options).load()


@dataclass(frozen=True, eq=False)
class PublishedCheckpoint:
    """A released checkpoint: float32 tensors by modern name, anchors of the first level, training state.

    ``optimizer_state`` is None where the file has none (a bare state dict).
    """

    tensors: dict[str, Tensor]
    anchor_sizes: tuple[int, ...] | None = None
    aspect_ratios: tuple[float, ...] | None = None
    epoch: int | None = None
    model_name: str = ""
    lrate: float | None = None
    optimizer_state: dict[str, Any] | None = field(default=None, repr=False)


def read_published(path: Path) -> PublishedCheckpoint:
    """Read a released checkpoint or a bare state dict, of zip or older format, tensors on the CPU.

    Raises
    ------
    WeightsError
        If the file is truncated, holds anything but tensors and plain values, or no state dict.
    """
    try:
        with warnings.catch_warnings():
            # Old files carry the source text of the anchor class, which is not ours: torch says so.
            warnings.simplefilter("ignore")
            content = torch.load(
                path, map_location="cpu", weights_only=False, pickle_module=_RestrictedPickle
            )
    except OSError as error:
        raise WeightsError(f"The weight file {path.name} cannot be read.", details=str(error)) from error
    except pickle.UnpicklingError as error:
        if "not allowed" in str(error):
            raise WeightsError(
                f"{path.name} holds more than weights: it asks to run code. It was not loaded.",
                details=str(error),
            ) from error
        raise _damaged(path, error) from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path.name} holds no checkpoint: found {type(content).__name__}, not a dictionary."
        )
    state = content.get("model_weights", content.get("model", content.get("state_dict", content)))
    if not isinstance(state, Mapping) or not state or not all(_is_entry(*item) for item in state.items()):
        raise WeightsError(
            f"{path.name} holds no state dict of a network (entry 'model_weights', or tensors by name)."
        )
    sizes, ratios = _anchors(content.get("anchor_generator"))
    return PublishedCheckpoint(
        tensors={modern_name(name): _plain(tensor) for name, tensor in state.items()},
        anchor_sizes=sizes,
        aspect_ratios=ratios,
        epoch=_epoch(content.get("epoch")),
        model_name=str(content.get("model_name") or ""),
        lrate=float(content["lrate"]) if isinstance(content.get("lrate"), int | float) else None,
        optimizer_state=content.get("optimizer_state"),
    )


def write_published(path: Path, checkpoint: PublishedCheckpoint, *, levels: int = 5) -> None:
    """Write a checkpoint in the released form: published names, the six keys, anchors as attributes.

    Training goes on from it as far as the released code can (weights, optimizer, epoch); random states and
    the best loss are not in this form.

    Raises
    ------
    WeightsError
        If it cannot be written.
    """
    anchors = SimpleNamespace(
        sizes=(checkpoint.anchor_sizes or (),) * levels,
        aspect_ratios=(checkpoint.aspect_ratios or (),) * levels,
    )
    content = {
        "epoch": str(checkpoint.epoch if checkpoint.epoch is not None else 0),
        "model_name": checkpoint.model_name or None,
        "model_weights": OrderedDict((published_name(k), v) for k, v in checkpoint.tensors.items()),
        "optimizer_state": checkpoint.optimizer_state or {},
        "lrate": checkpoint.lrate if checkpoint.lrate is not None else 0.0,
        "anchor_generator": anchors,
    }
    temporary = path.with_name(path.name + ".part")
    try:
        torch.save(content, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise WeightsError(f"{path.name} cannot be written.", details=str(error)) from error


def _damaged(path: Path, error: BaseException) -> WeightsError:
    return WeightsError(
        f"{path.name} is damaged or no weight file (safetensors, or a checkpoint of the papers' code).",
        details=f"{type(error).__name__}: {error}",
    )


def _is_entry(name: Any, tensor: Any) -> bool:
    return isinstance(name, str) and isinstance(tensor, Tensor)


def _plain(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    return detached.float() if detached.is_floating_point() else detached


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


def _epoch(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None
