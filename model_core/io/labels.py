"""Read a reference mask and bring it onto the grid of an open volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.errors import ReadError
from model_core.io import itk_formats, pictures
from model_core.io.dicom.dataset import looks_like_dicom
from model_core.io.dicom.segmentation import segments_on
from model_core.io.failures import FileError, quiet
from model_core.io.stack import natural_key
from model_core.types import ByteArray, Volume


def read_labels(path: Path, volume: Volume) -> ByteArray:
    """Read a label mask in the volume's grid and display order.

    Parameters
    ----------
    path:
        A NIfTI, NRRD or MetaImage label volume; a DICOM segmentation of the volume's series; a picture for a
        volume of one slice; or a folder of pictures, matched by name (or by order, where the counts are
        equal).
    volume:
        The open volume.

    Returns
    -------
    ByteArray
        (D, H, W) label numbers, 0 where nothing is labelled. A mask on another grid that states its
        position is resampled to the nearest voxel.

    Raises
    ------
    ReadError
        The mask cannot be read, is no label mask, or does not fit the volume.
    """
    path = Path(path)
    if path.is_dir():
        return _from_pictures(sorted(path.iterdir(), key=lambda item: natural_key(item.name)), volume)
    if itk_formats.suffix_of(path):
        return _from_volume_file(path, volume)
    if _is_dicom(path):
        return segments_on(path, volume)
    return _from_pictures([path], volume)


def _as_labels(values: npt.NDArray[Any]) -> ByteArray:
    if values.size and (values.min() < 0 or values.max() > 255 or bool((values != np.rint(values)).any())):
        raise ReadError(
            f"This is no label mask: its values run from {values.min():g} to {values.max():g}; "
            "labels are whole numbers from 0 to 255."
        )
    return np.ascontiguousarray(values, dtype=np.uint8)


def _from_volume_file(path: Path, volume: Volume) -> ByteArray:
    header = itk_formats.read_header(path)
    values = itk_formats.read_values(header)
    transform = itk_formats.index_transform(volume.geometry, header)
    if transform is None:
        # One of the two does not say where it lies, so only the size can be compared.
        native = tuple(volume.geometry.to_native(volume.voxels).shape)
        if header.shape == native:
            return _as_labels(volume.geometry.from_native(values))
        shown = header.geometry.from_native(values)
        if shown.shape == volume.voxels.shape:
            return _as_labels(shown)
        raise ReadError(
            f"The mask has {_size(header.shape)} voxels, the series {_size(native)}, and their positions "
            "in the patient are not both known: use a mask made from this series."
        )
    return _as_labels(_sample(values, transform, volume.voxels.shape))


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(count) for count in shape[::-1])


def _sample(
    values: npt.NDArray[Any],
    transform: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    shape: tuple[int, ...],
) -> npt.NDArray[Any]:
    """Return the value at the nearest voxel for every displayed voxel, 0 outside the mask's volume."""
    matrix, offset = transform
    out = np.zeros(shape, values.dtype)
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    hit = False
    limits = np.array(values.shape)
    for index in range(shape[0]):
        base = matrix[:, 0] * index + offset
        # The small shift keeps centres that lie exactly between two voxels from flickering by rounding.
        where = [
            np.floor(base[axis] + matrix[axis, 1] * rows + matrix[axis, 2] * columns + 0.5 + 1e-6).astype(
                np.int64
            )
            for axis in range(3)
        ]
        inside = np.ones(rows.shape, bool)
        for axis in range(3):
            inside &= (where[axis] >= 0) & (where[axis] < limits[axis])
        hit = hit or bool(inside.any())
        out[index][inside] = values[tuple(axis[inside] for axis in where)]
    if not hit:
        raise ReadError("The mask lies elsewhere in the patient: it does not overlap this series.")
    return out


def _from_pictures(paths: list[Path], volume: Volume) -> ByteArray:
    found = [path for path in paths if path.is_file() and _is_picture(path)]
    if not found:
        raise ReadError(
            "No mask was found: give a NIfTI, NRRD or MHA label volume, a DICOM SEG, or PNG pictures."
        )
    depth, height, width = volume.voxels.shape
    by_name = {path.stem: path for path in found}
    names = [Path(name).stem for name in volume.slice_names]
    pick: Callable[[int], Path | None]
    if any(name in by_name for name in names):
        pick = lambda index: by_name.get(names[index])  # noqa: E731 - two one-line rules side by side
    elif len(found) == depth:
        pick = lambda index: found[index]  # noqa: E731
    else:
        raise ReadError(
            f"There are {len(found)} mask pictures for {depth} slices and their names do not match: "
            "name them like the slices."
        )
    labels = np.zeros((depth, height, width), np.uint8)
    for index in range(depth):
        path = pick(index)
        if path is None:
            continue
        values = _mask_picture(path)
        if values.shape != (height, width):
            raise ReadError(
                f"The mask {path.name} has {values.shape[1]} x {values.shape[0]} pixels, "
                f"its slice {width} x {height}."
            )
        labels[index] = _as_labels(values)
    return labels


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return looks_like_dicom(stream.read(132))
    except OSError:
        return False


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return pictures.looks_like_picture(stream.read(8))
    except OSError:
        return False


def _mask_picture(path: Path) -> npt.NDArray[Any]:
    from PIL import Image

    with quiet():
        try:
            with path.open("rb") as stream, Image.open(stream, formats=("PNG",)) as image:
                # The index of a palette picture is its label; its colours mean nothing.
                if image.mode in ("P", "L", "1"):
                    return np.asarray(image).astype(np.uint8)
        except pictures.FAILURES as error:
            raise ReadError(f"The mask {path.name} cannot be read as a PNG picture.") from error
        try:
            return pictures.read_picture(path)
        except FileError as error:
            raise ReadError(f"The mask {path.name} cannot be read: {error.message}") from error
