"""Parameter names: as published (torchvision 0.3) and as today's torchvision spells them (spec §2.1)."""

from __future__ import annotations

import re

_TO_MODERN = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)
_TO_PUBLISHED = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.0\.(weight|bias)$"), r"\1.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.0\.0\.(weight|bias)$"), r"\1.\2"),
)
_MASK_PUBLISHED = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$")
_MASK_MODERN = re.compile(r"^roi_heads\.mask_head\.(\d+)\.0\.(weight|bias)$")


def modern_name(name: str) -> str:
    """Return today's name of a checkpoint entry; a modern name is returned as it is."""
    if match := _MASK_PUBLISHED.match(name):
        return f"roi_heads.mask_head.{int(match[1]) - 1}.0.{match[2]}"
    for pattern, replacement in _TO_MODERN:
        name = pattern.sub(replacement, name)
    return name


def published_name(name: str) -> str:
    """Return the published name of an entry; a published name is returned as it is."""
    if match := _MASK_MODERN.match(name):
        return f"roi_heads.mask_head.mask_fcn{int(match[1]) + 1}.{match[2]}"
    for pattern, replacement in _TO_PUBLISHED:
        name = pattern.sub(replacement, name)
    return name
