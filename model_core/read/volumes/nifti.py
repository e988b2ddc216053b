"""Read NIfTI-1 and NIfTI-2: geometry as nibabel understands it, values as stored and scaled.

ITK's reader takes NaN for 0, refuses sheared forms and NIfTI-2, and prefers the qform. Here the sform is used
if its code is above 0, else the qform if its code is, else the sizes of voxels alone (nifti1.h; nibabel's
``get_best_affine``). Runs in the sandbox.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import DoubleArray
from model_core.base.geometry import NiftiForms
from model_core.read.errors import FileError

SUFFIXES = (".nii.gz", ".nii", ".hdr")

_NAMES = (
    *("size", "datatype", "dim", "pixdim", "offset", "slope", "intercept", "units", "magic"),
    *("qform_code", "sform_code", "quaternion", "qoffset", "srow"),
)
# Byte offsets of nifti1.h and nifti2.h.
_LAYOUTS = (
    np.dtype(
        {
            "names": _NAMES,
            "formats": [
                *("<i4", "<i2", "<8i2", "<8f4", "<f4", "<f4", "<f4", "u1", "S4"),
                *("<i2", "<i2", "<3f4", "<3f4", "<12f4"),
            ],
            "offsets": [0, 70, 40, 76, 108, 112, 116, 123, 344, 252, 254, 256, 268, 280],
            "itemsize": 348,
        }
    ),
    np.dtype(
        {
            "names": _NAMES,
            "formats": [
                *("<i4", "<i2", "<8i8", "<8f8", "<i8", "<f8", "<f8", "<i4", "S4"),
                *("<i4", "<i4", "<3f8", "<3f8", "<12f8"),
            ],
            "offsets": [0, 12, 16, 104, 168, 176, 184, 500, 4, 344, 348, 352, 376, 400],
            "itemsize": 540,
        }
    ),
)
_LONGEST = 540
_ORDERS: tuple[Literal["<"], Literal[">"]] = ("<", ">")
_MAGIC = (b"n+1", b"n+2")
_PAIR_MAGIC = (b"ni1", b"ni2")
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    128: "3u1",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    2304: "4u1",
}
_UNREADABLE = {
    1: "single bits",
    32: "complex numbers",
    1536: "numbers of 128 bits",
    1792: "complex numbers",
    2048: "complex numbers",
}
# Millimetres of the units of length (xyzt_units); other codes count as mm.
_MILLIMETRES = {1: 1e3, 3: 1e-3}
_CODES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI 152"}
# Relative difference above which two sizes of a voxel are not the same; header numbers are rounded.
_SAME_SIZE = 0.01
_PART = 1 << 22


@dataclass(frozen=True)
class _Header:
    """What the header says; ``order`` is its byte order as numpy writes it."""

    order: Literal["<", ">"]
    size: tuple[int, ...]
    datatype: int
    offset: int
    slope: float
    intercept: float
    forms: NiftiForms

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a stored voxel."""
        return np.dtype(_TYPES[self.datatype]).newbyteorder(self.order)

    @property
    def voxels(self) -> int:
        """Number of voxels of the first volume."""
        return math.prod(self.size[:3])


@dataclass(frozen=True)
class _Place:
    """Steps between voxels and the first of them (LPS, mm); a step of unknown length is a unit vector.

    ``stated`` is whether one of the forms gives them: else the directions are an assumption.
    """

    steps: DoubleArray
    origin: DoubleArray
    known: tuple[bool, bool, bool] = (True, True, True)
    stated: bool = True

    @property
    def lengths(self) -> DoubleArray:
        """Sizes of a voxel in mm, those unknown NaN."""
        lengths: DoubleArray = np.linalg.norm(self.steps, axis=1)
        return np.where(self.known, lengths, np.nan)

    @property
    def letters(self) -> str:
        """Where columns, rows and slices run to, such as "LPS"."""
        signs = "RAI", "LPS"
        axes = np.abs(self.steps).argmax(axis=1)
        return "".join(signs[int(self.steps[row, axis] > 0)][axis] for row, axis in enumerate(axes))

    def corners(self, size: tuple[int, ...]) -> DoubleArray:
        """Return where the eight outermost voxels lie."""
        ends = np.array([*np.ndindex(2, 2, 2)]) * (np.array((*size, 1, 1)[:3]) - 1)
        corners: DoubleArray = ends @ self.steps + self.origin
        return corners


