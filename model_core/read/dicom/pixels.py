"""Read the stored values of DICOM frames, and turn them into the values that they stand for.

Uncompressed pixels are read straight from their place in the file; everything else is decoded in a
process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, FloatArray, VoxelArray
from model_core.base.volume import PatientText
from model_core.read import sandbox
from model_core.read.dicom.records import FileHeader, Frame
from model_core.read.dicom.transfer_syntax import EXPLICIT_BE
from model_core.read.errors import LIBRARY_FAILURES, FileError
from model_core.read.tolerances import PADDING_HU
from model_core.read.values import LUMA, clip_int16

StoredArray = npt.NDArray[Any]

_INT16 = np.iinfo(np.int16)


def read_stored(header: FileHeader, indices: Iterable[int], *, palette: bool = True) -> Iterator[StoredArray]:
    """Yield frames of one file as stored: (rows, columns), or (rows, columns, 3) RGB for colour.

    Bits outside BitsStored are cleared or sign-extended.

    Parameters
    ----------
    header:
        Of the file.
    indices:
        Frame numbers, from 0.
    palette:
        Whether palette indices are turned into colours.

    Raises
    ------
    FileError
        The frames cannot be read; the text says why and what would be needed.
    """
    for frame in read_each(header, indices, palette=palette):
        if isinstance(frame, FileError):
            raise frame
        yield frame


def read_each(
    header: FileHeader, indices: Iterable[int], *, palette: bool = True
) -> Iterator[StoredArray | FileError]:
    """Yield frames as `read_stored` does; in place of one that cannot be decoded comes its error.

    Raises
    ------
    FileError
        The file cannot be read, or its decoder ended at the frame after the last one that came.
    """
    try:
        if is_plain(header):
            yield from _plain(header, indices)
        else:
            for frame in _decoded(header, list(indices), palette=palette):
                if isinstance(frame, FileError):
                    frame.transfer_syntax = header.transfer_syntax
                yield frame
    except FileError as error:
        error.transfer_syntax = header.transfer_syntax
        raise
    except LIBRARY_FAILURES as error:
        raise FileError.of(error, transfer_syntax=header.transfer_syntax) from error


def rescaled(stored: StoredArray, frame: Frame) -> npt.NDArray[Any]:
    """Apply the frame's own rescale or Modality LUT: int32 or int64 where that is exact, else float32.

    Colour becomes luminance first.
    """
    if stored.ndim == 3:
        stored = np.rint(stored[..., :3] @ LUMA).astype(stored.dtype)
    if frame.table is not None:
        return frame.table.apply(stored).astype(np.int32)
    whole = float(frame.slope).is_integer() and float(frame.intercept).is_integer()
    small = max(abs(frame.slope), abs(frame.intercept)) <= _INT16.max
    if whole and small and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        values = stored.astype(np.int32)
        if frame.slope != 1.0:
            # At most 2^16 * 2^15: int32 holds it, but for the sum with the intercept.
            return values.astype(np.int64) * int(frame.slope) + int(frame.intercept)
        values += int(frame.intercept)
        return values
    exact: FloatArray = (stored.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)
    return exact


def padding_mask(stored: StoredArray, header: FileHeader) -> BoolArray | None:
    """Return where stored values say "outside the field of view", None where nothing does."""
    if header.padding is None or stored.ndim != 2:
        return None
    mask: BoolArray = (stored >= header.padding[0]) & (stored <= header.padding[1])
    return mask if mask.any() else None


# ---------------------------------------------------------------------------------------- compressed


def _decoded(header: FileHeader, indices: list[int], *, palette: bool) -> Iterator[StoredArray | FileError]:
    # Decoders need to know neither whose picture it is nor what it is a part of.
    values = asdict(replace(header, padding=None, concatenation=None, patient=PatientText()))
    for keyword in ("path", "concatenation", "patient"):
        del values[keyword]
    # Palettes hold up to three 16-bit values per pixel, decoders answer with up to 32 bits.
    most = header.rows * header.columns * max(3, header.samples) * 8
    shape = (header.rows, header.columns)
    for frame in sandbox.stream(
        decode,
        header.path,
        count=len(indices),
        max_bytes=most,
        values=values,
        indices=indices,
        palette=palette,
    ):
        answered = getattr(frame, "shape", None)
        if not isinstance(frame, FileError) and answered not in (shape, (*shape, 3)):
            raise sandbox.unusable(f"shape {answered}")
        yield frame


def decode(
    path: Path, *, values: dict[str, Any], indices: list[int], palette: bool
) -> Iterator[StoredArray | FileError]:
    """Decode frames of a file, of whose header these are the values; see `dicom.decode.decode_frames`.

    Runs in the sandbox. The decoders are imported there only: that takes a while.
    """
    from model_core.read.dicom.decode import decode_frames

    return decode_frames(FileHeader(path=path, **values), indices, palette=palette)


def import_decoders(_path: Path) -> dict[str, Any]:
    """Import in the sandbox what decodes, before there is a file."""
    from model_core.read.dicom import decode

    decode.import_decoders()
    return {}


# -------------------------------------------------------------------------------------- uncompressed


def is_plain(header: FileHeader) -> bool:
    """Whether the values lie uncompressed in the file, one after another in whole bytes."""
    return (
        header.pixel_offset >= 0
        and header.samples == 1
        and header.bits_allocated in (8, 16, 32)
        and header.pixel_keyword == "PixelData"
        and not header.colour
        # 8-bit pixels of big endian files may be swapped in words (PS3.5 A.3): pydicom knows.
        and not (header.transfer_syntax == EXPLICIT_BE and header.bits_allocated == 8)
    )


def _plain(header: FileHeader, indices: Iterable[int]) -> Iterator[StoredArray]:
    width = header.bits_allocated // 8
    order = ">" if header.transfer_syntax == EXPLICIT_BE else "<"
    dtype = np.dtype(f"{order}{'i' if header.signed else 'u'}{width}")
    size = header.rows * header.columns * width
    with header.path.open("rb") as stream:
        for index in indices:
            stream.seek(header.pixel_offset + index * size)
            data = stream.read(size)
            if len(data) < size:
                raise FileError("The pixel data is cut off: the file became shorter.")
            values = np.frombuffer(data, dtype).reshape(header.rows, header.columns)
            yield header.used_bits(values.astype(dtype.newbyteorder("="), copy=False))


def read_int16(frame: Frame, out: VoxelArray, *, air: bool) -> tuple[int, int] | None:
    """Read one uncompressed 16-bit frame straight into its place in a volume, rescaled.

    Parameters
    ----------
    frame:
        Of a file that `is_plain`.
    out:
        (rows, columns) int16, contiguous; filled.
    air:
        Whether the values are Hounsfield units; see `apply_padding`.

    Returns
    -------
    tuple or None
        How many values were cut to int16, and how many count as padding; None where this frame needs
        the general way (nothing is filled then).

    Raises
    ------
    FileError
        The file cannot be read or became shorter.
    """
    header = frame.header
    intercept = int(frame.intercept)
    if (
        header.bits_allocated != 16
        or header.transfer_syntax == EXPLICIT_BE
        or header.padding_words is not None
        or frame.table is not None
        or frame.slope != 1.0
        or intercept != frame.intercept
        or abs(intercept) > _INT16.max
    ):
        return None
    _read_exactly(frame, out)
    unsigned = out.view(np.uint16)
    stored: StoredArray = out if header.signed else unsigned
    above, below = header.unused_bits
    if above or below:
        np.left_shift(stored, above, out=stored)
        np.right_shift(stored, above + below, out=stored)
    low, high = _ends(stored, header, intercept)
    mask = None
    if header.padding is not None and low <= header.padding[1] and high >= header.padding[0]:
        mask = padding_mask(stored, header)
    if low + intercept < _INT16.min or high + intercept > _INT16.max:
        return store_int16(stored.astype(np.int32) + intercept, mask, out, air=air)
    if intercept:
        # The sums fit, so adding modulo 2^16 gives them for signed and unsigned values alike.
        np.add(unsigned, np.uint16(intercept & 0xFFFF), out=unsigned)
    return 0, apply_padding(out, mask, air=air)


def _ends(stored: StoredArray, header: FileHeader, intercept: int) -> tuple[int, int]:
    """Return bounds of the stored values: found by a pass over them only where more than the type matters."""
    bits = min(header.bits_stored, 16)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if header.signed else (0, (1 << bits) - 1)
    if header.padding is not None or low + intercept < _INT16.min:
        low = int(stored.min())
    if header.padding is not None or high + intercept > _INT16.max:
        high = int(stored.max())
    return low, high


def store_int16(
    values: npt.NDArray[Any], padding: BoolArray | None, out: VoxelArray, *, air: bool
) -> tuple[int, int]:
    """Bring rescaled values into their place in a volume, with padding as background.

    Parameters
    ----------
    padding:
        Of `padding_mask`, or None.
    out:
        int16, the shape of the values; filled.
    air:
        Whether they are Hounsfield units; see `apply_padding`.

    Returns
    -------
    tuple
        How many values were cut to int16, and how many count as padding.
    """
    clipped = clip_int16(values, out)
    if padding is None:
        return clipped, 0
    background = _background(out, padding, air=air)
    if clipped:
        clipped -= int(np.count_nonzero(background & ((values < _INT16.min) | (values > _INT16.max))))
    return clipped, int(np.count_nonzero(background))


def apply_padding(voxels: VoxelArray, padding: BoolArray | None, *, air: bool) -> int:
    """Turn padding into background, in place; return how many pixels that were.

    Padding below -1024 is raised to it. Padding above every other pixel becomes -1024 in Hounsfield units
    (``air``), else the lowest other value. Padding among real values is left alone, it may be real.
    """
    return 0 if padding is None else int(np.count_nonzero(_background(voxels, padding, air=air)))


def darken_padding(pixels: npt.NDArray[Any], padding: BoolArray) -> None:
    """Give padding above every other pixel the lowest value of those, in place."""
    real = pixels[~padding]
    if real.size:
        pixels[padding & (pixels > real.max())] = real.min()


def _background(voxels: VoxelArray, padding: BoolArray, *, air: bool) -> BoolArray:
    """Paint the padding that is background; return where it is."""
    outside: BoolArray = padding & (voxels < PADDING_HU)
    real = voxels[~padding]
    voxels[outside] = PADDING_HU
    if not real.size and not air:
        return outside
    bright: BoolArray = padding & (voxels > (real.max() if real.size else PADDING_HU))
    voxels[bright] = PADDING_HU if air else real.min()
    return outside | bright


def _read_exactly(frame: Frame, out: VoxelArray) -> None:
    target = out.reshape(-1).view(np.uint8).data
    try:
        with open(frame.header.path, "rb", buffering=0) as stream:  # noqa: PTH123 - unbuffered, once per slice
            stream.seek(frame.header.pixel_offset + frame.index * len(target))
            done = 0
            while done < len(target):
                count = stream.readinto(target[done:])
                if not count:
                    raise FileError("The pixel data is cut off: the file became shorter.")
                done += count
    except OSError as error:
        raise FileError.of(error, transfer_syntax=frame.header.transfer_syntax) from error
