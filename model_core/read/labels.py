"""Read a reference mask and bring it onto the grid of an open volume."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import ByteArray
from model_core.base.errors import ReadError
from model_core.base.filenames import FETCH, absent, natural_key, partners, plain_name
from model_core.base.volume import Catalogue, SeriesEntry, Volume
from model_core.read import pictures
from model_core.read.dicom.dataset import looks_like_dicom
from model_core.read.dicom.segmentation import is_segmentation, segments_on
from model_core.read.dicom.series import DicomSource
from model_core.read.errors import FileError, quiet
from model_core.read.volumes import files as volume_files
from model_core.read.volumes import series as volume_series

_PICTURE = re.compile(r"\.(?:png|jpe?g)$", re.IGNORECASE)
# Ending of a file name; the last part of a UID is a number, and none.
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")


# Label maps of whole bodies have some hundred labels; grey pictures have nearly all 256 values.
_MOST_LABELS = 128
# Pixels that equal their neighbour: nearly all of labelled areas, few of anything measured.
_FLAT = 0.9
# Pictures of a folder that are looked at.
_LOOKED_AT = 8
# Volume files and folders of pictures whose values are read to tell what they are.
_MOST_READ = 8


def read_labels(path: Path, volume: Volume) -> ByteArray:
    """Read a label mask in the volume's grid and display order.

    Parameters
    ----------
    path:
        A NIfTI, NRRD or MetaImage label volume; a DICOM segmentation of the volume's series; a picture for a
        volume of one slice; or a folder of pictures, each named like its slice: the whole name or that
        without its ending (``1.2.3``, ``a.dcm.png`` or ``a.png`` for ``a.dcm``), in any Unicode form, and in
        any case where that is unique.
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
        The mask cannot be read, is not here (a dead link, a pointer), is no label mask, or does not fit the
        volume.
    """
    path = Path(path)
    _refuse_absent(path)
    if path.is_dir():
        return _from_pictures(sorted(path.iterdir(), key=lambda item: natural_key(item.name)), volume)
    if volume_files.suffix_of(path):
        return _from_volume_file(path, volume)
    if _is_dicom(path):
        return segments_on(path, volume)
    if volume.slices == 1:
        # One picture was chosen for one slice, whatever they are called.
        volume = dataclasses.replace(volume, slice_names=(path.name,))
    return _from_pictures([path], volume)


def masks_among(catalogue: Catalogue, *, volume: Volume | None = None) -> frozenset[str]:
    """Return the ids of the series that are label masks of other images, by their kind, else by their values.

    DICOM segmentations say so. Of volume files and PNG pictures the values are read (few whole numbers from 0
    to 255 in flat areas): where there are few of them, and another series, or the open ``volume``, has their
    size. Beside an open volume masks of other sizes count too: `mask_for` brings them onto its grid.
    """
    masks = {entry.series_id for entry in catalogue.series if _is_segmentation(entry)}
    others = [entry for entry in catalogue.series if not isinstance(entry.source, DicomSource)]
    sizes = Counter(_any_order(entry.size) for entry in catalogue.series)
    if len(others) <= _MOST_READ:
        for entry in others:
            if (volume is not None or sizes[_any_order(entry.size)] > 1) and _has_labels(entry):
                masks.add(entry.series_id)
    return frozenset(masks)


def mask_for(entry: SeriesEntry, volume: Volume) -> ByteArray:
    """Return a mask found by a scan on the grid of a volume.

    Returns
    -------
    ByteArray
        (D, H, W) labels in display order, as `read_labels` gives them.

    Raises
    ------
    ReadError
        It does not fit the volume, or cannot be read.
    """
    source = entry.source
    if isinstance(source, DicomSource):
        path = source.frames[0].header.path
    elif isinstance(source, pictures.PictureSource):
        path = source.paths[0] if len(source.paths) == 1 else source.paths[0].parent
    elif isinstance(source, volume_series.VolumeSource):
        path = source.header.path
    else:
        raise ReadError("This mask was not found by a scan: open it again.")
    labels = read_labels(path, volume)
    if not labels.any():
        raise ReadError(f"Nothing of the mask '{path.name}' lies on this series.")
    return labels


def _as_labels(values: npt.NDArray[Any]) -> ByteArray:
    if values.size and (values.min() < 0 or values.max() > 255 or bool((values != np.rint(values)).any())):
        raise ReadError(
            f"This is no label mask: its values run from {values.min():g} to {values.max():g}; "
            "labels are whole numbers from 0 to 255."
        )
    return np.ascontiguousarray(values, dtype=np.uint8)


def _from_volume_file(path: Path, volume: Volume) -> ByteArray:
    header = volume_series.read_header(path)
    values = volume_series.read_values(header)
    transform = volume_series.index_transform(volume.geometry, volume.slices, header)
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
    from scipy.ndimage import affine_transform

    matrix, offset = transform
    # The small shift keeps centres that lie exactly between two voxels from flickering by rounding.
    place = {"matrix": matrix, "offset": offset + 1e-6, "output_shape": shape, "order": 0}
    sampled: npt.NDArray[Any] = affine_transform(values, mode="grid-constant", **place)
    if not sampled.any():
        inside = affine_transform(np.ones(values.shape, np.uint8), mode="grid-constant", **place)
        if not inside.any():
            raise ReadError("The mask lies elsewhere in the patient: it does not overlap this series.")
    return sampled


def _from_pictures(paths: list[Path], volume: Volume) -> ByteArray:
    files = [path for path in paths if not path.is_dir() and _is_mask(path)]
    if not files:
        raise ReadError(
            "No mask was found: give a NIfTI, NRRD or MHA label volume, a DICOM SEG, or PNG pictures."
        )
    depth, height, width = volume.voxels.shape
    labels = np.zeros((depth, height, width), np.uint8)
    for index, path in _by_slice(files, volume).items():
        values = _mask_picture(path)
        if values.shape != (height, width):
            raise ReadError(
                f"The mask {path.name} has {values.shape[1]} x {values.shape[0]} pixels, "
                f"its slice {width} x {height}."
            )
        labels[index] = _as_labels(values)
    return labels


def _by_slice(files: list[Path], volume: Volume) -> dict[int, Path]:
    """Return the mask of each slice that has one, by name: order alone never says which slice is meant."""
    if not volume.slice_names:
        raise ReadError(
            "The slices of this series have no names that mask pictures could have: give a NIfTI, NRRD or "
            "MHA label volume."
        )
    slices: dict[str, set[int]] = {}
    for index, name in enumerate(map(plain_name, volume.slice_names)):
        for key in (name, _ENDING.sub("", name)):
            slices.setdefault(key, set()).add(index)
    masks: dict[str, Path] = {}
    for path in files:
        # Named like a picture of the series, or like a slice of any kind with an ending of its own.
        name = plain_name(path.name)
        key = name if name in slices else _PICTURE.sub("", name)
        if masks.setdefault(key, path) != path:
            raise _two_masks(key, masks[key], path)
    meant: dict[int, Path] = {}
    for key, name in partners(slices, masks).items():
        if len(slices[key]) > 1:
            raise ReadError(
                f"The mask {masks[name].name} has the name of {len(slices[key])} slices ('{key}'): give a "
                "NIfTI, NRRD or MHA label volume."
            )
        (index,) = slices[key]
        if meant.setdefault(index, masks[name]) != masks[name]:
            raise _two_masks(volume.slice_names[index], meant[index], masks[name])
    lonely = [path.name for path in files if path not in meant.values()]
    # Masks of slices that were left out when the series was opened are not missed.
    if lonely and (not meant or volume.every == 1):
        raise ReadError(
            f"{len(lonely)} of {len(files)} mask pictures have the name of no slice, first '{lonely[0]}': "
            f"name them like the slices (the first is '{volume.slice_names[0]}')."
        )
    return meant


def _two_masks(name: str, first: Path, second: Path) -> ReadError:
    return ReadError(f"Two masks have the name of the slice '{name}': {first.name} and {second.name}.")


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return looks_like_dicom(stream.read(132))
    except OSError:
        return False


def _is_mask(path: Path) -> bool:
    """Whether a file is a picture, or would be one if it were here or whole.

    Raises
    ------
    ReadError
        The content of a mask is not here, or it is no picture.
    """
    if path.name.startswith("."):
        return False
    named = bool(_PICTURE.search(path.name))
    # A mask may be named by a UID, without the ending of a picture.
    if named or not _ENDING.search(path.name):
        _refuse_absent(path)
    try:
        with path.open("rb") as stream:
            picture = pictures.looks_like_picture(stream.read(8))
    except OSError as error:
        raise ReadError(f"The mask {path.name} cannot be read.", details=str(error)) from error
    if named and not picture:
        raise ReadError(f"The mask {path.name} is damaged: it is no PNG or JPEG picture.")
    return picture


def _refuse_absent(path: Path) -> None:
    if reason := absent(path):
        raise ReadError(f"The mask {path.name} is not here: it is {reason}. {FETCH}")


def _mask_picture(path: Path) -> npt.NDArray[Any]:
    from PIL import Image

    with quiet():
        try:
            with path.open("rb") as stream, Image.open(stream, formats=("PNG",)) as image:
                # The index of a palette picture is its label; its colours mean nothing.
                if image.mode in ("P", "L", "1"):
                    return np.asarray(pictures.upright(image)).astype(np.uint8)
        except pictures.FAILURES as error:
            raise ReadError(f"The mask {path.name} cannot be read as a PNG picture.") from error
        try:
            return pictures.read_picture(path)
        except FileError as error:
            raise ReadError(f"The mask {path.name} cannot be read: {error.message}") from error


# -------------------------------------------------------------------------------- masks among images


def _is_segmentation(entry: SeriesEntry) -> bool:
    source = entry.source
    return isinstance(source, DicomSource) and is_segmentation(source.frames[0].header)


def _any_order(size: tuple[int, int, int]) -> tuple[int, ...]:
    """Return a size whatever the order of its axes."""
    return tuple(sorted(size))


def _has_labels(entry: SeriesEntry) -> bool:
    source = entry.source
    try:
        if isinstance(source, volume_series.VolumeSource):
            return _labelled([volume_series.read_values(source.header)])
        if isinstance(source, pictures.PictureSource) and not source.deep:
            step = max(1, len(source.paths) // _LOOKED_AT)
            return _labelled([pictures.read_picture(path) for path in source.paths[::step]])
    except ReadError:
        return False
    return False


def _labelled(parts: list[npt.NDArray[Any]]) -> bool:
    values = np.concatenate([np.unique(part) for part in parts])
    numbers = np.unique(values[np.isfinite(values)])
    if len(numbers) < 2 or len(numbers) > _MOST_LABELS or len(values) > len(parts) * _MOST_LABELS:
        return False
    if numbers[0] != 0 or numbers[-1] > 255 or bool((numbers != np.rint(numbers)).any()):
        return False
    equal = [float(np.mean(part[..., 1:] == part[..., :-1])) for part in parts if part.shape[-1] > 1]
    return bool(equal) and float(np.mean(equal)) >= _FLAT
