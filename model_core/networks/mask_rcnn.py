"""Mask R-CNN with the papers' heads (P1 Table 2, P2 "Model"; spec §3-4)."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, project_masks_on_boxes
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign, batched_nms, clip_boxes_to_image, remove_small_boxes

from model_core.base.settings import (
    BOX_POOL,
    MASK_POOL,
    ROI_BOX_WEIGHTS,
    Architecture,
    DetectorSettings,
    DetectorTraining,
    InputSpec,
)
from model_core.networks.backbone import FPN_CHANNELS, ResNetFPN, feature_levels

BOX_FEATURES = 128  # both layers of the box head
# torchvision's constructors want them; `MaskRCNN._sample_by` says how RPN and RoI branches sample.
_SAMPLING = {
    "fg_iou_thresh": 1.0,
    "bg_iou_thresh": 0.0,
    "batch_size_per_image": 0,
    "positive_fraction": 0.0,
}

Features = OrderedDict[str, Tensor]
Target = dict[str, Tensor]


class Regions(NamedTuple):
    """Every (proposal, positive class) pair of one image, RoI-major: R * (C - 1) rows.

    ``boxes`` (M, 4) decoded and clipped; ``deltas`` (M, 4) as the box branch gave them; ``scores`` (M,)
    softmax; ``logits`` (M,) of that class; ``labels`` (M,) from 1.
    """

    boxes: Tensor
    deltas: Tensor
    scores: Tensor
    logits: Tensor
    labels: Tensor


class PaperRPN(RegionProposalNetwork):  # type: ignore[misc]
    """RPN of the released code: proposals ranked by logits, L1 box loss.

    torchvision today ranks by the sigmoid, which saturates: confident proposals tie and lose their order.
    Its box loss is smooth-L1 with beta 1/9.
    """

    legacy_loss = True

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Per-level top-k, clip, drop small, NMS per level, top-n over levels; scores are logits (§4)."""
        logits = objectness.detach().reshape(len(proposals), -1)
        counts = torch.tensor(num_anchors_per_level, device=logits.device)
        levels = torch.arange(len(counts), device=logits.device).repeat_interleave(counts)
        best = self._get_top_n_idx(logits, num_anchors_per_level)
        boxes_of, scores_of = [], []
        for boxes, scores, index, shape in zip(proposals, logits, best, image_shapes, strict=True):
            boxes = clip_boxes_to_image(boxes[index], shape)
            large = remove_small_boxes(boxes, self.min_size)
            boxes, kept_scores, level = boxes[large], scores[index][large], levels[index][large]
            keep = batched_nms(boxes, kept_scores, level, self.nms_thresh)[: self.post_nms_top_n()]
            boxes_of.append(boxes[keep])
            scores_of.append(kept_scores[keep])
        return boxes_of, scores_of

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return (objectness BCE over the sample, box loss over positives / sample size); spec §4."""
        positive, negative = self.fg_bg_sampler(labels)
        positives = torch.where(torch.cat(positive))[0]
        sample = torch.cat((positives, torch.where(torch.cat(negative))[0]))
        predicted, wanted = pred_bbox_deltas[positives], torch.cat(regression_targets)[positives]
        box_loss = (
            F.l1_loss(predicted, wanted, reduction="sum")
            if self.legacy_loss
            else F.smooth_l1_loss(predicted, wanted, beta=1 / 9, reduction="sum")
        )
        objectness_loss = F.binary_cross_entropy_with_logits(
            objectness.flatten()[sample], torch.cat(labels)[sample]
        )
        return objectness_loss, box_loss / max(1, len(sample))


class MaskRCNN(nn.Module):
    """Backbone + FPN -> RPN -> box branch (-> mask branch), one line per step of the paper.

    Names and order of its parameters are those of the published checkpoints in today's torchvision
    spelling (see `names`). Images are (B, 3, S, S) in 0..1 with S a multiple of 32.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: Architecture,
        detector: DetectorSettings | None = None,
        training: DetectorTraining | None = None,
        input_spec: InputSpec | None = None,
    ) -> None:
        super().__init__()
        detector = detector or DetectorSettings()
        training = training or DetectorTraining()
        spec = input_spec or InputSpec()
        self.architecture = architecture
        self.backbone = ResNetFPN(architecture)
        self.rpn = _rpn(architecture, detector)
        self.roi_heads = _roi_heads(architecture)
        self._sample_by(training)
        # Not saved: they belong to the card.
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1), persistent=False)

    # -- inference, step by step ------------------------------------------------------------------

    def features(self, images: Tensor) -> Features:
        """Map (B, 3, S, S) images in 0..1 to the FPN maps (at least float32, also under autocast)."""
        maps: Features = self.backbone((images - self.mean) / self.std)
        return OrderedDict((level, at_least_single(one)) for level, one in maps.items())

    def propose(self, images: Tensor, features: Features) -> list[Tensor]:
        """Return per image the (P, 4) proposals of the RPN, best first."""
        with _full_precision(images):
            proposals, _ = self.rpn(_image_list(images), features)
        return list(proposals)

    def regions(self, images: Tensor, features: Features, proposals: list[Tensor]) -> list[Regions]:
        """Run the box branch on the proposals and list every (proposal, class) pair of each image."""
        return self._regions(images, features, proposals, *self.box_branch())

    def box_branch(self, *, evidence: bool = False) -> tuple[nn.Module, nn.Module]:
        """Return head and predictor of the box branch; ``evidence``: of that behind the class (P3)."""
        heads = self.roi_heads
        if evidence and self.architecture.branches == 2:
            return heads.box_head_s2, heads.box_predictor_s2
        return heads.box_head, heads.box_predictor

    def _regions(
        self,
        images: Tensor,
        features: Features,
        proposals: list[Tensor],
        head: nn.Module,
        predictor: nn.Module,
    ) -> list[Regions]:
        size = images.shape[-2:]
        with _full_precision(images):
            pooled = self.roi_heads.box_roi_pool(features, proposals, [tuple(size)] * len(images))
            class_logits, deltas = predictor(head(pooled))  # (R, C), (R, 4C)
        counts = [len(p) for p in proposals]
        return [
            self._pairs(one_logits, one_deltas, one_proposals, (size[0], size[1]))
            for one_logits, one_deltas, one_proposals in zip(
                torch.split(class_logits, counts), torch.split(deltas, counts), proposals, strict=True
            )
        ]

    def _pairs(self, logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int]) -> Regions:
        classes = logits.shape[1]
        decoded = self.roi_heads.box_coder.decode(deltas.detach(), [proposals])  # (R, C, 4)
        boxes = clip_boxes_to_image(decoded.reshape(-1, classes, 4), size)
        labels = torch.arange(1, classes, device=logits.device).expand(len(logits), -1)
        return Regions(
            boxes=boxes[:, 1:].reshape(-1, 4),
            deltas=deltas.reshape(-1, classes, 4)[:, 1:].reshape(-1, 4),
            scores=F.softmax(logits, dim=1)[:, 1:].reshape(-1),
            logits=logits[:, 1:].reshape(-1),
            labels=labels.reshape(-1),
        )

    def mask_logits(self, features: Features, boxes: list[Tensor], *, size: tuple[int, int]) -> Tensor:
        """Return (D, C, 28, 28) raw mask logits in these network-pixel boxes (one tensor per image)."""
        heads = self.roi_heads
        pooled = heads.mask_roi_pool(features, boxes, [size] * len(boxes))
        logits: Tensor = heads.mask_predictor(heads.mask_head(pooled))
        return logits

    # -- training ---------------------------------------------------------------------------------

    def _sample_by(self, training: DetectorTraining) -> None:
        self.legacy_loss = self.rpn.legacy_loss = training.legacy_loss
        self.rpn.proposal_matcher = Matcher(
            training.rpn_fg_iou, training.rpn_bg_iou, allow_low_quality_matches=True
        )
        self.rpn.fg_bg_sampler = BalancedPositiveNegativeSampler(
            training.rpn_batch, training.rpn_positive_fraction
        )
        self.rpn._pre_nms_top_n["training"] = training.rpn_pre_nms
        self.rpn._post_nms_top_n["training"] = training.rpn_post_nms
        self.roi_heads.proposal_matcher = Matcher(
            training.roi_fg_iou, training.roi_bg_iou, allow_low_quality_matches=False
        )
        self.roi_heads.fg_bg_sampler = BalancedPositiveNegativeSampler(
            training.roi_batch, training.roi_positive_fraction
        )

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Return the five losses of §4; call in train mode.

        ``targets``: per image boxes (K, 4) float network pixels, labels (K,) int64, masks (K, S, S) uint8.
        Images without instances take part as negatives.
        """
        features = self.features(images)
        half = torch.is_autocast_enabled(images.device.type)
        with _full_precision(images):
            return self._losses(images, features, targets, half=half)

    def _losses(
        self, images: Tensor, features: Features, targets: list[Target], *, half: bool
    ) -> dict[str, Tensor]:
        proposals, losses = self.rpn(_image_list(images), features, targets)
        heads = self.roi_heads
        sizes = [tuple(images.shape[-2:])] * len(images)
        proposals, matched, labels, wanted = heads.select_training_samples(proposals, targets)
        pooled = heads.box_roi_pool(features, proposals, sizes)
        class_logits, deltas = heads.box_predictor(heads.box_head(pooled))
        if self.architecture.has_masks:
            positive = [torch.where(one > 0)[0] for one in labels]
            boxes = [p[i] for p, i in zip(proposals, positive, strict=True)]
            matched = [m[i] for m, i in zip(matched, positive, strict=True)]
            losses["loss_mask"] = self._mask_loss(features, boxes, matched, targets, sizes, half=half)
        losses["loss_classifier"], losses["loss_box_reg"] = self._box_losses(
            class_logits, deltas, torch.cat(labels), torch.cat(wanted)
        )
        return dict(losses)

    def _box_losses(
        self, class_logits: Tensor, deltas: Tensor, labels: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy, and smooth-L1 (beta 1 in the released code) of the true class / sampled RoIs."""
        positive = torch.where(labels > 0)[0]
        own = deltas.reshape(len(labels), -1, 4)[positive, labels[positive]]
        beta = 1.0 if self.legacy_loss else 1 / 9
        box_loss = F.smooth_l1_loss(own, wanted[positive], beta=beta, reduction="sum")
        return F.cross_entropy(class_logits, labels), box_loss / max(1, len(labels))

    def _mask_loss(
        self,
        features: Features,
        boxes: list[Tensor],
        matched: list[Tensor],
        targets: list[Target],
        sizes: list[tuple[int, ...]],
        *,
        half: bool,
    ) -> Tensor:
        """Return the BCE of the mask branch in these boxes.

        With ``half`` its convolutions run in autocast's 16 bits: they hold no edge of a box.
        """
        heads = self.roi_heads
        pooled = heads.mask_roi_pool(features, boxes, sizes)
        with torch.autocast(pooled.device.type, enabled=half):
            logits = at_least_single(heads.mask_predictor(heads.mask_head(pooled)))
        rows = [(t, b, m) for t, b, m in zip(targets, boxes, matched, strict=True) if len(m)]
        if not rows:
            return logits.sum() * 0
        own = torch.cat([t["labels"][m] for t, _, m in rows])
        logits = logits[torch.arange(len(own)), own]
        wanted = torch.cat([project_masks_on_boxes(t["masks"], b, m, logits.shape[-1]) for t, b, m in rows])
        return F.binary_cross_entropy_with_logits(logits, wanted)


