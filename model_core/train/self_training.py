"""Self-training: networks' own answers as labels of pictures that nobody outlined.

Pictures of patients with the disease, one slice each, show far more patients than the outlined ones. Once,
when a stage begins, an answer for each is made its label, and the stage draws it like an outlined slice
("pseudo labels", Lee 2013; for these lesions Fan et al. 2020, Semi-Inf-Net). The answer is that of the dense
head of the network itself, or the mean of finished detectors (`Stage.teachers`): several networks err less
than each of them (Hinton et al. 2015; "noisy student", Xie et al. 2020, because the student sees the picture
augmented). Pictures whose answer is unsure, or shows nothing, are left out: a study of a patient with the
disease may have slices without a lesion, but which ones nobody says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult
from model_core.base.settings import DetectionSettings
from model_core.engine import Pipeline, detect, run
from model_core.engine.load import load_pipeline
from model_core.explain import mask_probability
from model_core.networks import MaskRCNN
from model_core.train.dense import DenseHead
from model_core.train.geometry import Motion, warp
from model_core.train.packing import PackedSlice, slice_volume

SIZES = (384, 512)  # sides of the input that the answers are averaged over, each also mirrored
_EIGHT = np.ones((3, 3), bool)
_SMALLEST = 40  # pixels of the picture: smaller regions are dots
_MOST_UNSURE = 0.7  # area without an answer, of the lesion area
# What counts as a detection for a teacher: nearly all, the mean says what remains.
_LEAST_SCORE, _MOST_DETECTIONS = 0.05, 60


@dataclass(frozen=True, eq=False)
class Answer:
    """Something that says where lesions are, and how what it says is to be taken.

    Attributes
    ----------
    probability:
        Gives the (H, W) map of a slice, 0..1.
    lesion:
        A pixel above belongs to a lesion.
    unsure:
        Values in between are no answer.
    """

    probability: Callable[[PackedSlice], FloatArray]
    lesion: float
    unsure: tuple[float, float]


def dense_answer(network: MaskRCNN, head: DenseHead, *, device: torch.device) -> Answer:
    """Return what the dense head of a network sees, averaged over `SIZES` and mirror images."""
    network.eval()
    return Answer(lambda one: _probability(network, head, one, device), lesion=0.5, unsure=(0.3, 0.7))


def teachers_answer(names: Sequence[str], *, device: str) -> Answer:
    """Return the mean of what these weights detect, each in the picture and its mirror image.

    A pixel's value in one of them is the greatest product of a detection's calibrated score and its mask
    there, which rarely exceeds the score: a lesion begins lower than at 0.5.

    Raises
    ------
    WeightsError
        If there are no such weights.
    """
    # Each is given the mirror image below, whether its card asks for it or not.
    pipelines = [load_pipeline([name], device=device, fast=True) for name in names]

    def mean(one: PackedSlice) -> FloatArray:
        mirrored = dataclasses.replace(one, image=np.ascontiguousarray(one.image[:, ::-1]))
        total = np.zeros(one.image.shape, np.float32)
        for pipeline in pipelines:
            total += _detected(pipeline, one) + _detected(pipeline, mirrored)[:, ::-1]
        return total / np.float32(2 * len(pipelines))

    return Answer(mean, lesion=0.3, unsure=(0.2, 0.35))


def label_slices(
    answer: Answer, slices: Sequence[PackedSlice]
) -> Generator[Progress | dict[str, Tensor], None, None]:
    """Yield `Progress` and, last, the lesion masks of the slices whose answer is sure.

    The masks are bits, by `key_of` a slice, as `with_labels` takes them.
    """
    found: dict[str, Tensor] = {}
    for number, one in enumerate(slices):
        yield Progress(number, len(slices), "labelling pictures")
        lesion = sure_lesion(answer, one)
        if lesion is not None:
            found[key_of(one)] = torch.from_numpy(np.packbits(lesion))
    yield found


def key_of(one: PackedSlice) -> str:
    """Return the name of a slice in the labels."""
    return f"{one.source}/{one.name}"


def with_labels(slices: Sequence[PackedSlice], labels: Mapping[str, Tensor]) -> list[PackedSlice]:
    """Return the slices that can be learned from: unlabelled ones have their labels or are left out."""
    kept = []
    for one in slices:
        if not one.unlabelled:
            kept.append(one)
        elif key_of(one) in labels:
            bits = np.unpackbits(labels[key_of(one)].numpy(), count=one.image.size)
            kept.append(dataclasses.replace(one, labels=bits.reshape(one.image.shape)))
    return kept


def sure_lesion(answer: Answer, one: PackedSlice) -> ByteArray | None:
    """Return the (H, W) mask of an answer; None where there is no lesion or it is mostly unsure."""
    probability = answer.probability(one)
    regions, count = ndimage.label(probability > answer.lesion, structure=_EIGHT)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    large = areas >= _SMALLEST
    large[0] = False
    lesion: ByteArray = large[regions].astype(np.uint8)
    unsure = ((probability > answer.unsure[0]) & (probability < answer.unsure[1])).sum()
    if not lesion.any() or unsure > _MOST_UNSURE * lesion.sum():
        return None
    return lesion


def _detected(pipeline: Pipeline, one: PackedSlice) -> FloatArray:
    """Return the (H, W) greatest product of score and mask of the detections at each pixel."""
    settings = DetectionSettings(
        score=_LEAST_SCORE,
        nms_iou=0.7,
        max_detections=_MOST_DETECTIONS,
        temperature=pipeline.detections.temperature,
    )
    (result,) = (item for item in run(pipeline, slice_volume(one), [0]) if isinstance(item, SliceResult))
    return mask_probability(detect(pipeline, result, settings), one.image.shape)


@torch.inference_mode()
def _probability(network: MaskRCNN, head: DenseHead, one: PackedSlice, device: torch.device) -> FloatArray:
    """Return the (H, W) probability of a lesion, averaged over sizes and mirror images."""
    height, width = one.image.shape
    # The picture fills the middle of the square input, see `geometry.matrix`: -1..1 on its longer side.
    down = torch.linspace(1 - height, height - 1, height) / max(height, width)
    across = torch.linspace(1 - width, width - 1, width) / max(height, width)
    where = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None].to(device)
    total = np.zeros((height, width), np.float32)
    for size in SIZES:
        picture, _, _ = warp(one.image, one.labels, Motion(), size=size)
        grey = torch.from_numpy(np.stack([picture, picture[:, ::-1]])).to(device)
        features = network.features(grey[:, None].expand(-1, 3, -1, -1))
        answer = torch.sigmoid(head(dict(features)["0"])[:, :1])
        both = torch.stack([answer[0], answer[1].flip(-1)]).mean(0, keepdim=True)
        here = F.grid_sample(both, where, padding_mode="border", align_corners=False)[0, 0]
        total += here.cpu().numpy() / np.float32(len(SIZES))
    return total
