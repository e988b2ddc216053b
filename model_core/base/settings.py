"""Settings as frozen dataclasses: what a network is, what it is fed, how its output is filtered.

Numbers come from the papers and the released code of A. Ter-Sarkisov; each field says which.
Standard library only, so that the GUI can hold settings without importing torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from model_core.base.asked import AskedRegion
from model_core.base.errors import SettingsError

Backbone = Literal["resnet18", "resnet34", "resnet50"]
ModelKind = Literal["segmentation", "classifier", "single_shot"]
Scoring = Literal["softmax", "sigmoid"]
Replication = Literal["cut_points", "insert"]
MaskScale = Literal["logit", "probability"]
LogitRule = Literal["max", "sum"]

# What a class was computed as: one paper's computation to the last setting; as the weights that ran were
# trained; or from other evidence than they define.
EvidenceBasis = Literal["published", "trained", "edited"]

# Anchors of the released code at every level: 5 sizes x 6 ratios = 30 per location.
PAPER_ANCHOR_SIZES = (2, 4, 8, 16, 32)
PAPER_ASPECT_RATIOS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)

# Removes nothing from softmax scores; the papers use it so that the RoI batch is always full.
EVIDENCE_SCORE = -0.01

# The single-shot code drops boxes up to this area from the evidence; the two-stage code those of area 0.
SINGLE_SHOT_MIN_AREA = 1e-5

# Bins along a side of what the heads read of a RoI, and the scale of the box branch's deltas.
BOX_POOL, MASK_POOL = 7, 14
ROI_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)

# The sides of a network input are multiples of the largest stride (ResNet50's last stage).
SIZE_STEP, LARGEST_SIZE = 32, 4096

# 8-bit pictures carry no HU; published ones are lung windows (width 1500, level -600).
GREY_LOW_HU, GREY_HIGH_HU = -1350.0, 150.0

# What they count as: that lung window, or a wider one that their peaks show (`greymap.likely_hu_range`).
GreyMap = Literal["window", "estimate"]

# What computes on a CPU, and the environment variable that says so where nobody else does.
BackendChoice = Literal["auto", "onnx", "torch"]
BACKENDS: tuple[BackendChoice, ...] = ("auto", "onnx", "torch")
BACKEND_VARIABLE = "CTMASKNET_BACKEND"


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that fixes the shape of a network (spec: backbones, anchors, heads, module S).

    Attributes
    ----------
    truncation:
        0 keeps all four ResNet stages, 1 drops the last (stride 16), 2 the last two (stride 8).
    region_classes:
        Number of RoI classes with background: 2 for one merged lesion class, 3 for GGO and consolidation.
    roi_batch_size, s_width, image_classes:
        N, R and the number of image logits of COVID-CT-Mask-Net; unused by a segmentation model.
    branches:
        Single-shot models: 1 shared box branch, or 2 with a parallel one for the class.
    extra_pool:
        ResNet50 only: the max-pooled fifth RPN level of the first release.
    """

    kind: ModelKind
    backbone: Backbone = "resnet18"
    truncation: int = 1
    region_classes: int = 2
    anchor_sizes: tuple[int, ...] = PAPER_ANCHOR_SIZES
    aspect_ratios: tuple[float, ...] = PAPER_ASPECT_RATIOS
    roi_batch_size: int = 128
    s_width: int = 512
    image_classes: int = 3
    branches: int = 1
    extra_pool: bool = False

    def __post_init__(self) -> None:
        _check(
            self.backbone in ("resnet18", "resnet34", "resnet50"),
            f"Unknown backbone {self.backbone!r}: use resnet18, resnet34 or resnet50.",
        )
        _check(self.truncation in (0, 1, 2), f"Truncation is 0, 1 or 2, not {self.truncation}.")
        _check(
            self.backbone != "resnet50" or self.truncation == 0,
            "A ResNet50 is used whole: truncation must be 0.",
        )
        _check(self.region_classes >= 2, "region_classes counts the background too: at least 2.")
        _check(self.branches in (1, 2), f"A single-shot model has 1 or 2 branches, not {self.branches}.")
        for name, values in (("sizes", self.anchor_sizes), ("aspect ratios", self.aspect_ratios)):
            positive = isinstance(values, tuple) and all(
                isinstance(value, int | float) and value > 0 for value in values
            )
            _check(bool(values) and positive, f"Anchor {name} are positive numbers, not {values!r}.")
        for name in ("roi_batch_size", "s_width", "image_classes"):
            _check(getattr(self, name) >= 1, f"{name} is at least 1, not {getattr(self, name)}.")

    @property
    def has_masks(self) -> bool:
        """Whether the network holds a mask branch (every kind but the two-stage classifier)."""
        return self.kind != "classifier"

    @property
    def has_image_head(self) -> bool:
        """Whether the network holds module S."""
        return self.kind != "segmentation"


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """RPN settings at test time (§4); they belong to the weights, not to the user.

    ``rpn_min_size`` 0 keeps zero-area proposals, as the released code does.
    """

    rpn_nms_iou: float = 0.75
    rpn_pre_nms: int = 1000
    rpn_post_nms: int = 1000
    rpn_min_size: float = 0.0

    def __post_init__(self) -> None:
        _check(0.0 <= self.rpn_nms_iou <= 1.0, f"rpn_nms_iou is an IoU in 0..1, not {self.rpn_nms_iou}.")
        for name in ("rpn_pre_nms", "rpn_post_nms"):
            _check(getattr(self, name) >= 1, f"{name} is at least 1, not {getattr(self, name)}.")
        _check(self.rpn_min_size >= 0.0, f"rpn_min_size is 0 or more, not {self.rpn_min_size}.")


