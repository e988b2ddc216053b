"""The models that give an image class: COVID-CT-Mask-Net (P1, P2) and the single-shot model (P3)."""

from __future__ import annotations

import torch
from torch import Tensor

from model_core.base.settings import (
    Architecture,
    DetectorSettings,
    DetectorTraining,
    EvidenceSettings,
    InputSpec,
)
from model_core.networks.image_head import ImageHead
from model_core.networks.mask_rcnn import Features, MaskRCNN, Regions
from model_core.ranking import rank_regions, roi_batch


class CovidCTMaskNet(MaskRCNN):
    """The detector without masks, always in test mode, and module S on its ranked RoI batch.

    The detector's sub-modules stay in eval mode for the class (BatchNorm uses running statistics) while
    gradients may flow S -> scores and deltas -> box branch -> backbone; never into the RPN, because
    proposals are detached (spec §5.5).
    """

    def __init__(
        self,
        architecture: Architecture,
        detector: DetectorSettings | None = None,
        training: DetectorTraining | None = None,
        input_spec: InputSpec | None = None,
    ) -> None:
        super().__init__(architecture, detector, training, input_spec)
        self.s2new = ImageHead(
            roi_batch_size=architecture.roi_batch_size,
            width=architecture.s_width,
            classes=architecture.image_classes,
        )

    def class_regions(self, images: Tensor, features: Features, proposals: list[Tensor]) -> list[Regions]:
        """Candidates of the evidence; the single-shot model may use a branch of its own."""
        return self.regions(images, features, proposals)

    def image_logits(self, images: Tensor, evidence: EvidenceSettings) -> Tensor:
        """Return (B, classes) image logits; call in eval mode. Differentiable."""
        logits: Tensor = self.s2new(self.roi_batches(images, evidence))
        return logits

    def roi_batches(self, images: Tensor, evidence: EvidenceSettings) -> Tensor:
        """Return the (B, N, 5) RoI batches that module S reads; call in eval mode. Differentiable."""
        features = self.features(images)
        candidates = self.class_regions(images, features, self.propose(images, features))
        return torch.stack([_roi_rows(one, evidence) for one in candidates])


def _roi_rows(regions: Regions, evidence: EvidenceSettings) -> Tensor:
    """Return the (N, 5) RoI batch of one image; its numbers have a gradient, the choice of rows has none."""
    boxes, scores, deltas, labels = (
        tensor.detach().cpu().numpy()
        for tensor in (regions.boxes, regions.scores, regions.deltas, regions.labels)
    )
    kept = rank_regions(
        boxes,
        scores,
        labels,
        score=evidence.score,
        nms_iou=evidence.nms_iou,
        min_area=evidence.min_area,
        limit=evidence.batch_size,
    )
    batch = roi_batch(
        scores, deltas, kept, size=evidence.batch_size, mode=evidence.replication, seed=evidence.seed
    )
    if not len(kept):
        return regions.scores.new_zeros(evidence.batch_size, 5)
    source = torch.from_numpy(batch.source).to(regions.scores.device)
    return torch.cat((regions.scores[source, None], regions.deltas[source]), dim=1)


class SingleShot(CovidCTMaskNet):
    """One network for masks and class; with two branches the class reads its own box branch (P3)."""

    def class_regions(self, images: Tensor, features: Features, proposals: list[Tensor]) -> list[Regions]:
        """Candidates of the parallel branch ``*_s2`` where there is one, else of the shared branch."""
        return self._regions(images, features, proposals, *self.box_branch(evidence=True))

    def copy_class_branch(self) -> None:
        """Copy fc6, fc7, cls_score and bbox_pred (8 tensors) from the segmentation to the class branch."""
        heads = self.roi_heads
        heads.box_head_s2.load_state_dict(heads.box_head.state_dict())
        heads.box_predictor_s2.load_state_dict(heads.box_predictor.state_dict())
