"""The settings of the three papers and their released code, by name (spec §4, §5.5, §6.3)."""

from __future__ import annotations

from dataclasses import dataclass

from model_core.base.errors import SettingsError
from model_core.base.settings import PAPERS, DetectionSettings, DetectorSettings, DetectorTraining


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How a paper trains and how its reported numbers are measured.

    Attributes
    ----------
    detections:
        Thresholds of the reported segmentation numbers.
    epochs:
        Of segmentation training; classifiers and single-shot models train 50 in all papers.
    classifier_batch:
        Images whose logits are stacked for one update of a classifier.
    """

    name: str
    detector: DetectorSettings
    training: DetectorTraining
    detections: DetectionSettings
    epochs: int
    classifier_batch: int = 8
    learning_rate: float = 1e-5
    weight_decay: float = 1e-3
    roi_batch_size: int = 128
    s_width: int = 512


PRESETS: dict[str, Preset] = {
    # Tables 2 and 3 of P1: foreground at 0.75 everywhere, RoI NMS 0.25 at test.
    "p1": Preset(
        name="p1",
        detector=PAPERS["p1"].detector,
        training=DetectorTraining(rpn_fg_iou=0.75, rpn_post_nms=1000),
        detections=DetectionSettings(score=0.05, nms_iou=0.25, max_detections=100),
        epochs=100,
        roi_batch_size=PAPERS["p1"].evidence.batch_size,
        s_width=PAPERS["p1"].s_width,
    ),
    # The released two-stage code and the numbers reported in P2.
    "p2": Preset(
        name="p2",
        detector=PAPERS["p2"].detector,
        training=DetectorTraining(),
        detections=DetectionSettings(score=0.75, nms_iou=0.75, mask_threshold=0.5),
        epochs=100,
    ),
    # The released single-shot code.
    "p3": Preset(
        name="p3",
        detector=PAPERS["p3"].detector,
        training=DetectorTraining(
            rpn_positive_fraction=0.5,
            rpn_pre_nms=2000,
            rpn_post_nms=1000,
            roi_fg_iou=0.5,
            roi_bg_iou=0.5,
            roi_batch=512,
            roi_positive_fraction=0.25,
        ),
        detections=DetectionSettings(
            score=0.75, nms_iou=0.5, mask_threshold=0.5, mask_scale="probability", min_area=None
        ),
        epochs=50,
    ),
}


def preset(name: str) -> Preset:
    """Return the preset ``p1``, ``p2`` or ``p3``.

    Raises
    ------
    SettingsError
        If there is no such preset.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise SettingsError(f"There is no preset '{name}': use {', '.join(PRESETS)}.") from None
