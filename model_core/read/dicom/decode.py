"""Decode the compressed frames of a DICOM file. Runs in the sandbox.

pydicom tries each installed decoder in turn; what it does not know is done here: one-bit RLE, the
deflated image frame syntax, and SimpleITK as the only decoder without the GPL for 12-bit JPEG. Ordinary
lossless JPEG, what most scanners write, goes to libjpeg-turbo, which decodes it several times as fast.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import encapsulate, generate_frames, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID, SecondaryCaptureImageStorage

from model_core.read.dicom.codestream import declared_size, lossless_precision
from model_core.read.dicom.dataset import read_dataset
from model_core.read.dicom.records import FileHeader
from model_core.read.dicom.transfer_syntax import DEFLATED_LE, ENCAPSULATED_LE, NATIVE_SYNTAXES, syntax_name
from model_core.read.errors import LIBRARY_FAILURES, FileError
from model_core.read.sandbox import PrivateFolder

StoredArray = npt.NDArray[Any]

RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
# What an uncompressed frame needs no conversion for.
_PLAIN_COLOURS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB")
_GREY = ("MONOCHROME1", "MONOCHROME2")
# Rows and Columns are 16-bit numbers.
_LARGEST_SIDE = 0xFFFF
# Those that a decoder under the GPL, which is not shipped, may still read where it is installed.
_JPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70))
_LOSSLESS_JPEG_SYNTAXES = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
# Where all bits of a value are stored, the unused ones too; codestreams hold the used ones only.
_WHOLE_WORDS = frozenset((*NATIVE_SYNTAXES, DEFLATED_LE, RLE))
# Lossy and lossless JPEG processes that SimpleITK's own library decodes.
_ITK_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91)
)


def import_decoders() -> None:
    """Import the libraries that compressed pixels are decoded with."""
    get_decoder("1.2.840.10008.1.2.4.70")
    with contextlib.suppress(ImportError):
        from imagecodecs import jpeg8_decode  # noqa: F401 - so that it is there


def decode_frames(
    header: FileHeader, indices: Iterable[int], *, palette: bool
) -> Iterator[StoredArray | FileError]:
    """Yield frames as stored: (rows, columns), or (rows, columns, 3) RGB for colour.

    In place of a frame that cannot be decoded comes the error, which says why and what would be needed:
    the frames after it may be sound.

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
        The file cannot be read at all.
    """
    indices = list(indices)
    if header.transfer_syntax in _LOSSLESS_JPEG_SYNTAXES and header.codestream_offset >= 0 and indices == [0]:
        # Without parsing the header again: that would take longer than the decoding is sped up by.
        picture = _lossless_jpeg(_only_codestream(header), header)
        if picture is not None:
            yield picture
            return
    dataset = _dataset(header)
    for index in indices:
        yield _decode_one(dataset, header, index, palette=palette)


def _dataset(header: FileHeader) -> Any:
    try:
        with header.path.open("rb") as stream:
            dataset = read_dataset(stream, pixels=True)
        if header.pixel_keyword not in dataset:
            raise FileError("The compressed pixel data is cut off. Copy the file again.")
        if not getattr(dataset, "file_meta", None):
            dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = header.transfer_syntax
    except FileError as error:
        error.transfer_syntax = header.transfer_syntax
        raise
    except LIBRARY_FAILURES as error:
        raise FileError.of(error, transfer_syntax=header.transfer_syntax) from error
    return dataset


def _only_codestream(header: FileHeader) -> bytes:
    """Return the codestream of a file with one frame; nothing where its items are damaged."""
    try:
        with header.path.open("rb") as stream:
            stream.seek(header.codestream_offset)
            return bytes(get_frame(stream.read(), 0, number_of_frames=1))
    except LIBRARY_FAILURES:
        return b""


def _lossless_jpeg(data: bytes, header: FileHeader) -> StoredArray | None:
    """Decode grey lossless JPEG (T.81 annex H); None for what the other decoders are to judge.

    That is all that is not whole or not as the header says: they know what to make of it.
    """
    known = header.samples == 1 and header.bits_allocated in (8, 16) and header.photometric in _GREY
    size = (header.rows, header.columns)
    if not known or not lossless_precision(data) or declared_size(data) != size:
        return None
    try:
        from imagecodecs import jpeg8_decode

        words: StoredArray = jpeg8_decode(data)
    except LIBRARY_FAILURES:
        return None
    if words.shape != size or words.dtype.itemsize * 8 != header.bits_allocated:
        return None
    if header.signed:
        words = words.view(f"i{words.dtype.itemsize}")
    # Only the stored bits count: 0 or the sign is extended over the others, as pydicom does it.
    above = header.bits_allocated - header.bits_stored
    if above:
        np.left_shift(words, above, out=words)
        np.right_shift(words, above, out=words)
    return words


def _decode_one(dataset: Any, header: FileHeader, index: int, *, palette: bool) -> StoredArray | FileError:
    try:
        picture = _decode(dataset, header, index)
        if palette and header.photometric == "PALETTE COLOR":
            picture = apply_color_lut(picture, dataset)
    except FileError as error:
        error.transfer_syntax = header.transfer_syntax
        return error
    except LIBRARY_FAILURES as error:
        return FileError.of(error, transfer_syntax=header.transfer_syntax)
    return picture


def _decode(dataset: Any, header: FileHeader, index: int) -> StoredArray:
    if header.transfer_syntax == DEFLATED_FRAME:
        picture = _from_bytes(_inflated_frame(dataset, header, index), header)
    elif header.transfer_syntax == ENCAPSULATED_LE and header.photometric in _PLAIN_COLOURS:
        picture = _from_bytes(_frame_bytes(dataset, header, index), header)
    elif header.transfer_syntax == RLE and header.bits_allocated == 1:
        packed = unpack_rle(_frame_bytes(dataset, header, index), (header.rows * header.columns + 7) // 8)
        picture = _from_bytes(packed, header)
    else:
        if header.encapsulated:
            _check_shape(declared_size(_frame_bytes(dataset, header, index)), header)
        picture = _with_libraries(dataset, header, index)
    _check_shape((picture.shape[0], picture.shape[1]), header)
    return picture


def _check_shape(size: tuple[int, int] | None, header: FileHeader) -> None:
    # JPEG may leave the rows to a marker behind the picture (T.81 B.2.5): they are 0 then.
    if size is not None and max(size) > _LARGEST_SIDE:
        raise FileError("The compressed picture is damaged: the size that it declares is impossible.")
    if size is not None and size != (header.rows, header.columns) and size[0] != 0:
        raise FileError(
            f"The picture in the file is {size[1]} x {size[0]} pixels, "
            f"the header says {header.columns} x {header.rows}."
        )


def _frame_bytes(dataset: Any, header: FileHeader, index: int) -> bytes:
    data: bytes = get_frame(dataset.PixelData, index, number_of_frames=header.frame_count)
    return data


def _with_libraries(dataset: Any, header: FileHeader, index: int) -> StoredArray:
    try:
        decoder = get_decoder(header.transfer_syntax)
    except NotImplementedError as error:
        if header.transfer_syntax in _ITK_SYNTAXES and header.samples == 1:
            return _with_itk(dataset, header, index)
        raise FileError(header.undecodable or _undecoded(header)) from error
    if not decoder.is_available:
        needed = "; ".join(decoder.missing_dependencies)
        raise FileError(f"No decoder for {syntax_name(header.transfer_syntax)} is installed: {needed}.")
    try:
        if header.samples == 1 and header.transfer_syntax in _WHOLE_WORDS and header.bits_allocated > 1:
            # The library takes the used bits for the lowest ones, whatever HighBit says.
            as_they_are: Any = {"raw": True, "correct_unused_bits": False}
            words: StoredArray = decoder.as_array(dataset, index=index, **as_they_are)[0]
            return header.used_bits(words) if words.dtype.kind in "iu" else words
        array: StoredArray = decoder.as_array(dataset, index=index, raw=header.samples == 1)[0]
    except LIBRARY_FAILURES as error:
        if header.transfer_syntax in _ITK_SYNTAXES and header.samples == 1:
            return _with_itk(dataset, header, index)
        raise FileError(
            _undecoded(header),
            details=type(error).__name__,
        ) from error
    return array


def _undecoded(header: FileHeader) -> str:
    text = f"The pixels cannot be decoded ({syntax_name(header.transfer_syntax)}): damaged or unusual."
    if header.transfer_syntax in _JPEG_SYNTAXES:
        text += " If other programs show them, the package pylibjpeg-libjpeg (GPL) may read them."
    return text


def _from_bytes(data: bytes, header: FileHeader) -> StoredArray:
    """Return one uncompressed little endian frame of whole bytes or single bits (PS3.5 8.1.1)."""
    shape: tuple[int, ...] = (header.rows, header.columns)
    count = header.rows * header.columns * header.samples
    if header.samples > 1:
        shape = (*shape, header.samples)
    if header.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[:count].reshape(shape)
    dtype = np.dtype(f"<{'i' if header.signed else 'u'}{header.bits_allocated // 8}")
    return header.used_bits(np.frombuffer(data, dtype, count).reshape(shape))


def _inflated_frame(dataset: Any, header: FileHeader, index: int) -> bytes:
    """Inflate one frame of the Deflated Image Frame Compression syntax (PS3.5 A.4.13)."""
    needed = (header.rows * header.columns * header.samples * header.bits_allocated + 7) // 8
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflate.decompress(_frame_bytes(dataset, header, index), needed)
    if len(data) < needed:
        raise FileError(f"The pixel data is cut off: {len(data)} of {needed} bytes are there.")
    return data


def unpack_rle(frame: bytes, needed: int) -> bytes:
    """Unpack one RLE frame of a single segment (PS3.5 G.3, PackBits) to the bytes that are needed.

    Raises
    ------
    FileError
        The frame has several segments or is cut off.
    """
    if len(frame) < 64 or int.from_bytes(frame[:4], "little") != 1:
        raise FileError("The RLE frame is damaged or has an unusual number of segments.")
    position = int.from_bytes(frame[4:8], "little")
    out = bytearray()
    while len(out) < needed and position + 1 < len(frame):
        code = frame[position]
        position += 1
        if code < 128:
            out += frame[position : position + code + 1]
            position += code + 1
        elif code > 128:
            out += frame[position : position + 1] * (257 - code)
            position += 1
    if len(out) < needed:
        raise FileError(f"The pixel data is cut off: {len(out)} of {needed} bytes are there.")
    return bytes(out[:needed])


def _with_itk(dataset: Any, header: FileHeader, index: int) -> StoredArray:
    """Decode one JPEG frame with SimpleITK from a private file that holds nothing but the pixels."""
    from model_core.read.volumes.files import library

    sitk = library()
    frames = generate_frames(dataset.PixelData, number_of_frames=header.frame_count)
    codestream = next(data for number, data in enumerate(frames) if number == index)
    lone = pydicom.Dataset()
    lone.file_meta = pydicom.dataset.FileMetaDataset()
    lone.file_meta.TransferSyntaxUID = UID(header.transfer_syntax)
    lone.file_meta.MediaStorageSOPClassUID = lone.SOPClassUID = SecondaryCaptureImageStorage
    lone.file_meta.MediaStorageSOPInstanceUID = lone.SOPInstanceUID = pydicom.uid.generate_uid()
    lone.Rows, lone.Columns, lone.SamplesPerPixel = header.rows, header.columns, 1
    lone.BitsAllocated, lone.BitsStored = header.bits_allocated, header.bits_stored
    lone.HighBit = header.bits_stored - 1
    lone.PixelRepresentation = int(header.signed)
    lone.PhotometricInterpretation = "MONOCHROME2"
    lone.PixelData = encapsulate([codestream])
    lone["PixelData"].is_undefined_length = True
    lone["PixelData"].VR = "OB"
    with PrivateFolder() as folder:
        path = folder / "frame.dcm"
        lone.save_as(path, enforce_file_format=True)
        try:
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except LIBRARY_FAILURES as error:
            raise FileError(
                _undecoded(header),
                details=type(error).__name__,
            ) from error
    values: StoredArray = array.reshape(array.shape[-2:])
    return values
