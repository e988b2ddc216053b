"""The parts of a network that are graphs of their own, and the names of its maps."""

from __future__ import annotations

from model_core.base.settings import Architecture

# From the picture to maps, from maps to objectness and shifts of anchors, from RoIs to logits and deltas (of
# the detections, of the class where that has a branch of its own), from RoIs to masks; and RoIAlign itself.
MAPS, RPN, BOXES, CLASS_BOXES, MASKS = "maps", "rpn", "boxes", "class_boxes", "masks"
ALIGN_BOXES, ALIGN_MASKS = "align_boxes", "align_masks"


def map_names(architecture: Architecture) -> list[str]:
    """Return the names of the FPN maps, finest first; the RPN reads all of them."""
    if architecture.backbone != "resnet50":
        return ["0"]
    return ["0", "1", "2", "3", *(["pool"] if architecture.extra_pool else [])]
