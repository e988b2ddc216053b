"""Split lists: text files that name the pictures of one part of a data set."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from model_core.base.errors import DataError
from model_core.base.filenames import plain_name
from model_core.data.findings import Findings, tell

CLASSES = 3

# One name, perhaps its class and the body box of the COVIDx-CT lists (xmin ymin xmax ymax, unused here).
_LINE = re.compile(r"(?P<name>.+?\.(?:png|jpe?g)|\S+)(?:\s+(?P<label>\d+)(?:\s+-?\d+){0,4})?", re.IGNORECASE)


def read_list(path: Path, *, folders: Collection[str] = ()) -> dict[str, int | None]:
    """Return the pictures of a split list by stem, with their class where the list gives one.

    Those named with one of the ``folders`` before them (``normal/1.png``) are kept apart: ``normal/1``.

    A line holds a file name (``110_104.jpg``), or name, class and body box (``NCP_96_1328_0035.png 2 9 94
    512 405``, the COVIDx-CT lists). Other folders before a name are ignored. Empty lines and lines that start
    with ``#`` are skipped.

    Raises
    ------
    DataError
        If the file cannot be read, holds no name, a line is something else, or a name stands twice.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"The list {path.name} cannot be read as text.", details=f"{path}: {error}"
        ) from error
    found: dict[str, int | None] = {}
    for number, line in enumerate(lines, 1):
        text = plain_name(line.strip())
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise DataError(
                f"Line {number} of {path.name} is no picture name: a line is a file name, perhaps with "
                "class and box (name class xmin ymin xmax ymax)."
            )
        named = PurePosixPath(match["name"].replace("\\", "/"))
        stem = named.name
        if re.fullmatch(r".+\.(png|jpe?g)", stem, re.IGNORECASE):
            stem = stem.rsplit(".", 1)[0]
        if named.parent.name in folders:
            stem = f"{named.parent.name}/{stem}"
        if stem in found:
            raise DataError(f"The list {path.name} names '{stem}' twice (again in line {number}).")
        label = None if match["label"] is None else int(match["label"])
        if label is not None and label >= CLASSES:
            raise DataError(f"Line {number} of {path.name} gives the class {label}; classes are 0, 1 and 2.")
        found[stem] = label
    if not found:
        raise DataError(f"The list {path.name} names no picture.")
    return found


def data_and_list(path: Path, list_file: Path | None) -> tuple[Path, Path | None]:
    """Return the data folder and its split list; a path to a text file is a list inside its data folder.

    Raises
    ------
    DataError
        If there is no such folder or list.
    """
    if path.is_file() and list_file is None:
        path, list_file = path.parent, path
    if not path.is_dir():
        raise DataError(f"There is no data folder '{path}'.")
    if list_file is not None and not list_file.is_file():
        raise DataError(f"There is no list '{list_file}'.")
    return path, list_file


def read_listed(
    list_file: Path | None,
    known: Collection[str],
    *,
    folders: Collection[str] = (),
    named: Callable[[str], str] = str,
    report: Findings | None = None,
) -> dict[str, int | None] | None:
    """Return the pictures of a list, all of which are ``known``, with their classes; see `read_list`.

    None without a list. Where faults are reported, also with one that cannot be read, and without the names
    that are not known.

    Parameters
    ----------
    named:
        What the set calls a picture of the list.

    Raises
    ------
    DataError
        If the list cannot be read or names what is not there, and nothing is reported.
    """
    if list_file is None:
        return None
    try:
        listed = {named(name): label for name, label in read_list(list_file, folders=folders).items()}
    except DataError as error:
        tell(report, error, "split_list")
        return None
    known = set(known)
    if missing := sorted(set(listed) - known):
        wrong = DataError(
            f"{len(missing)} names of the list {list_file.name} have no picture, first '{missing[0]}'. "
            "Take them out of the list or complete the data."
        )
        tell(report, wrong, "missing_listed_picture", text="Listed pictures are missing.", files=missing)
    return {name: label for name, label in listed.items() if name in known}