@dataclass(frozen=True, kw_only=True)
class DetectorTraining:
    """Sampling and losses of detector training (§4); defaults are the released two-stage code.

    ``legacy_loss``: RPN box loss L1 and RoI smooth-L1 with beta 1; False takes torchvision's beta 1/9.
    """

    rpn_fg_iou: float = 0.7
    rpn_bg_iou: float = 0.3
    rpn_batch: int = 256
    rpn_positive_fraction: float = 0.75
    rpn_pre_nms: int = 2000
    rpn_post_nms: int = 2000
    roi_fg_iou: float = 0.75
    roi_bg_iou: float = 0.5
    roi_batch: int = 256
    roi_positive_fraction: float = 0.75
    legacy_loss: bool = True


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """Which candidates are *shown* as detections.

    Attributes
    ----------
    score:
        Keep candidates whose score is greater.
    nms_iou:
        Class-wise NMS removes boxes whose IoU with a better one is greater; None switches NMS off.
    mask_threshold, mask_scale:
        A pixel belongs to the mask where the pasted map is greater than the threshold, on this scale.
    temperature:
        Divides the logit of a score before it is shown or compared, so that scores say how often detections
        are right; 1 leaves scores as the network gives them. It changes no order.
    min_area:
        Drop boxes whose area in network pixels is not greater; None keeps empty boxes (single-shot code).
    logit_rule:
        How the pasted logit maps of overlapping detections become one map (§7; the paper does not say).
    join_touching:
        Detections of one class whose masks touch are shown and counted as one lesion: lesions are connected
        regions, as in the papers' reference (§1.1). The papers' own results are of single detections.
    """

    score: float = 0.5
    nms_iou: float | None = 0.75
    max_detections: int = 128
    mask_threshold: float = 0.0
    mask_scale: MaskScale = "logit"
    scoring: Scoring = "softmax"
    min_area: float | None = 0.0
    temperature: float = 1.0
    logit_rule: LogitRule = "max"
    join_touching: bool = False

    def __post_init__(self) -> None:
        _check(-1.0 <= self.score <= 1.0, f"A score threshold lies in -1..1, not {self.score}.")
        _check(self.logit_rule in ("max", "sum"), f"Logit maps combine by max or sum, not {self.logit_rule}.")
        _check(
            self.nms_iou is None or 0.0 <= self.nms_iou <= 1.0,
            f"An NMS threshold is an IoU in 0..1, not {self.nms_iou}.",
        )
        _check(self.temperature > 0, f"A temperature is greater than 0, not {self.temperature}.")
        _check(self.max_detections >= 1, "At least one detection must be allowed.")
        _check(
            self.mask_scale == "logit" or 0.0 <= self.mask_threshold <= 1.0,
            f"A mask threshold on the probability scale lies in 0..1, not {self.mask_threshold}.",
        )

    @property
    def network_score(self) -> float:
        """The score threshold on the network's own scale: ``score`` is compared with calibrated scores."""
        return uncalibrated(self.score, self.temperature)