def _full_precision(images: Tensor) -> AbstractContextManager[None]:
    """Switch autocast off: 16-bit floats hold box edges above 256 pixels to 2 pixels only."""
    return torch.autocast(images.device.type, enabled=False)


def _image_list(images: Tensor) -> ImageList:
    height, width = images.shape[-2:]
    return ImageList(images, [(height, width)] * len(images))


def _rpn(architecture: Architecture, detector: DetectorSettings) -> PaperRPN:
    levels = feature_levels(architecture)
    anchors = AnchorGenerator(
        sizes=(architecture.anchor_sizes,) * levels, aspect_ratios=(architecture.aspect_ratios,) * levels
    )
    rpn = PaperRPN(
        anchors,
        RPNHead(FPN_CHANNELS, anchors.num_anchors_per_location()[0]),
        **_SAMPLING,
        pre_nms_top_n={"testing": detector.rpn_pre_nms},
        post_nms_top_n={"testing": detector.rpn_post_nms},
        nms_thresh=detector.rpn_nms_iou,
    )
    rpn.min_size = detector.rpn_min_size
    return rpn


def _roi_heads(architecture: Architecture) -> RoIHeads:
    levels = ["0"] if architecture.backbone != "resnet50" else ["0", "1", "2", "3"]
    classes = architecture.region_classes
    heads = RoIHeads(
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=BOX_POOL, sampling_ratio=2),
        box_head=TwoMLPHead(FPN_CHANNELS * BOX_POOL**2, BOX_FEATURES),
        box_predictor=FastRCNNPredictor(BOX_FEATURES, classes),
        **_SAMPLING,
        bbox_reg_weights=ROI_BOX_WEIGHTS,
        # Detections are selected by `ranking.rank_regions`, not by torchvision's postprocessing.
        score_thresh=0.0,
        nms_thresh=1.0,
        detections_per_img=0,
    )
    if architecture.branches == 2:  # the class branch of P3, registered before the masks as published
        heads.box_head_s2 = TwoMLPHead(FPN_CHANNELS * BOX_POOL**2, BOX_FEATURES)
        heads.box_predictor_s2 = FastRCNNPredictor(BOX_FEATURES, classes)
    if architecture.has_masks:
        light = architecture.backbone != "resnet50"
        width = 128 if light else 256
        heads.mask_roi_pool = MultiScaleRoIAlign(levels, output_size=MASK_POOL, sampling_ratio=2)
        heads.mask_head = MaskRCNNHeads(FPN_CHANNELS, (width,) if light else (width,) * 4, 1)
        heads.mask_predictor = MaskRCNNPredictor(width, width, classes)
    return heads


def at_least_single(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or in its own precision where that is higher."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
