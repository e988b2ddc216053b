"""Training in several processes (``torchrun``): each takes its share of every batch, gradients are averaged.

Not `DistributedDataParallel`: the single-shot model skips stage 1 on slices without lesions and sets
gradients to None between its two steps, so ranks differ in which parameters have gradients at all. Here a
rank without a gradient counts as zero with no weight, and a parameter that no rank has a gradient for
keeps None.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter


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


def average_gradients(parameters: Iterable[Parameter], weight: float) -> float:
    """Replace gradients by their mean over ranks weighted by ``weight`` (say, images); return its sum.

    With a sum of 0 no rank had anything to learn from; gradients are then None everywhere.
    """
    if world_size() == 1:
        return weight
    owned = list(parameters)
    device = owned[0].device
    total = torch.tensor([weight], dtype=torch.float64, device=device)
    dist.all_reduce(total)
    there = torch.tensor([p.grad is not None for p in owned], dtype=torch.int32, device=device)
    dist.all_reduce(there, op=dist.ReduceOp.MAX)
    for parameter, anywhere in zip(owned, there.tolist(), strict=True):
        if not anywhere or not total.item():
            parameter.grad = None
            continue
        own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad * weight
        dist.all_reduce(own)
        parameter.grad = own / total.item()
    return float(total.item())


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
