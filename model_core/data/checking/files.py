"""Listing and reading files for a check: what fails becomes a finding, never an exception."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from model_core.base.arrays import ByteArray
from model_core.base.errors import DataError
from model_core.base.filenames import FETCH, absent
from model_core.data.checking.facts import Findings, shown
from model_core.data.lists import read_list
from model_core.data.pictures import read_index, read_upright


def lenient_index(folder: Path, findings: Findings) -> dict[str, dict[str, str]]:
    """Return the rows of ``index.tsv``; none where it cannot be read."""
    try:
        return read_index(folder / "index.tsv")
    except DataError as error:
        findings.add("error", error.message)
        return {}


def one_each(groups: dict[str, tuple[Path, ...]], findings: Findings) -> dict[str, Path]:
    """Return the first file of every name and tell of the others."""
    for paths in groups.values():
        if len(paths) > 1:
            names = ", ".join(shown(path) for path in paths)
            findings.add("error", "Two files have one name and differ in their ending.", file=names)
    return {name: paths[0] for name, paths in groups.items()}


def read_lenient_list(
    list_file: Path | None, findings: Findings, *, folders: Collection[str] = ()
) -> dict[str, int | None] | None:
    """Return the names of a list (see `read_list`); None without one or where it cannot be read."""
    if list_file is None:
        return None
    try:
        return read_list(list_file, folders=folders)
    except DataError as error:
        findings.add("error", error.message)
        return None


def check_listed(
    list_file: Path | None, present: set[str], findings: Findings, *, folders: Collection[str] = ()
) -> set[str] | None:
    """Return the listed names; those without a picture are findings."""
    listed = read_lenient_list(list_file, findings, folders=folders)
    if listed is None:
        return None
    for name in sorted(set(listed) - present):
        findings.add("error", "Listed pictures are missing.", file=name)
    return set(listed)


def read_picture(path: Path, findings: Findings) -> ByteArray | None:
    """Return a picture as (H, W) grey, or None where it cannot be read."""
    grey = _read(path, "Pictures cannot be read.", findings)
    if grey is not None and grey.min() == grey.max():
        findings.add("warning", "Pictures are of one grey value all over.", file=shown(path))
    return grey


def read_stored(path: Path, findings: Findings) -> ByteArray | None:
    """Return the stored values of a mask file as (H, W), or None where it cannot be read."""
    return _read(path, "Masks cannot be read.", findings, mask=True)


def _read(path: Path, text: str, findings: Findings, *, mask: bool = False) -> ByteArray | None:
    if reason := absent(path):
        findings.add("error", "Files are not here.", action=FETCH, file=f"{shown(path)} ({reason})")
        return None
    try:
        values, turned = read_upright(path, mask=mask)
    except DataError as error:
        findings.add("error", text, file=f"{shown(path)}: {error.message}")
        return None
    if turned:
        findings.add(
            "warning",
            "Files are turned or mirrored by their EXIF orientation.",
            action="Applied in training, too. A mask drawn without it does not fit: store both upright.",
            file=shown(path),
        )
    return values
