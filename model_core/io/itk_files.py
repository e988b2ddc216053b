"""Read NIfTI, NRRD and MetaImage files with SimpleITK. Runs in the worker process, see `isolation`."""

from __future__ import annotations

import gzip
import math
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from model_core.io.failures import LIBRARY_FAILURES, FileError, plain_reason
from model_core.io.itk_formats import suffix_of
from model_core.io.temporary import PrivateFolder

_HEADER_ONLY = (".mhd", ".nhdr")
# deflate grows data at most this much.
_MAX_EXPANSION = 1100


def library() -> Any:
    """Return SimpleITK, told to keep its warnings to itself; it is slow to import."""
    import SimpleITK as sitk  # noqa: N813 - the library's own abbreviation

    module: Any = sitk
    module.ProcessObject.SetGlobalWarningDisplay(False)
    return module


def read_information(path: Path) -> dict[str, Any]:
    """Read size and geometry of a volume file, in SimpleITK's order (columns first), LPS.

    Raises
    ------
    FileError
        The file is damaged, declares more than it holds, or its data lies outside its folder.
    """
    reader = library().ImageFileReader()
    try:
        held = _bytes_held(path)
        with _ascii_path(path) as name:
            reader.SetFileName(name)
            reader.ReadImageInformation()
        codes = [
            reader.GetMetaData(key) for key in ("qform_code", "sform_code") if reader.HasMetaDataKey(key)
        ]
        info: dict[str, Any] = {
            "dimensions": int(reader.GetDimension()),
            "size": [int(value) for value in reader.GetSize()],
            "spacing": [float(value) for value in reader.GetSpacing()],
            "direction": [float(value) for value in reader.GetDirection()],
            "origin": [float(value) for value in reader.GetOrigin()],
            "components": int(reader.GetNumberOfComponents()),
            "codes": codes,
        }
    except FileError:
        raise
    except LIBRARY_FAILURES as error:
        reason = "The volume cannot be read: the file is damaged or its data file is missing."
        raise FileError(_reason(error, reason), details=type(error).__name__) from error
    voxels = math.prod(float(count) for count in info["size"])
    if voxels > held * _MAX_EXPANSION:
        raise FileError(f"The file declares {voxels:.3g} voxels but holds {held} bytes: its size is wrong.")
    return info


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read the values of the first volume of a file in array order (slices, rows, columns[, components]).

    Raises
    ------
    FileError
        The file is damaged.
    """
    reader = library().ImageFileReader()
    try:
        if suffix_of(path) in (".nii", ".nii.gz"):
            _check_nifti_is_whole(path)
        with _ascii_path(path) as name:
            reader.SetFileName(name)
            reader.ReadImageInformation()
            size = reader.GetSize()
            if len(size) > 3:
                reader.SetExtractSize((*size[:3], *(0 for _ in size[3:])))
                reader.SetExtractIndex((0,) * len(size))
            image = reader.Execute()
        values: npt.NDArray[Any] = library().GetArrayFromImage(image)
    except FileError:
        raise
    except LIBRARY_FAILURES as error:
        reason = "The volume cannot be read: the file is cut off or damaged. Copy it again."
        raise FileError(_reason(error, reason), details=type(error).__name__) from error
    return values


def _reason(error: Exception, usual: str) -> str:
    """Return the system's reason where it has one: the file may be sound then."""
    return plain_reason(error) if isinstance(error, OSError) and error.errno is not None else usual


def _check_nifti_is_whole(path: Path) -> None:
    """Check that a NIfTI file holds all of its voxels: the library fills what is missing with zeros.

    Raises
    ------
    FileError
        It ends too early.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    held = 0
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        try:
            head = stream.read(544)
            held = len(head)
            needed = _nifti_bytes(head)
            if not packed:
                held = path.stat().st_size
            while held < needed and (part := stream.read(1 << 22)):
                held += len(part)
        except (EOFError, OSError, zlib.error) as error:
            raise FileError("The volume is cut off or its compression is damaged. Copy it again.") from error
    if held < needed:
        raise FileError(f"The volume is cut off: {held} of {needed} bytes are there. Copy it again.")


def _nifti_bytes(head: bytes) -> int:
    """Return how long a NIfTI-1 or NIfTI-2 file must be, by its header."""
    for order in "<>":
        kind = struct.unpack_from(f"{order}i", head)[0]
        if kind == 348:
            counts = struct.unpack_from(f"{order}8h", head, 40)
            bits, offset = (
                struct.unpack_from(f"{order}h", head, 72)[0],
                struct.unpack_from(f"{order}f", head, 108)[0],
            )
        elif kind == 540:
            counts = struct.unpack_from(f"{order}8q", head, 16)
            bits, offset = (
                struct.unpack_from(f"{order}h", head, 14)[0],
                struct.unpack_from(f"{order}q", head, 168)[0],
            )
        else:
            continue
        dimensions = counts[1 : 1 + max(0, min(7, counts[0]))]
        voxels = math.prod(max(1, int(count)) for count in dimensions)
        return int(offset) + voxels * max(0, int(bits)) // 8
    return 0  # neither: the library says what it is


def _bytes_held(path: Path) -> int:
    """Return the size of a volume file with its data file, which must lie in the same folder."""
    size = path.stat().st_size
    if suffix_of(path) not in _HEADER_ONLY:
        return size
    for name in _data_files(path):
        if Path(name).name != name or name in ("", ".", ".."):
            raise FileError("The header names a data file outside its own folder: that is not followed.")
        data = path.parent / name
        if not data.is_file():
            raise FileError("The data file that the header names is not beside it. Copy it there.")
        size += data.stat().st_size
    return size


def _header_text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(1 << 20).decode("utf-8", "replace")


def _is_data_line(line: str) -> tuple[str, str, str] | None:
    """Split a line that names a data file into key, separator and name."""
    separator = "=" if "=" in line else ":"
    key, found, value = line.partition(separator)
    if found and key.strip().lower().replace(" ", "") in ("elementdatafile", "datafile"):
        return key, separator, value.strip()
    return None


def _data_files(path: Path) -> list[str]:
    names = []
    for line in _header_text(path).splitlines():
        found = _is_data_line(line)
        if found is not None and found[2].upper() != "LOCAL":
            if found[2].upper().startswith("LIST") or "%" in found[2]:
                raise FileError("A volume in a list of data files is not read: store it as one file.")
            names.append(found[2])
    return names


@contextmanager
def _ascii_path(path: Path) -> Iterator[str]:
    """Give a path that SimpleITK can open on every system.

    Its file access is not certain to take other than ASCII names, so such a file is copied into a private
    folder, which is removed afterwards; a header's separate data file goes along.
    """
    if str(path).isascii():
        yield str(path)
        return
    with PrivateFolder() as folder:
        copy = folder / f"volume{suffix_of(path)}"
        shutil.copyfile(path, copy)
        if suffix_of(path) in _HEADER_ONLY:
            _copy_data_file(path, copy)
        yield str(copy)


def _copy_data_file(path: Path, copy: Path) -> None:
    lines = []
    for line in _header_text(path).splitlines(keepends=True):
        found = _is_data_line(line)
        new = line
        if found is not None and found[2].upper() != "LOCAL":
            data = path.parent / Path(found[2]).name
            target = copy.with_name(f"data{''.join(data.suffixes[-2:])}")
            shutil.copyfile(data, target)
            new = f"{found[0]}{found[1]} {target.name}\n"
        lines.append(new)
    copy.write_text("".join(lines), "utf-8")
