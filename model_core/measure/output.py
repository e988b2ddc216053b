"""A report folder that is either complete or not there."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_core.base.errors import ExportError
from model_core.base.files import PARTIAL, atomic_folder, atomic_path

REPORT = "report.json"


def check_target(target: Path, *, overwrite: bool) -> None:
    """Check, before anything is computed, that a report may be written into a folder.

    Raises
    ------
    ExportError
        If it is a file, or a folder that holds something: without ``overwrite`` anything, with it
        anything but an earlier report.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise ExportError(f"'{target.name}' is a file; a report needs a folder.")
    if all(path.name.startswith(PARTIAL) for path in target.iterdir()):
        return
    if not overwrite:
        raise ExportError(f"The folder '{target.name}' is not empty; use --overwrite or another folder.")
    if not (target / REPORT).is_file():
        raise ExportError(
            f"The folder '{target.name}' holds other things than an earlier report; use another folder."
        )


@contextmanager
def report_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary folder to write into; at the end its files become those of ``target``.

    On an error nothing of ``target`` changes. Files of an earlier report are replaced, others stay.

    Raises
    ------
    ExportError
        If the folder may not be used or cannot be written.
    """
    check_target(target, overwrite=overwrite)
    with atomic_folder(target, last=REPORT) as folder:
        yield folder


def json_ready(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with None for every NaN: JSON has no NaN."""
    return {key: _plain(value) for key, value in document.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return json_ready(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write the values of columns by their titles; None becomes an empty cell, floats keep six digits."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