def read_information(path: Path) -> dict[str, Any]:
    """Read size and geometry of a NIfTI file; see `files.read_information`.

    Raises
    ------
    FileError
        The file is damaged, is no NIfTI, or holds what is no picture.
    """
    header = _header(path)
    place, problems = _placed(header)
    problems += _unscaled(header)
    return {
        "dimensions": len(header.size),
        "size": list(header.size),
        "steps": place.steps.tolist(),
        "known": list(place.known),
        "origin": place.origin.tolist(),
        "components": math.prod(header.dtype.shape),
        "placed": place.stated,
        "problems": problems,
        "forms": asdict(header.forms),
    }


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read the values of the first volume in array order (slices, rows, columns[, components]).

    Raises
    ------
    FileError
        The file is damaged or cut off.
    """
    header = _header(path)
    with _opened(data_file(path)) as stream:
        stored = np.empty(header.voxels, header.dtype)
        target, done = stored.reshape(-1).view(np.uint8).data, 0
        stream.seek(header.offset)
        while done < len(target) and (count := stream.readinto(target[done : done + _PART])):
            done += count
    if done < len(target):
        held, needed = header.offset + done, header.offset + len(target)
        raise FileError(f"{path.name} is cut off: {held} of {needed} bytes are there. Copy it again.")
    values = stored.reshape(*header.size[:3][::-1], *header.dtype.shape)
    return _scaled(values, header)


def data_file(path: Path) -> Path:
    """Return the file that holds the values: that of a pair lies beside its header.

    Raises
    ------
    FileError
        It does not.
    """
    if not path.name.lower().endswith(".hdr"):
        return path
    for suffix in (".img", ".IMG", ".img.gz"):
        data = path.with_suffix(suffix)
        if data.is_file():
            return data
    name = path.with_suffix(".img").name
    raise FileError(f"The data file {name} of {path.name} is not beside it. Copy it there.")


def _scaled(values: npt.NDArray[Any], header: _Header) -> npt.NDArray[Any]:
    """Apply slope and intercept; a slope of 0 means that there are none."""
    slope, intercept = header.slope, header.intercept
    usable = math.isfinite(slope) and math.isfinite(intercept) and slope != 0
    if not usable or (slope, intercept) == (1.0, 0.0) or header.dtype.shape:
        return values
    # Single precision holds all numbers of 16 bits.
    scaled: npt.NDArray[Any] = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    with np.errstate(all="ignore"):
        scaled *= slope
        scaled += intercept
    return scaled


def _unscaled(header: _Header) -> list[list[str]]:
    """Tell of a scaling that is stated and is none (nibabel refuses such files, or ignores the slope)."""
    if math.isnan(header.slope) or header.slope == 0:
        return []
    if math.isfinite(header.slope) and math.isfinite(header.intercept):
        return []
    text = f"The scaling of the file is unusable: slope {header.slope:g}, intercept {header.intercept:g}."
    return [["unusable_scaling", "warning", text, "The values are used as they are stored."]]


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, unpacked where it is packed: its name need not tell."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.GzipFile(path) if packed else path.open("rb") as stream:
        try:
            yield stream
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileError(
                f"{path.name} is cut off or its compression is damaged. Copy it again."
            ) from error


def _header(path: Path) -> _Header:
    """Read the header.

    Raises
    ------
    FileError
        It is no NIfTI header, or is damaged.
    """
    with _opened(path) as stream:
        head = stream.read(_LONGEST)
    pair = path.name.lower().endswith(".hdr")
    for layout, magic in zip(_LAYOUTS, _PAIR_MAGIC if pair else _MAGIC, strict=True):
        if len(head) < layout.itemsize:
            break
        for order in _ORDERS:
            record = np.frombuffer(head, layout.newbyteorder(order), 1)[0]
            if record["size"] != layout.itemsize:
                continue
            if bytes(record["magic"])[:3] == magic:
                return _parsed(record, order, path)
            if pair:
                raise FileError(
                    f"{path.name} is a header of Analyze 7.5, which does not say which side is which: "
                    "convert it to NIfTI."
                )
    if pair:  # other programs have headers of this name, too
        raise FileError("Not an image file that this program reads.", status="skipped")
    raise FileError(f"{path.name} is named like NIfTI, but it is none or damaged from its first byte.")


def _parsed(record: Any, order: Literal["<", ">"], path: Path) -> _Header:
    count, datatype, offset = int(record["dim"][0]), int(record["datatype"]), float(record["offset"])
    if not 1 <= count <= 7 or not math.isfinite(offset) or not 0 <= offset < 1 << 31:
        raise FileError(f"The header of {path.name} is damaged.")
    if datatype not in _TYPES:
        kind = _UNREADABLE.get(datatype, f"values of an unknown kind ({datatype})")
        raise FileError(f"{path.name} holds {kind}, which are no picture: store whole or decimal numbers.")
    scale = _MILLIMETRES.get(int(record["units"]) & 7, 1.0)
    lengths = [float(length) * scale for length in record["pixdim"][1:4]]
    return _Header(
        order=order,
        size=tuple(int(length) for length in record["dim"][1 : 1 + count]),
        datatype=datatype,
        # The values of a pair begin where their file does.
        offset=int(offset) if path.name.lower().endswith(".hdr") else max(int(offset), record.dtype.itemsize),
        slope=float(record["slope"]),
        intercept=float(record["intercept"]),
        forms=NiftiForms(
            qform_code=max(0, int(record["qform_code"])),
            sform_code=max(0, int(record["sform_code"])),
            # Only -1 turns the third axis over.
            pixdim=(-1.0 if float(record["pixdim"][0]) < 0 else 1.0, *lengths),
            quaternion=tuple(map(float, record["quaternion"])),
            qoffset=tuple(float(value) * scale for value in record["qoffset"]),
            srow=tuple(float(value) * scale for value in record["srow"]),
        ),
    )


# ------------------------------------------------------------------------------------------- geometry

_TO_LPS = np.array([-1.0, -1.0, 1.0])


def _by_sform(forms: NiftiForms) -> _Place | None:
    """Return the place that the sform gives; None where it gives none."""
    matrix = np.array(forms.srow, float).reshape(3, 4)
    if not np.isfinite(matrix).all() or np.linalg.norm(matrix[:, :3], axis=0).min() <= 0:
        return None
    return _Place(matrix[:, :3].T * _TO_LPS, matrix[:, 3] * _TO_LPS)


def _by_qform(forms: NiftiForms) -> _Place | None:
    """Return the place that quaternion, offset and pixdim give; None where they give none."""
    parts, origin = np.array(forms.quaternion, float), np.array(forms.qoffset, float)
    if not (np.isfinite(parts).all() and np.isfinite(origin).all()):
        return None
    rest = 1.0 - float(parts @ parts)
    if rest < 1e-7:
        parts, rest = parts / np.linalg.norm(parts), 0.0
    a, (b, c, d) = math.sqrt(rest), parts
    turned = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    turned[:, 2] *= forms.pixdim[0]
    lengths, known = _lengths(forms)
    return _Place(turned.T * _TO_LPS * lengths[:, None], origin * _TO_LPS, known)


def _lengths(forms: NiftiForms) -> tuple[DoubleArray, tuple[bool, bool, bool]]:
    """Return the sizes of a voxel by pixdim, 1 where they are unknown, and which are known."""
    lengths = np.abs(np.array(forms.pixdim[1:], float))
    known = np.isfinite(lengths) & (lengths > 0)
    return np.where(known, lengths, 1.0), (bool(known[0]), bool(known[1]), bool(known[2]))


def _placed(header: _Header) -> tuple[_Place, list[list[str]]]:
    """Return where the voxels lie, and code, level, text and action of what there is to tell."""
    forms = header.forms
    by_sform = _by_sform(forms) if forms.sform_code else None
    by_qform = _by_qform(forms) if forms.qform_code else None
    problems = []
    if forms.sform_code and by_sform is None:
        text = "The sform of the file is no usable matrix."
        rest = "The qform is used." if by_qform else "Only the sizes of voxels are used."
        problems.append(["unusable_sform", "warning", text, rest])
    if by_sform is not None:
        place, told = _with_pixdim(by_sform, forms)
        problems += told + (_disagreement(header, by_sform, by_qform) if by_qform else [])
        return place, problems
    if by_qform is not None:
        return by_qform, problems
    lengths, known = _lengths(forms)
    return _Place(np.diag(lengths), np.zeros(3), known, stated=False), problems


def _with_pixdim(place: _Place, forms: NiftiForms) -> tuple[_Place, list[list[str]]]:
    """Compare the sizes of voxels that the sform and pixdim give."""
    lengths, known = _lengths(forms)
    # Of sheared voxels, pixdim may hold their heights instead.
    sides = np.cross(np.roll(place.steps, -1, axis=0), np.roll(place.steps, -2, axis=0))
    heights = abs(np.linalg.det(place.steps)) / np.maximum(np.linalg.norm(sides, axis=1), 1e-12)
    off = np.minimum(*(np.abs(lengths / sizes - 1) for sizes in (place.lengths, heights))) > _SAME_SIZE
    if not (off & known).any():
        return place, []
    sizes = [" x ".join(f"{length:.4g}" for length in both) for both in (place.lengths, lengths)]
    text = f"The file gives two sizes of its voxels: {sizes[0]} mm by its sform, {sizes[1]} mm by its pixdim."
    if np.abs(place.lengths - 1).max() < 1e-3 and all(known):
        # Some programs leave the sizes to pixdim and write directions only.
        moved = _Place(place.steps * lengths[:, None], place.origin)
        action = "The sform has directions only; the sizes of pixdim are used."
        return moved, [["pixdim_disagrees", "warning", text, action]]
    return place, [["pixdim_disagrees", "warning", text, "Those of the sform are used."]]


def _disagreement(header: _Header, by_sform: _Place, by_qform: _Place) -> list[list[str]]:
    """Tell where the two forms place a voxel differently, by more than half of its smallest size."""
    if not all(by_qform.known):
        return []
    apart = np.linalg.norm(by_sform.corners(header.size) - by_qform.corners(header.size), axis=1).max()
    if apart <= by_sform.lengths.min() / 2:
        return []
    forms = header.forms
    text = (
        f"The two places that the file gives its voxels differ by up to {apart:.1f} mm: "
        f"the sform (code {_code(forms.sform_code)}, axes to {by_sform.letters}) and "
        f"the qform (code {_code(forms.qform_code)}, axes to {by_qform.letters})."
    )
    action = "The sform is used, as nibabel does; exported masks keep both."
    return [["sform_qform_disagree", "warning", text, action]]


def _code(number: int) -> str:
    return f"{number}, {_CODES[number]}" if number in _CODES else str(number)
