"""Check what a DICOMDIR lists against the files that are there (PS3.3 F.3, PS3.10 8).

The folder itself is read, so nothing that the index says decides which file is opened: names that lead
out of the folder have no effect.
"""

from __future__ import annotations

from pathlib import Path

import pydicom

from model_core.io.failures import LIBRARY_FAILURES

_MAX_RECORDS = 100_000


def complaint(path: Path) -> str:
    """Return what is wrong with the index, in one sentence; "" where everything that it lists is there."""
    try:
        with path.open("rb") as stream:
            records = pydicom.dcmread(stream, force=True).get("DirectoryRecordSequence") or ()
            names = [_parts(record) for record in list(records)[:_MAX_RECORDS]]
    except LIBRARY_FAILURES:
        return "The index is damaged; the files beside it are read all the same."
    listed = [parts for parts in names if parts]
    outside = [parts for parts in listed if not _inside(parts)]
    missing = [parts for parts in listed if _inside(parts) and not _is_there(path.parent, parts)]
    found = []
    if outside:
        found.append(
            f"{len(outside)} of the {len(listed)} files that it lists lie outside its folder: not followed."
        )
    if missing:
        found.append(f"{len(missing)} of the {len(listed)} files that it lists are not there.")
    return " ".join(found)


def _parts(record: pydicom.Dataset) -> tuple[str, ...]:
    value = record.get("ReferencedFileID")
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _inside(parts: tuple[str, ...]) -> bool:
    """Whether each part is one plain name."""
    return all(part not in ("", ".", "..") and not set(part) & set("/\\:\0") for part in parts)


def _is_there(folder: Path, parts: tuple[str, ...]) -> bool:
    """Whether a listed file is there; media are written in upper case and often copied in lower."""
    return any(
        folder.joinpath(*candidate).is_file() for candidate in (parts, tuple(part.lower() for part in parts))
    )
