"""`ctmasknet info`: the series at a path, their geometry and their problems."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import finish
from model_core.base.streams import printable
from model_core.base.volume import Catalogue, FileReport, SeriesEntry

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA_VERSION = 1


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "info",
        help="list the series at a path, their geometry and their problems",
        description="List the series at a path, their geometry and their problems. Writes nothing.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a file or a folder with all its subfolders")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--pixels",
        action="store_true",
        help="decode every file and tell of its values; with --json shape, type and SHA-256 of its pixels",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the command; 0, or 1 with one line on stderr where nothing can be opened."""
    from model_core.read.scanning import scan_reports

    try:
        catalogue = finish(scan_reports(args.path))[-1]
    except CTMaskNetError as error:
        sys.stderr.write(f"ctmasknet info: {error.message}\n")
        return 1
    if args.pixels:
        catalogue = replace(catalogue, series=tuple(map(_with_values, catalogue.series)))
    document = describe(catalogue, pixels=args.pixels)
    if args.json:
        # ASCII, because a file name need not be text that the terminal or JSON can hold.
        json.dump(document, sys.stdout, indent=2, ensure_ascii=True, allow_nan=False)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(printable(_table(catalogue, document)))
    if not catalogue.series:
        sys.stderr.write(printable(f"ctmasknet info: {catalogue_reason(catalogue)}\n"))
        return 1
    return 0


def catalogue_reason(catalogue: Catalogue) -> str:
    """Say in one line why a catalogue has no series."""
    from model_core.read.scanning import nothing_found

    return nothing_found(Path(catalogue.root), catalogue.files)


def _with_values(entry: SeriesEntry) -> SeriesEntry:
    """Add what only the values of a volume file say: that they are no Hounsfield units, or no numbers."""
    from model_core.read.opening import value_problems

    try:
        return replace(entry, problems=(*entry.problems, *value_problems(entry)))
    except CTMaskNetError:
        return entry  # the report of the file says so


def describe(catalogue: Catalogue, *, pixels: bool = False) -> dict[str, Any]:
    """Return the JSON document: every file, every series; numbers as found, null where unknown."""
    files = [_file(report, pixels=pixels) for report in catalogue.files]
    series = [_series(entry) for entry in catalogue.series]
    failed = {row["path"]: row["reason"] for row in files if row["status"] == "error"}
    for row in series:
        _tell_undecodable(row, failed)
    return {"schema_version": SCHEMA_VERSION, "files": files, "series": series}


def _tell_undecodable(row: dict[str, Any], failed: dict[str, str]) -> None:
    """Give a series the files whose pixels turned out to be undecodable as a problem."""
    mine = [path for path in row["files"] if path in failed]
    if not mine:
        return
    level = "error" if len(mine) == len(row["files"]) else "warning"
    text = f"The pixels of {len(mine)} file(s) cannot be decoded: {failed[mine[0]]}"
    row["status"] = "error" if "error" in (level, row["status"]) else "warning"
    row["warnings"].append(text)
    names = [Path(path).name for path in mine[:8]]
    code, action = "unreadable_files", "They are left out."
    row["problems"].append({"level": level, "code": code, "text": text, "action": action, "files": names})


def _series(entry: SeriesEntry) -> dict[str, Any]:
    """Describe one series; sizes, spacing and directions in the order slices, rows, columns as shown.

    The centre of voxel (slice, row, column) lies at
    ``origin_mm + slice * spacing_mm[0] * direction[0] + row * spacing_mm[1] * direction[1] + ...`` (LPS);
    ``slice_origins_mm`` says it for each slice, also where the slices are uneven or sheared.
    """
    from model_core.read.opening import geometry_of, slice_origins

    geometry = geometry_of(entry)
    origins = slice_origins(entry)
    return {
        "uid": entry.series_uid,
        "id": entry.series_id,
        "title": entry.title,
        "modality": entry.modality,
        "plane": entry.plane,
        "status": entry.status,
        "warnings": [_sentence(problem.text, problem.action) for problem in entry.problems],
        "problems": [problem.values() for problem in entry.problems],
        "size": list(entry.size),
        "spacing_mm": list(entry.spacing_mm),
        "origin_mm": None if geometry.origin_mm is None else list(geometry.origin_mm),
        "direction": None if geometry.axes is None else geometry.axes.tolist(),
        "slice_origins_mm": None if origins is None else origins.tolist(),
        "files": list(entry.files),
    }


def _sentence(text: str, action: str) -> str:
    return f"{text} {action}".strip()


def _file(report: FileReport, *, pixels: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": report.path,
        "status": report.status,
        "reason": report.reason,
        "transfer_syntax": report.transfer_syntax,
    }
    if pixels and report.status in ("ok", "warning"):
        from model_core.read.opening import stored_pixels

        try:
            row |= _digest(stored_pixels(Path(report.path)))
        except CTMaskNetError as error:
            row["status"], row["reason"] = "error", error.message
    return row


def _digest(array: npt.NDArray[np.generic]) -> dict[str, Any]:
    """Return shape, type and SHA-256 of the values in C order, little endian."""
    import numpy as np

    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "shape": list(little.shape),
        "dtype": str(array.dtype.newbyteorder("=")),
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
    }


# -------------------------------------------------------------------------------------- for people


def _table(catalogue: Catalogue, document: dict[str, Any]) -> str:
    lines: list[str] = []
    for number, entry in enumerate(catalogue.series, 1):
        depth, height, width = entry.size
        lines.append(f"{number}. {entry.title or '(untitled)'}")
        kind = " ".join(filter(None, (entry.modality, entry.plane if entry.plane != "unknown" else "")))
        lines.append(
            f"   {kind + ', ' if kind else ''}{depth} slices of {width} x {height}, {len(entry.files)} files"
        )
        lines.append(f"   spacing {_spacing(entry.spacing_mm)}")
        for problem in entry.problems:
            lines.append(f"   {problem.level}: {_sentence(problem.text, problem.action)}")
            if problem.files:
                lines.append(f"     {', '.join(problem.files)}")
    counts: dict[tuple[str, str], int] = {}
    for row in document["files"]:
        key = (row["status"], row["reason"])
        counts[key] = counts.get(key, 0) + 1
    lines.append(f"{len(catalogue.series)} series, {len(document['files'])} files")
    for (status, reason), count in sorted(counts.items()):
        lines.append(f"   {count} {status}{': ' + reason if reason else ''}")
    return "\n".join(lines) + "\n"


def _spacing(spacing: Sequence[float | None]) -> str:
    names = ("slices", "rows", "columns")
    return ", ".join(
        f"{name} {'unknown' if step is None else f'{step:.3f} mm'}"
        for name, step in zip(names, spacing, strict=True)
    )