@dataclass(frozen=True, kw_only=True)
class EvidenceSettings:
    """How the RoI batch that module S reads is made (§5.2, §5.3).

    Defaults are those of the two-stage papers with N = 128 (see `PAPERS`).

    ``temperature`` is the scale of ``score`` and of the scores shown, as in `DetectionSettings`; module S
    always reads the network's own scores.
    """

    score: float = EVIDENCE_SCORE
    nms_iou: float | None = 0.75
    batch_size: int = 128
    replication: Replication = "cut_points"
    seed: int = 0
    scoring: Scoring = "softmax"
    min_area: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check(-1.0 <= self.score <= 1.0, f"A score threshold lies in -1..1, not {self.score}.")
        _check(
            self.nms_iou is None or 0.0 <= self.nms_iou <= 1.0,
            f"An NMS threshold is an IoU in 0..1, not {self.nms_iou}.",
        )
        _check(self.batch_size >= 1, "The RoI batch holds at least one row.")
        _check(self.temperature > 0, f"A temperature is greater than 0, not {self.temperature}.")

    @property
    def network_score(self) -> float:
        """The score threshold on the network's own scale."""
        return uncalibrated(self.score, self.temperature)


@dataclass(frozen=True, kw_only=True)
class EvidenceEdit:
    """What a person takes out of the evidence of one slice, or puts into it, to see what the class would be.

    The rows that stay close up, the next ranked regions follow, and the batch is replicated anew: what the
    published rule makes of a detector that had not found these regions, or found others, too.

    Attributes
    ----------
    excluded:
        Evidence candidates that are left out.
    only:
        The evidence candidates that alone may stay; None leaves all but the excluded.
    nms_anew:
        NMS looks at what is left, so that regions come in which a region now gone had suppressed. Otherwise
        these stay out: the lesion is gone, not the better of two boxes around it.
    asked:
        Regions that were asked about. They enter by their scores, and neither suppress nor are suppressed.
        Their answers count as candidates after those of the slice, in this order.
    """

    excluded: frozenset[int] = frozenset()
    only: frozenset[int] | None = None
    nms_anew: bool = False
    asked: tuple[AskedRegion, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is left out or put in."""
        return bool(self.excluded) or self.only is not None or bool(self.asked)

    def leaves_out(self, candidate: int) -> bool:
        """Whether a candidate is left out."""
        return candidate in self.excluded or (self.only is not None and candidate not in self.only)

    def exclude(self, candidates: Iterable[int]) -> EvidenceEdit:
        """Return the edit that leaves these out, too."""
        return replace(self, excluded=self.excluded | frozenset(candidates))

    def restore(self, candidates: Iterable[int]) -> EvidenceEdit:
        """Return the edit that leaves these in again."""
        back = frozenset(candidates)
        only = None if self.only is None else self.only | back
        return replace(self, excluded=self.excluded - back, only=only)

    def ask(self, region: AskedRegion) -> EvidenceEdit:
        """Return the edit with a region that was asked about; one that is there already counts once."""
        return self if region in self.asked else replace(self, asked=(*self.asked, region))

    def forget(self, numbers: Iterable[int]) -> EvidenceEdit:
        """Return the edit without some of ``asked``, counted from 0."""
        gone = frozenset(numbers)
        return replace(self, asked=tuple(one for k, one in enumerate(self.asked) if k not in gone))

    def numbered_from(self, first: int) -> EvidenceEdit:
        """Return the edit of the same candidates where these are counted from ``first``."""
        only = None if self.only is None else frozenset(number + first for number in self.only)
        return replace(self, excluded=frozenset(number + first for number in self.excluded), only=only)


def uncalibrated(score: float, temperature: float) -> float:
    """Return a calibrated score on the network's own scale: its logit times the temperature."""
    if temperature == 1.0 or not 0.0 < score < 1.0:
        return score
    logit = math.log(score / (1.0 - score)) * temperature
    return 1.0 / (1.0 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1.0 + math.exp(logit))


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How a slice becomes network input; belongs to the weights.

    HU are mapped linearly from [low_hu, high_hu] to [0, 1], the slice is scaled to fit ``size`` x ``size``
    pixels (aspect ratio kept, centred, padded with 0), repeated over three channels, and normalised
    with the channel statistics (ImageNet's, §1.4).

    ``outside`` of the patient a slice is shown to the network as it is, or as ``air`` where that can be told
    (`body.outside_of`): clothes and hair look like lesions to a network that has seen lung crops only.

    ``grey`` 0..255 of pictures, which carry no HU, is taken as the lung ``window`` of the published ones, or
    a wider window is an ``estimate`` from the peaks of the series (`greymap.likely_hu_range`).
    """

    low_hu: float = -1250.0
    high_hu: float = 250.0
    size: int = 512
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    outside: Literal["as_is", "air"] = "as_is"
    grey: GreyMap = "window"

    def __post_init__(self) -> None:
        _check(
            self.low_hu < self.high_hu,
            f"The window rises from low_hu to high_hu, not from {self.low_hu:g} to {self.high_hu:g}.",
        )
        _check(min(self.std) > 0, f"std is greater than 0 in every channel, not {list(self.std)}.")

    def __str__(self) -> str:
        """Return what a model card says of the input."""
        outside = ", air outside the patient" if self.outside == "air" else ""
        grey = ", window of pictures estimated" if self.grey == "estimate" else ""
        return f"{self.size} × {self.size}, {self.low_hu:g} to {self.high_hu:g} HU{outside}{grey}"


@dataclass(frozen=True, kw_only=True)
class PaperInference:
    """What the released code of a paper computes at test time (§2-§6).

    Attributes
    ----------
    truncations:
        Those of each backbone.
    region_classes:
        Numbers of RoI classes with background.
    detector, evidence, s_width:
        How the class is computed; N is ``evidence.batch_size``.
    """

    kinds: tuple[ModelKind, ...]
    truncations: dict[Backbone, tuple[int, ...]]
    region_classes: tuple[int, ...] = (2, 3)
    detector: DetectorSettings = DetectorSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    s_width: int = 512

    def has(self, architecture: Architecture) -> bool:
        """Whether the paper has a network of this shape."""
        return (
            architecture.kind in self.kinds
            and architecture.truncation in self.truncations.get(architecture.backbone, ())
            and architecture.region_classes in self.region_classes
            and architecture.anchor_sizes == PAPER_ANCHOR_SIZES
            and architecture.aspect_ratios == PAPER_ASPECT_RATIOS
            and architecture.s_width == self.s_width
            and (not architecture.extra_pool or architecture.backbone == "resnet50")
        )


PAPERS: dict[str, PaperInference] = {
    "p1": PaperInference(
        kinds=("classifier",),
        truncations={"resnet50": (0,)},
        evidence=EvidenceSettings(batch_size=256),
        s_width=1024,
    ),
    "p2": PaperInference(kinds=("classifier",), truncations={"resnet18": (0, 1, 2), "resnet34": (0, 1, 2)}),
    "p3": PaperInference(
        kinds=("single_shot",),
        truncations={"resnet18": (1, 2), "resnet34": (1, 2)},
        region_classes=(2,),
        detector=DetectorSettings(rpn_pre_nms=2000),
        evidence=EvidenceSettings(min_area=SINGLE_SHOT_MIN_AREA),
    ),
}


def published_in(
    architecture: Architecture, detector: DetectorSettings, evidence: EvidenceSettings, spec: InputSpec
) -> str | None:
    """Return which paper (``p1``, ``p2``, ``p3``) computes the class of a picture just like this, or None.

    Not compared are what changes no class: the temperature of shown scores and the seed of the replication
    (the released code draws anew each time); and the HU window, as the papers have pictures only.
    """
    pictures = InputSpec(low_hu=spec.low_hu, high_hu=spec.high_hu)
    batch = replace(evidence, seed=0, temperature=1.0)
    for name, paper in PAPERS.items():
        same = (detector, batch, spec) == (paper.detector, paper.evidence, pictures)
        if same and paper.has(architecture) and architecture.roi_batch_size == batch.batch_size:
            return name
    return None
