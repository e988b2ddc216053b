"""Training in several processes (``torchrun``): each takes its share of every batch.

Gradients are averaged by `DistributedDataParallel`. Two things of the papers' training it does not expect: a
rank may have no slice with lesions, and the single-shot model does two steps on one network. So a network
is replicated with a forward that runs any loss on it, and a rank without a loss takes part with a zero.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Compute = Callable[[], Tensor]


def join(backend: str | None = None) -> tuple[int, int]:
    """Join the processes that ``torchrun`` started; return (rank, world size), (0, 1) without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group(backend or ("nccl" if torch.cuda.is_available() else "gloo"))
    return dist.get_rank(), dist.get_world_size()


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


class _AnyLoss(nn.Module):
    """Gives `DistributedDataParallel` a forward to watch: any loss computed on the network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, compute: Compute) -> Tensor:
        """Return ``compute()``."""
        return compute()


class Replicas:
    """A network on every rank whose gradients are averaged.

    Making it gives every rank the weights and buffers of rank 0 (all ranks take part). Parameters that need
    a gradient must be chosen before.

    Parameters
    ----------
    reaches_all:
        Every loss reaches every trained parameter. Else those that no rank's loss reaches keep the gradient
        None, which takes a walk through the graph in every step.
    """

    def __init__(self, network: nn.Module, *, reaches_all: bool = False) -> None:
        self._network = network
        self._shared: DistributedDataParallel | None = None
        if world_size() > 1:
            with warnings.catch_warnings():
                # The new name of broadcast_buffers is not in every torch we run on.
                warnings.simplefilter("ignore", FutureWarning)
                # BatchNorm statistics are each rank's own within an epoch, as documented.
                self._shared = DistributedDataParallel(
                    _AnyLoss(network), broadcast_buffers=False, find_unused_parameters=not reaches_all
                )

    def accumulate(
        self, parts: Sequence[Compute], weight: float, backward: Callable[[Tensor], None]
    ) -> float:
        """Add up the gradients of the sum of ``parts``, averaged over ranks by ``weight`` (say, images).

        Returns the sum of the weights; with 0 no rank has anything to learn from and nothing is computed.
        """
        if self._shared is None:
            for compute in parts:
                backward(compute())
            return weight
        total = torch.tensor([weight], dtype=torch.float64, device=next(self._network.parameters()).device)
        dist.all_reduce(total)
        if not total.item():
            return 0.0
        # DistributedDataParallel takes the plain mean over ranks.
        share = weight * world_size() / total.item()
        todo = list(parts) or [self._nothing]
        for number, compute in enumerate(todo, 1):
            last = number == len(todo)
            with contextlib.nullcontext() if last else self._shared.no_sync():
                backward(self._shared(compute) * share)
        return float(total.item())

    def _nothing(self) -> Tensor:
        """Return a zero that every trained parameter has a part in."""
        used = [p.flatten()[:1].sum() for p in self._network.parameters() if p.requires_grad]
        return torch.stack(used).sum() * 0.0


def average(value: float, weight: float, device: torch.device | str = "cpu") -> float:
    """Return the mean of a number over ranks, weighted; nan where no rank has weight."""
    pair = torch.tensor([value * weight if weight else 0.0, weight], dtype=torch.float64, device=device)
    if world_size() > 1:
        dist.all_reduce(pair)
    total, weights = pair.tolist()
    return total / weights if weights else float("nan")


def from_first(value: Any) -> Any:
    """Return what rank 0 passed (the others' argument is not looked at)."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: Any) -> list[Any]:
    """Return what every rank passed, by rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def local_device(device: str) -> str:
    """Return the GPU of this process: ``cuda`` means the one of its local rank under ``torchrun``."""
    if device != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    own = f"cuda:{int(os.environ['LOCAL_RANK'])}"
    torch.cuda.set_device(own)
    return own


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every rank the tensors of rank 0."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)
