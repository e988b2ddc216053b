"""Read the architecture off the entries of a checkpoint: names and shapes are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model_core.base.errors import SettingsError, WeightsError
from model_core.base.settings import (
    PAPER_ANCHOR_SIZES,
    PAPER_ASPECT_RATIOS,
    Architecture,
    Backbone,
    ModelKind,
)
from model_core.weights.names import modern_name

# Blocks in layer1..layer4.
_BLOCKS: dict[tuple[int, ...], Backbone] = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet34"}


def recognise(
    shapes: Mapping[str, Sequence[int]],
    *,
    anchor_sizes: tuple[int, ...] = PAPER_ANCHOR_SIZES,
    aspect_ratios: tuple[float, ...] = PAPER_ASPECT_RATIOS,
) -> Architecture:
    """Return the architecture whose state dict has these shapes (published or modern names).

    Anchors leave no trace but their number, so they come from the checkpoint or are the papers'. Nor does
    the pooled fifth RPN level of the first ResNet50 release (Oct 2020, the one behind the numbers of P1);
    its files are told by its frozen BatchNorm, which has no counters, or by a classifier that still carries
    the mask branch (§2, §2.2). A file of that release with neither trace is taken for the final one.

    Raises
    ------
    WeightsError
        If the entries are not a network of the papers, or the anchors do not fit their number.
    """
    sizes = {modern_name(name): tuple(shape) for name, shape in shapes.items()}
    try:
        return _recognise(sizes, anchor_sizes, aspect_ratios)
    except (KeyError, IndexError, ValueError, SettingsError) as error:
        raise WeightsError(
            "The entries of this file do not fit together as a network of the papers.",
            details=f"{type(error).__name__}: {error}",
        ) from error


def _recognise(
    sizes: Mapping[str, tuple[int, ...]], anchor_sizes: tuple[int, ...], aspect_ratios: tuple[float, ...]
) -> Architecture:
    try:
        region_classes = sizes["roi_heads.box_predictor.cls_score.weight"][0]
        anchors = sizes["rpn.head.cls_logits.weight"][0]
    except KeyError as error:
        raise WeightsError(
            "This file holds no Mask R-CNN of the papers: it lacks the RPN or the box branch.",
            details=f"missing entry {error}",
        ) from error
    if anchors != len(anchor_sizes) * len(aspect_ratios):
        raise WeightsError(
            f"The network has {anchors} anchors per location, but {len(anchor_sizes)} sizes and "
            f"{len(aspect_ratios)} aspect ratios are given."
        )
    backbone, truncation = _backbone(sizes)
    has_masks = "roi_heads.mask_predictor.mask_fcn_logits.weight" in sizes
    kind: ModelKind = "segmentation"
    head: dict[str, int] = {}
    if "s2new.fc_scores.weight" in sizes:
        width, inputs = sizes["s2new.fc_scores.weight"]
        # The first ResNet50 classifiers still carried the mask branch, unused; none is single-shot.
        two_branches = "roi_heads.box_predictor_s2.cls_score.weight" in sizes
        kind = "single_shot" if has_masks and (backbone != "resnet50" or two_branches) else "classifier"
        head = {
            "roi_batch_size": inputs // 5,
            "s_width": width,
            "image_classes": sizes["s2new.fc_scores_img.weight"][0],
        }
    return Architecture(
        kind=kind,
        backbone=backbone,
        truncation=truncation,
        region_classes=region_classes,
        anchor_sizes=anchor_sizes,
        aspect_ratios=aspect_ratios,
        branches=2 if "roi_heads.box_predictor_s2.cls_score.weight" in sizes else 1,
        extra_pool=backbone == "resnet50" and _first_release(sizes, kind=kind, has_masks=has_masks),
        **head,
    )


def _first_release(sizes: Mapping[str, tuple[int, ...]], *, kind: ModelKind, has_masks: bool) -> bool:
    counters = any(name.endswith("num_batches_tracked") for name in sizes)
    return not counters or (kind == "classifier" and has_masks)


def _backbone(sizes: Mapping[str, tuple[int, ...]]) -> tuple[Backbone, int]:
    if "backbone.body.layer1.0.conv3.weight" in sizes:
        return "resnet50", 0
    blocks = tuple(
        len({n.split(".")[3] for n in sizes if n.startswith(f"backbone.body.layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    stages = sum(count > 0 for count in blocks)
    for pattern, name in _BLOCKS.items():
        if stages >= 2 and blocks == pattern[:stages] + (0,) * (4 - stages):
            return name, 4 - stages
    raise WeightsError(
        "The backbone of this file is not a ResNet18, ResNet34 or ResNet50 of the papers.",
        details=f"blocks per stage: {blocks}",
    )
