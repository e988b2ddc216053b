"""What a training step learns from: pictures with their instances or their class, as plain arrays."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from model_core.base.arrays import BoolArray, FloatArray, IntArray
from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.data import ClassifiedSlice, LabelledSlice, instances
from model_core.engine.preprocess import network_input, placement
from model_core.measure.slices import one_slice_volume
from model_core.networks.mask_rcnn import Target


@dataclass(frozen=True, eq=False)
class Instances:
    """The lesions of a picture: ``regions`` (S, S) int16 0 none, else k of lesion k; ``labels`` (K,) int64.

    Lesions do not overlap, so that one map holds them all.
    """

    regions: npt.NDArray[np.int16]
    labels: IntArray

    @classmethod
    def of(cls, masks: BoolArray, labels: IntArray) -> Instances:
        """Return the instances of (K, S, S) masks; empty ones are dropped."""
        regions = np.zeros(masks.shape[1:], np.int16)
        kept = [k for k in range(len(masks)) if masks[k].any()]
        for number, k in enumerate(kept, 1):
            regions[masks[k]] = number
        return cls(regions, np.asarray(labels, np.int64)[kept])

    def target(self, device: torch.device | str = "cpu") -> Target:
        """Return boxes (K, 4) as max-exclusive pixel edges (spec §1.1), labels (K,) and masks (K, S, S)."""
        edges = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(self.regions)]
        regions = torch.from_numpy(self.regions).to(device)
        numbers = torch.arange(1, len(edges) + 1, dtype=regions.dtype, device=device)
        return {
            "boxes": torch.tensor(edges, dtype=torch.float32).reshape(-1, 4).to(device),
            "labels": torch.from_numpy(self.labels).to(device),
            "masks": (regions[None] == numbers[:, None, None]).to(torch.uint8),
        }


@dataclass(frozen=True, eq=False)
class Example:
    """One picture as the network sees it.

    Attributes
    ----------
    image:
        (S, S) float32 in 0..1.
    number:
        Depends on the name alone; sampling is seeded with it where each image must be sampled alike
        whatever else is in the batch.
    instances:
        None where the picture has no mask.
    label:
        Class of the image, -1 where it has none.
    pixels, known:
        For the dense head: (C, S, S) what each pixel is, and (C,) which channels are known.
    """

    image: FloatArray
    number: int = 0
    instances: Instances | None = None
    label: int = -1
    pixels: BoolArray = field(default_factory=lambda: np.zeros((0, 1, 1), bool))
    known: BoolArray = field(default_factory=lambda: np.zeros(0, bool))


def stack_images(examples: Sequence[Example], device: torch.device | str) -> Tensor:
    """Return (B, 3, S, S)."""
    images = torch.from_numpy(np.stack([one.image for one in examples])).to(device)
    return images[:, None].expand(-1, 3, -1, -1)


def targets_of(examples: Sequence[Example], device: torch.device | str) -> list[Target]:
    """Return the target of each example, which must have instances."""
    return [one.instances.target(device) for one in examples if one.instances is not None]


class SegmentationExamples(torch.utils.data.Dataset[Example]):
    """Slices with expert masks as (image, instances), by the preprocessing of the weights."""

    def __init__(
        self, slices: Sequence[LabelledSlice], *, spec: InputSpec, mask_type: str, min_area: int = 100
    ) -> None:
        self._slices, self._spec = tuple(slices), spec
        self._mask_type, self._min_area = mask_type, min_area

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> Example:
        """Return example ``index``.

        Raises
        ------
        DataError
            If a file is damaged, or picture and mask differ in size.
        """
        one = self._slices[index]
        picture, mask = one.image_hu(), one.mask()
        _check_sizes(one, picture.shape, mask.shape)
        volume = one_slice_volume(picture, name=one.name)
        found, labels = instances(mask, self._mask_type, self._min_area)
        return Example(
            network_input(volume, 0, self._spec),
            number=zlib.crc32(one.name.encode()),
            instances=Instances.of(_place_masks(found, volume, self._spec), labels),
        )


class ClassExamples(torch.utils.data.Dataset[Example]):
    """Slices with one class each."""

    def __init__(self, slices: Sequence[ClassifiedSlice], *, spec: InputSpec) -> None:
        self._slices, self._spec = tuple(slices), spec

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> Example:
        """Return example ``index``; raises `DataError` if its file is damaged."""
        one = self._slices[index]
        return Example(
            network_input(one_slice_volume(one.image_hu(), name=one.name), 0, self._spec),
            number=zlib.crc32(f"{one.label}/{one.name}".encode()),
            label=one.label,
        )


def check_masks(
    slices: Sequence[LabelledSlice], *, mask_type: str, min_area: int
) -> Generator[Progress, None, None]:
    """Read every picture and mask once, before anything is written.

    Raises
    ------
    DataError
        If a file is damaged or holds unknown values, a picture and its mask differ in size, or no slice
        has a lesion.
    """
    lesions = 0
    for done, one in enumerate(slices):
        yield Progress(done, len(slices), one.name)
        mask = one.mask()
        _check_sizes(one, one.image_hu().shape, mask.shape)
        lesions += len(instances(mask, mask_type, min_area)[1])
    if not lesions:
        raise DataError(
            f"None of {len(slices)} slices has a lesion (components of more than {min_area} pixels of "
            f"'{mask_type}'): there is nothing to learn."
        )


def _check_sizes(one: LabelledSlice, picture: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if picture != mask:
        raise DataError(
            f"'{one.name}': the picture is {picture[1]} x {picture[0]} but its mask is {mask[1]} x {mask[0]}."
        )


def _place_masks(found: BoolArray, volume: Volume, spec: InputSpec) -> BoolArray:
    """Place (K, H, W) masks as the picture is placed."""
    place = placement(volume, spec)
    height, width = place.slice_shape
    size = (round(height * place.scale_y), round(width * place.scale_x))
    square = np.zeros((len(found), spec.size, spec.size), bool)
    if len(found):
        masks = torch.from_numpy(found.astype(np.float32))[:, None]
        scaled = F.interpolate(masks, size=size, mode="nearest-exact")[:, 0]
        top, left = int(place.offset_y), int(place.offset_x)
        square[:, top : top + size[0], left : left + size[1]] = scaled.numpy() > 0.5
    return square
