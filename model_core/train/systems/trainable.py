"""Which parameters each training mode updates, by name as the released code chooses them (§5.5, §6.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from model_core.base.errors import SettingsError

SegmentationMode = Literal["full", "heads"]
ClassifierMode = Literal["s", "s_bn", "full"]
ImageRule = Literal["s", "s_backbone", "s_bn"]


def segmentation_moves(name: str, mode: SegmentationMode) -> bool:
    """Whether segmentation training moves this parameter; "heads" keeps the backbone (P1)."""
    if mode not in ("full", "heads"):
        raise SettingsError(f"Segmentation trains 'full' or 'heads', not '{mode}'.")
    return mode == "full" or not name.startswith("backbone.")


def classifier_moves(name: str, mode: ClassifierMode) -> bool:
    """Whether classifier training moves this parameter.

    "s_bn" goes by the letters ``bn`` in the name, as released: the BatchNorm of the shortcuts
    (``downsample.1``) is not among them. "full" lists every parameter, but no gradient reaches the RPN.
    """
    if mode not in ("s", "s_bn", "full"):
        raise SettingsError(f"A classifier trains 's', 's_bn' or 'full', not '{mode}'.")
    return mode == "full" or "new" in name or (mode == "s_bn" and "bn" in name)


def segmentation_stage_moves(name: str) -> bool:
    """Stage 1 of the single-shot model: everything but module S and the class branch."""
    return "s2" not in name


def image_stage_moves(name: str, rule: ImageRule) -> bool:
    """Stage 2 of the single-shot model; rule 2 ("s_backbone") gave all reported results."""
    if rule not in ("s", "s_backbone", "s_bn"):
        raise SettingsError(f"The image loss moves 's', 's_backbone' or 's_bn', not '{rule}'.")
    if name.startswith("s2new."):
        return True
    if rule == "s" or not name.startswith("backbone."):
        return False
    return rule == "s_backbone" or "bn" in name


def forget_gradients(network: nn.Module, moves: Callable[[str], bool]) -> None:
    """Drop the gradients of what must not move: None, because a zero would still decay (§6.3)."""
    for name, parameter in network.named_parameters():
        if not moves(name):
            parameter.grad = None
