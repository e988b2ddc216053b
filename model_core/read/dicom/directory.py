"""Check what a DICOMDIR lists against the files that are there (PS3.3 F.3, PS3.10 8).

The folder itself is read, so nothing that the index says decides which file is opened: names that lead
out of the folder have no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pydicom

from model_core.read.dicom.dataset import items_of, read_dataset, time_limit
from model_core.read.errors import LIBRARY_FAILURES, FileError

_MAX_RECORDS = 100_000
_FAILURES: tuple[type[Exception], ...] = (FileError, *LIBRARY_FAILURES)


def complaint(path: Path) -> str:
    """Return what is wrong with the index, in one sentence; "" where everything that it lists is there."""
    try:
        with path.open("rb") as stream, time_limit():
            dataset = read_dataset(stream, pixels=False, all_tags=True)
            names = [_parts(record) for record in items_of(dataset, "DirectoryRecordSequence")[:_MAX_RECORDS]]
    except _FAILURES:
        return "The index is damaged; the files beside it are read all the same."
    listed = [parts for parts in names if parts]
    outside = [parts for parts in listed if not _inside(parts)]
    names_in = lru_cache(maxsize=4096)(_names_in)
    missing = sum(not _is_there(path.parent, parts, names_in) for parts in listed if _inside(parts))
    wrong = []
    if outside:
        wrong.append(
            f"{len(outside)} of the {len(listed)} files that it lists lie outside its folder: not followed."
        )
    if missing:
        wrong.append(f"{missing} of the {len(listed)} files that it lists are not there.")
    return " ".join(wrong)


def _parts(record: pydicom.Dataset) -> tuple[str, ...]:
    value = record.get("ReferencedFileID")
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _inside(parts: tuple[str, ...]) -> bool:
    """Whether each part is one plain name."""
    return all(part not in ("", ".", "..") and not set(part) & set("/\\:\0") for part in parts)


def _is_there(folder: Path, parts: tuple[str, ...], names_in: Callable[[Path], dict[str, str]]) -> bool:
    for part in parts:
        name = names_in(folder).get(_plain(part))
        if name is None:
            return False
        folder /= name
    return folder.is_file()


def _plain(name: str) -> str:
    """Return a name as it is compared.

    Media are written in upper case and often copied in lower; some systems show their version numbers.
    """
    return name.partition(";")[0].rstrip(".").casefold()


def _names_in(folder: Path) -> dict[str, str]:
    """Return what lies in a folder by its plain name; nothing where it cannot be listed."""
    try:
        return {_plain(path.name): path.name for path in folder.iterdir()}
    except OSError:
        return {}
