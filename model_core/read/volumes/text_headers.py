"""Headers of NRRD and MetaImage files: where their data lie, and what they say of their place in the patient.

The library that reads these files follows any data file that a header names, and puts identity where a header
says nothing. Runs in the sandbox.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from model_core.read.errors import FileError

# Longest header; what follows is data.
_LONGEST = 1 << 20
_DATA_KEYS = ("datafile", "elementdatafile")
_SPACINGS = ("elementspacing", "elementsize")
# NRRD spaces whose axes are those of the body, and those of a room or of nothing: there are no others.
_ANATOMICAL = re.compile(r"((right|left)-anterior|left-posterior)-superior(-time)?|([rl]a|lp)st?")
_OTHER_SPACES = re.compile(r"scanner-xyz(-time)?|3d-(right|left)-handed(-time)?")
# Encodings and types of NRRD that the library does not read.
_UNREAD = {
    "bzip2": "is packed with bzip2",
    "bz2": "is packed with bzip2",
    "block": "holds blocks of bytes instead of numbers",
}
# Millimetres of units of length; other words count as mm.
_MILLIMETRES = {
    "um": 1e-3,
    "µm": 1e-3,
    "micron": 1e-3,
    "mm": 1.0,
    "cm": 10.0,
    "m": 1e3,
}
# AnatomicalOrientation of MetaImage names the side at which an axis begins; LPS unit vectors.
_FROM = {
    "R": (1.0, 0.0, 0.0),
    "L": (-1.0, 0.0, 0.0),
    "A": (0.0, 1.0, 0.0),
    "P": (0.0, -1.0, 0.0),
    "I": (0.0, 0.0, 1.0),
    "F": (0.0, 0.0, 1.0),
    "S": (0.0, 0.0, -1.0),
    "H": (0.0, 0.0, -1.0),
}


@dataclass(frozen=True)
class TextHeader:
    """The lines of a header, up to its end.

    Attributes
    ----------
    data:
        The separate data file, inside the header's folder; None where the data follow the header.
    placed:
        Whether the axes of the body are stated.
    spaced:
        Of columns, rows and slices, whether the distance of voxels is stated.
    axes:
        Directions of columns, rows and slices (LPS) that the library does not read; else None.
    millimetres:
        Of the unit of all lengths.
    slope, intercept:
        Of the line from stored values to those that are meant.
    length:
        Bytes of the header, where the data may follow.
    spacing:
        Distances for the library, which refuses those of the header (zero, no numbers, too few); else "".
    """

    lines: tuple[bytes, ...]
    data: Path | None
    placed: bool
    spaced: tuple[bool, bool, bool]
    axes: tuple[tuple[float, float, float], ...] | None = None
    millimetres: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0
    length: int = 0
    spacing: str = ""

    def naming(self, name: str) -> bytes:
        """Return the header with another name of its data file, and distances that the library takes."""
        separator = ":" if self.lines[0].startswith(b"NRRD") else " ="
        key = b"data file" if separator == ":" else b"ElementDataFile"
        unwanted = _SPACINGS if self.spacing else ()
        rest = [line for line in self.lines if _data_name(line) is None and _key(line) not in unwanted]
        if self.spacing:
            rest.append(b"ElementSpacing = " + self.spacing.encode("ascii"))
        named = key + f"{separator} {name}".encode("ascii")
        # MetaImage ends with it.
        return b"\n".join([*rest, named, b""])


def read(path: Path) -> TextHeader:
    """Read the header of an NRRD or MetaImage file and find its data.

    Raises
    ------
    FileError
        It has no end, or is of a kind that is not read; or its data are missing, in several files, or outside
        its folder.
    """
    with path.open("rb") as stream:
        start = stream.read(_LONGEST)
    is_nrrd = start.startswith(b"NRRD")
    every = [line.strip(b"\r") for line in start.split(b"\n")]
    lines = _until_end(every, is_nrrd=is_nrrd)
    if lines is None:
        raise FileError(f"The header of {path.name} has no end: the file is damaged or of another kind.")
    names = [name for line in lines if (name := _data_name(line)) is not None]
    data = None
    if names and not (not is_nrrd and names[0].upper() == "LOCAL"):
        if len(names) > 1:
            raise FileError(f"{path.name} names several data files: store the volume as one file.")
        data = _data_file(path, names[0])
    fields = _fields(lines)
    if is_nrrd:
        return _of_nrrd(path, lines, data, fields)
    length = sum(len(line) + 1 for line in start.split(b"\n")[: len(lines)])
    return replace(_of_metaimage(path, lines, data, fields), length=length)


def _of_nrrd(path: Path, lines: list[bytes], data: Path | None, fields: dict[str, str]) -> TextHeader:
    for key in ("encoding", "type"):
        if why := _UNREAD.get(fields.get(key, "").lower()):
            raise FileError(f"{path.name} {why}, which this program does not read: store it in another way.")
    space = fields.get("space", "").lower()
    anatomical = bool(_ANATOMICAL.fullmatch(space))
    if space and not anatomical and not _OTHER_SPACES.fullmatch(space):
        raise FileError(
            f"{path.name} names the space '{fields['space']}', which NRRD does not have: state its "
            "directions in left-posterior-superior."
        )
    vectors = re.findall(r"none|\([^)]*\)", fields.get("spacedirections", ""), re.IGNORECASE)
    stated = [vector.lower() != "none" for vector in vectors]
    if sum(stated) > 2:
        stated = [True] * 3  # an axis beside those of space
    spaced = _three(stated) if vectors else _positive(fields.get("spacings", ""))
    units = fields.get("spaceunits" if vectors else "units", "")
    placed = anatomical and bool(vectors) and all(stated)
    return TextHeader(tuple(lines), data, placed, spaced, millimetres=_unit(path, units))


def _of_metaimage(path: Path, lines: list[bytes], data: Path | None, fields: dict[str, str]) -> TextHeader:
    packed = fields.get("compresseddata", "").lower() in ("true", "1")
    if packed and data is None and not any(_positive(fields.get("compresseddatasize", ""))):
        # The library would return what happened to be in memory.
        raise FileError(
            f"{path.name} does not say how long its packed data are (CompressedDataSize): store it again."
        )
    matrix = any(key in fields for key in ("transformmatrix", "rotation", "orientation"))
    letters = fields.get("anatomicalorientation", "").upper()
    axes = None if matrix or not _is_frame(letters) else tuple(_FROM[letter] for letter in letters)
    spacing = fields.get("elementspacing") or fields.get("elementsize", "")
    spaced = _positive(spacing)
    dimensions = min(3, int(_number(fields.get("ndims", ""), 3)))
    parts = [
        part if known else "1" for part, known in zip((*spacing.split(), "", "", ""), spaced, strict=False)
    ]
    refused = bool(spacing) and not all(spaced[:dimensions])
    slope, intercept = (
        _number(fields.get(f"elementtointensityfunction{name}", ""), usual)
        for name, usual in (("slope", 1.0), ("offset", 0.0))
    )
    return TextHeader(
        tuple(lines),
        data,
        placed=matrix or axes is not None,
        spaced=spaced,
        axes=axes,
        millimetres=_unit(path, fields.get("distanceunits", "")),
        slope=slope or 1.0,
        intercept=intercept,
        spacing=" ".join(parts[:dimensions]) if refused else "",
    )


def _unit(path: Path, text: str) -> float:
    """Return the millimetres of the one unit that a text names, once or for each axis.

    Raises
    ------
    FileError
        It names several.
    """
    words = [word.lower() for word in re.findall(r'[^\s"]+', text)]
    units = {_MILLIMETRES[word] for word in words if word in _MILLIMETRES}
    if len(units) > 1:
        raise FileError(f"{path.name} gives its axes in different units ({text}): store it in mm.")
    return units.pop() if units else 1.0


def _until_end(lines: Sequence[bytes], *, is_nrrd: bool) -> list[bytes] | None:
    """Return the lines of the header: to the first empty one, or the one that names the data file."""
    for number, line in enumerate(lines):
        if is_nrrd and not line:
            return list(lines[:number])
        if not is_nrrd and _data_name(line) is not None:
            return list(lines[: number + 1])
    # A header apart from its data may end with the file.
    apart = is_nrrd and sum(map(len, lines)) < _LONGEST // 2
    return list(lines) if apart else None


def _squeezed(key: str) -> str:
    """Return a key without what different writers do differently: case, blanks, control characters."""
    return "".join(letter for letter in key.casefold() if letter.isprintable() and not letter.isspace())


def _data_name(line: bytes) -> str | None:
    """Return the name of the data file where a line gives one."""
    match = re.match(r"([^:=]*)[:=]=?(.*)", line.decode("utf-8", "surrogateescape"), re.DOTALL)
    if match is None or _squeezed(match[1]).lstrip("\ufeff") not in _DATA_KEYS:
        return None
    return match[2].strip()


def _key(line: bytes) -> str:
    return _squeezed(line.partition(b"=")[0].decode("utf-8", "replace"))


def _fields(lines: Sequence[bytes]) -> dict[str, str]:
    fields = {}
    for line in lines:
        match = re.match(r"([^:=#]*)[:=](?!=)(.*)", line.decode("utf-8", "replace"))
        if match is not None:
            fields[_squeezed(match[1])] = match[2].strip()
    return fields


def _number(text: str, usual: float) -> float:
    """Return the finite number that a text is, else the ``usual`` one."""
    try:
        number = float(text)
    except ValueError:
        return usual
    return number if math.isfinite(number) else usual


def _positive(text: str) -> tuple[bool, bool, bool]:
    """Return which of the first three parts of a text are positive numbers."""
    return _three([_number(part, 0.0) > 0 for part in text.split()])


def _three(stated: Sequence[bool]) -> tuple[bool, bool, bool]:
    first, second, third = (*stated, False, False, False)[:3]
    return first, second, third


def _is_frame(letters: str) -> bool:
    """Whether three letters name three different axes of the body."""
    axes = [{"R": 0, "L": 0, "A": 1, "P": 1}.get(letter, 2) for letter in letters if letter in _FROM]
    return len(letters) == 3 and sorted(axes) == [0, 1, 2]


def _data_file(path: Path, name: str) -> Path:
    """Return the data file that a header names.

    Raises
    ------
    FileError
        It is missing, a list, or outside the header's folder: a header may come from anywhere, and would make
        any file of the computer an image.
    """
    if not name:
        raise FileError(f"{path.name} names no data file.")
    if re.match(r"LIST\b", name, re.IGNORECASE) or re.search(r"%\d*d", name):
        raise FileError(f"{path.name} names a list of data files ({name}): store the volume as one file.")
    # Headers of Windows have backslashes.
    folder = path.parent
    try:
        plain = name if (folder / name).is_file() else name.replace("\\", "/")
        target = folder / PurePosixPath(plain)
        inside = [folder.resolve(), path.resolve().parent]
        if re.match(r"[A-Za-z]:", plain) or not any(map(target.resolve().is_relative_to, inside)):
            raise FileError(
                f"{path.name} names the data file {name}, which lies outside its own folder: that is not "
                "followed. Copy the data file beside the header and name it there."
            )
        if not target.is_file():
            target = _alike(target) or target
        is_there = target.is_file() and any(map(target.resolve().is_relative_to, inside))
    except (OSError, ValueError, RuntimeError):  # a loop of links, or no possible name
        is_there = False
    if not is_there:
        raise FileError(f"The data file {name} that {path.name} names is not beside it. Copy it there.")
    return target


def _alike(path: Path) -> Path | None:
    """Return the one file whose name differs in case or Unicode form only."""

    def plain(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()

    alike = [item for item in path.parent.iterdir() if plain(item.name) == plain(path.name)]
    return alike[0] if len(alike) == 1 else None
