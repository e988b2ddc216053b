"""From labelled pictures to network input and targets, by the preprocessing of the weights."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.errors import DataError
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.data import ClassifiedSlice, LabelledSlice, instances
from model_core.engine.preprocess import network_input, placement
from model_core.networks.mask_rcnn import Target


@dataclass(frozen=True, eq=False)
class Example:
    """One picture: (S, S) float32 input in 0..1, its instances or its class, and a number of its own.

    ``number`` depends on the name alone; sampling is seeded with it where each image must be sampled
    alike whatever else is in the batch.
    """

    image: Tensor
    number: int
    target: Target | None = None
    label: int = -1


class SegmentationExamples(torch.utils.data.Dataset[Example]):
    """Slices with expert masks as (image, instances)."""

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
        volume = _volume(picture)
        found, labels = instances(mask, self._mask_type, self._min_area)
        return Example(
            image=torch.from_numpy(network_input(volume, 0, self._spec)),
            number=zlib.crc32(one.name.encode()),
            target=_target(found, labels, volume, self._spec),
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
        raise DataError(f"'{one.name}': the picture is {_size(picture)} but its mask is {_size(mask)}.")


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
            image=torch.from_numpy(network_input(_volume(one.image_hu()), 0, self._spec)),
            number=zlib.crc32(f"{one.label}/{one.name}".encode()),
            label=one.label,
        )


def stack_images(examples: Sequence[Example], device: str) -> Tensor:
    """Return (B, 3, S, S)."""
    return torch.stack([one.image for one in examples])[:, None].expand(-1, 3, -1, -1).to(device)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _volume(picture: FloatArray) -> Volume:
    voxels = np.clip(np.rint(picture), -32768, 32767).astype(np.int16)[None]
    return Volume(series_id="", title="", voxels=voxels, geometry=Geometry(), unit="HU")


def _target(found: np.ndarray, labels: np.ndarray, volume: Volume, spec: InputSpec) -> Target:
    """Place the instances as the picture is placed; what vanishes by scaling is dropped."""
    masks = _place_masks(found, volume, spec)
    kept = [k for k in range(len(masks)) if masks[k].any()]
    boxes = torch.zeros((len(kept), 4))
    for row, k in enumerate(kept):
        rows, columns = masks[k].any(1).nonzero()[:, 0], masks[k].any(0).nonzero()[:, 0]
        # Box as max-exclusive pixel edges (§1.1).
        boxes[row] = torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()
    return {
        "boxes": boxes,
        "labels": torch.from_numpy(np.asarray(labels, np.int64)[kept]),
        "masks": masks[kept],
    }


def _place_masks(found: np.ndarray, volume: Volume, spec: InputSpec) -> Tensor:
    place = placement(volume, spec)
    height, width = place.slice_shape
    size = (round(height * place.scale_y), round(width * place.scale_x))
    square = torch.zeros((len(found), spec.size, spec.size), dtype=torch.uint8)
    if len(found):
        masks: ByteArray = found.astype(np.uint8)
        scaled = F.interpolate(torch.from_numpy(masks)[:, None].float(), size=size, mode="nearest-exact")
        top, left = int(place.offset_y), int(place.offset_x)
        square[:, top : top + size[0], left : left + size[1]] = scaled[:, 0].to(torch.uint8)
    return square
