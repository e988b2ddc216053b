"""Read NRRD and MetaImage with SimpleITK, NIfTI with `nifti`. Runs in the sandbox."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.read.errors import LIBRARY_FAILURES, FileError, plain_reason
from model_core.read.sandbox import PrivateFolder
from model_core.read.volumes import nifti, text_headers

# deflate grows data at most this much.
_MAX_EXPANSION = 1100
# Readers of the library by suffix: it would look at the suffix as it is written, and not know "CT.MHA".
_READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}


SUFFIXES = (*nifti.SUFFIXES, *_READERS)


def suffix_of(path: Path) -> str:
    """Return the volume format's suffix of a file name, or ""."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def library() -> Any:
    """Return SimpleITK, told to keep its warnings to itself; it is slow to import."""
    import SimpleITK as sitk  # noqa: N813 - the library's own abbreviation

    module: Any = sitk
    module.ProcessObject.SetGlobalWarningDisplay(False)
    return module


def read_information(path: Path) -> dict[str, Any]:
    """Read size and geometry of a volume file, in SimpleITK's order (columns first), LPS.

    Returns
    -------
    dict
        ``dimensions``, ``size`` and ``components`` of the file; ``steps`` (3, 3), the vectors from voxel to
        voxel in mm, and which of their lengths are ``known``; ``origin``; whether the file says how it is
        ``placed`` in the patient; ``problems`` as code, level, text, action; ``forms`` of NIfTI, else None.

    Raises
    ------
    FileError
        The file is damaged, declares more than it holds, or its data lies outside its folder.
    """
    try:
        if suffix_of(path) in nifti.SUFFIXES:
            info, held = nifti.read_information(path), nifti.data_file(path).stat().st_size
        else:
            info, held = _by_library(path)
    except FileError:
        raise
    except LIBRARY_FAILURES as error:
        reason = f"{path.name} cannot be read: it is damaged, or its header and data do not fit."
        raise FileError(_reason(error, reason), details=type(error).__name__) from error
    voxels = math.prod(float(count) for count in info["size"])
    if voxels > held * _MAX_EXPANSION:
        raise FileError(f"The file declares {voxels:.3g} voxels but holds {held} bytes: its size is wrong.")
    return info


def _by_library(path: Path) -> tuple[dict[str, Any], int]:
    """Return what is known of an NRRD or MetaImage file, and its size in bytes with that of its data."""
    header = text_headers.read(path)
    with _reader(path, header) as reader:
        reader.ReadImageInformation()
        count = int(reader.GetDimension())
        # Vectors from voxel to voxel are columns of the direction.
        direction = np.array(reader.GetDirection(), float).reshape(count, count)
        axes = np.eye(3)
        axes[: min(count, 3), : min(count, 3)] = direction[:3, :3]
        known = np.array([header.spaced[0], header.spaced[1], header.spaced[2] and count > 2])
        lengths = np.where(known, (*reader.GetSpacing(), 1.0)[:3], 1.0) * header.millimetres
        if header.axes is not None and count > 2:
            axes = np.array(header.axes, float).T
        info: dict[str, Any] = {
            "dimensions": count,
            "size": [int(value) for value in reader.GetSize()],
            "steps": (axes * lengths).T.tolist(),
            "known": known.tolist(),
            "origin": [float(value) * header.millimetres for value in (*reader.GetOrigin(), 0.0)[:3]],
            "components": int(reader.GetNumberOfComponents()),
            "placed": header.placed and count > 2,
            "problems": [],
            "forms": None,
        }
    return info, path.stat().st_size + (header.data.stat().st_size if header.data else 0)


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read the values of the first volume of a file in array order (slices, rows, columns[, components]).

    Raises
    ------
    FileError
        The file is damaged.
    """
    try:
        if suffix_of(path) in nifti.SUFFIXES:
            return nifti.read_array(path)
        header = text_headers.read(path)
        with _reader(path, header) as reader:
            reader.ReadImageInformation()
            size = reader.GetSize()
            if len(size) > 3:
                reader.SetExtractSize((*size[:3], *(0 for _ in size[3:])))
                reader.SetExtractIndex((0,) * len(size))
            image = reader.Execute()
        values: npt.NDArray[Any] = library().GetArrayFromImage(image)
        if (header.slope, header.intercept) != (1.0, 0.0):  # the library keeps what is stored
            exact: npt.NDArray[Any] = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
            values = exact * np.asarray(header.slope, exact.dtype) + np.asarray(header.intercept, exact.dtype)
    except FileError:
        raise
    except LIBRARY_FAILURES as error:
        reason = f"{path.name} cannot be read: the file is cut off or damaged. Copy it again."
        raise FileError(_reason(error, reason), details=type(error).__name__) from error
    return values


def _reason(error: Exception, usual: str) -> str:
    """Return the system's reason where it has one: the file may be sound then."""
    return plain_reason(error) if isinstance(error, OSError) and error.errno is not None else usual


@contextmanager
def _reader(path: Path, header: text_headers.TextHeader) -> Iterator[Any]:
    """Give a reader of a file, by a name that SimpleITK can open on every system.

    Its file access is not certain to take other than ASCII names, so such a file is linked, or copied, into a
    private folder, which is removed afterwards. So is a separate data file, with a header that names it: what
    was looked at is what the library opens. A header with distances that the library refuses is copied with
    others.
    """
    reader = library().ImageFileReader()
    reader.SetImageIO(_READERS[suffix_of(path)])
    if header.data is None and str(path).isascii() and not header.spacing:
        reader.SetFileName(str(path))
        yield reader
        return
    with PrivateFolder() as folder:
        target = folder / f"volume{suffix_of(path)}"
        if header.data is None and header.spacing:
            with path.open("rb") as stream, target.open("wb") as out:
                out.write(header.naming("LOCAL"))
                stream.seek(header.length)
                shutil.copyfileobj(stream, out)
        elif header.data is None:
            _link(path, target)
        else:
            data = folder / f"data{''.join(header.data.suffixes[-1:]) if header.data.name.isascii() else ''}"
            _link(header.data, data)
            target.write_bytes(header.naming(data.name))
        reader.SetFileName(str(target))
        yield reader


def _link(path: Path, target: Path) -> None:
    try:
        target.symlink_to(path.resolve())
    except OSError:  # a system or file system without links
        shutil.copyfile(path, target)
