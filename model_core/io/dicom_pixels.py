"""Read the stored values of DICOM frames.

Uncompressed pixels are read straight from their place in the file; everything else goes through
pydicom, which tries each installed decoder in turn, and last through SimpleITK, the only decoder without
the GPL for 12-bit extended JPEG.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_color_lut, get_decoder

from model_core.io.dicom_header import (
    EXPLICIT_BE,
    FileHeader,
    Frame,
    read_dataset,
    syntax_name,
)
from model_core.io.failures import LIBRARY_FAILURES, FileError, plain_reason
from model_core.types import FloatArray

StoredArray = npt.NDArray[Any]

# ITU-R BT.601 luma, the weights of the YBR conversion in PS3.3 C.7.6.3.1.2.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# Lossy and lossless JPEG processes that SimpleITK's own library decodes.
_JPEG_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91))


def read_stored(header: FileHeader, indices: Iterable[int]) -> Iterator[StoredArray]:
    """Yield frames of one file as stored: (rows, columns), or (rows, columns, 3) for colour.

    Bits outside BitsStored are cleared or sign-extended. Palettes are applied, colours are RGB.

    Raises
    ------
    FileError
        The frames cannot be read; the text says why and what would be needed.
    """
    try:
        if _is_plain(header):
            yield from _plain(header, indices)
        else:
            yield from _decoded(header, indices)
    except FileError:
        raise
    except LIBRARY_FAILURES as error:
        raise FileError(
            plain_reason(error), transfer_syntax=header.transfer_syntax, details=type(error).__name__
        ) from error


def rescaled(stored: StoredArray, frame: Frame) -> npt.NDArray[Any]:
    """Apply the frame's own rescale: int32 where that is exact, else float32.

    Colour becomes luminance first.
    """
    if stored.ndim == 3:
        stored = stored[..., :3] @ _LUMA
    whole = float(frame.slope).is_integer() and float(frame.intercept).is_integer()
    if whole and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        values = stored.astype(np.int32)
        if frame.slope != 1.0:
            values *= int(frame.slope)
        values += int(frame.intercept)
        return values
    exact: FloatArray = (stored.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)
    return exact


# -------------------------------------------------------------------------------------- uncompressed


def _is_plain(header: FileHeader) -> bool:
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
            yield _used_bits(values.astype(dtype.newbyteorder("="), copy=False), header)


def _used_bits(values: StoredArray, header: FileHeader) -> StoredArray:
    """Keep the stored bits only: older files hide overlays in the others (PS3.5 8.1.1)."""
    unused = header.bits_allocated - header.bits_stored
    if unused == 0:
        return values
    # Shifting up drops the bits above, shifting down again extends the sign or fills zeros.
    return (values << unused) >> unused


# ---------------------------------------------------------------------------------------- compressed


def _decoded(header: FileHeader, indices: Iterable[int]) -> Iterator[StoredArray]:
    with header.path.open("rb") as stream:
        dataset = read_dataset(stream, pixels=True)
    if header.pixel_keyword not in dataset:
        raise FileError("The compressed pixel data is cut off. Copy the file again.")
    if not getattr(dataset, "file_meta", None):
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = header.transfer_syntax
    for index in indices:
        yield _decode(dataset, header, index)


def _decode(dataset: Any, header: FileHeader, index: int) -> StoredArray:
    colour = header.samples > 1
    try:
        decoder = get_decoder(header.transfer_syntax)
        array, _ = decoder.as_array(dataset, index=index, raw=not colour)
        if header.photometric == "PALETTE COLOR":
            array = apply_color_lut(array, dataset)
    except LIBRARY_FAILURES as error:
        if header.transfer_syntax in _JPEG_SYNTAXES and not colour:
            return _decode_with_itk(dataset, header, index)
        raise FileError(
            f"The pixels cannot be decoded ({syntax_name(header.transfer_syntax)}): "
            "they are damaged, or of a kind that no decoder without the GPL reads.",
            transfer_syntax=header.transfer_syntax,
            details=type(error).__name__,
        ) from error
    if array.shape[:2] != (header.rows, header.columns):
        raise FileError(
            f"The decoded picture is {array.shape[1]} x {array.shape[0]} pixels, "
            f"the header says {header.columns} x {header.rows}."
        )
    return array


def _decode_with_itk(dataset: Any, header: FileHeader, index: int) -> StoredArray:
    """Decode one JPEG frame with SimpleITK from a private file that holds nothing but the pixels."""
    import SimpleITK as sitk  # noqa: N813 - the library's own abbreviation

    codestream = next(
        data
        for number, data in enumerate(generate_frames(dataset.PixelData, number_of_frames=header.frame_count))
        if number == index
    )
    lone = pydicom.Dataset()
    lone.file_meta = pydicom.dataset.FileMetaDataset()
    lone.file_meta.TransferSyntaxUID = header.transfer_syntax
    lone.file_meta.MediaStorageSOPClassUID = lone.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    lone.file_meta.MediaStorageSOPInstanceUID = lone.SOPInstanceUID = pydicom.uid.generate_uid()
    lone.Rows, lone.Columns, lone.SamplesPerPixel = header.rows, header.columns, 1
    lone.BitsAllocated, lone.BitsStored, lone.HighBit = (
        header.bits_allocated,
        header.bits_stored,
        header.bits_stored - 1,
    )
    lone.PixelRepresentation = int(header.signed)
    lone.PhotometricInterpretation = "MONOCHROME2"
    lone.PixelData = encapsulate([codestream])
    lone["PixelData"].is_undefined_length = True
    lone["PixelData"].VR = "OB"
    with tempfile.TemporaryDirectory(prefix="ctmasknet-") as folder:
        path = Path(folder) / "frame.dcm"
        lone.save_as(path, enforce_file_format=True)
        try:
            sitk.ProcessObject.SetGlobalWarningDisplay(False)
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except LIBRARY_FAILURES as error:
            raise FileError(
                f"The pixels cannot be decoded ({syntax_name(header.transfer_syntax)}): they are damaged.",
                transfer_syntax=header.transfer_syntax,
                details=type(error).__name__,
            ) from error
    values: StoredArray = array.reshape(array.shape[-2:])
    if values.shape != (header.rows, header.columns):
        raise FileError("The decoded picture has another size than the header says.")
    return values


