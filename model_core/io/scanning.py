"""Find what can be opened at a path: series, best guess first, and one report per file."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_core.errors import ReadError
from model_core.io import dicom_header, dicom_series, itk_formats, pictures
from model_core.io.dicom_header import FileHeader, Frame
from model_core.io.failures import LIBRARY_FAILURES, FileError, plain_reason, quiet
from model_core.io.stack import named, natural_key
from model_core.types import Catalogue, FileReport, Problem, Progress, SeriesEntry

# Data files that belong to a header file of their own.
_DATA_SUFFIXES = (".raw", ".zraw", ".raw.gz", ".img")


@dataclass
class _Found:
    """What was found so far."""

    frames: list[Frame] = field(default_factory=list)
    pictures: list[pictures.PictureHeader] = field(default_factory=list)
    volumes: list[itk_formats.VolumeHeader] = field(default_factory=list)
    reports: dict[Path, FileReport] = field(default_factory=dict)
    broken: list[tuple[Path, FileError]] = field(default_factory=list)


def scan(path: Path) -> Generator[Progress | Catalogue, None, None]:
    """Look through a file or a folder with all its subfolders; the last item is the Catalogue.

    A DICOM file gives the series that it belongs to, found among the files beside it; a DICOMDIR gives
    its folder. Every file is accounted for in the reports.

    Raises
    ------
    ReadError
        The path does not exist or nothing in it can be opened; the text says what was found.
    """
    path = Path(path)
    if not path.exists():
        raise ReadError(f"Not found: {path.name or path}. Check the path.")
    chosen = path if path.is_file() else None
    if chosen is not None and _is_dicomdir(chosen):
        chosen, path = None, chosen.parent
    files = [chosen] if chosen is not None else list(_files_below(path))
    found = _Found()
    yield from _read_all(files, found)
    if chosen is not None and found.frames and found.frames[0].header.frame_count == 1:
        siblings = [item for item in sorted(chosen.parent.iterdir()) if item.is_file() and item != chosen]
        beside = _Found()
        yield from _read_all(siblings, beside)
        uid = found.frames[0].header.series_uid
        same = [frame for frame in beside.frames if uid and frame.header.series_uid == uid]
        found.frames += [frame for frame in same if frame.header.frame_count == 1]
        for frame in same:
            found.reports[frame.header.path] = beside.reports[frame.header.path]
    series = _entries(found, chosen)
    if not series:
        raise ReadError(_nothing(path, found), details=_reasons(found))
    reports = tuple(found.reports[name] for name in sorted(found.reports, key=lambda item: natural_key(str(item))))
    yield Catalogue(root=str(path), series=tuple(series), files=reports)


def _is_dicomdir(path: Path) -> bool:
    return path.name.upper() == "DICOMDIR"


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder tree in natural order; links to folders are not followed (cycles)."""
    for root, folders, names in os.walk(folder):
        folders.sort(key=natural_key)
        for name in sorted(names, key=natural_key):
            yield Path(root) / name


def _read_all(files: Sequence[Path], found: _Found) -> Generator[Progress, None, None]:
    yield Progress(0, len(files), "Looking at files")
    for number, path in enumerate(files, 1):
        with quiet():
            _read_one(path, found)
        yield Progress(number, len(files), "Looking at files")


def _read_one(path: Path, found: _Found) -> None:
    try:
        found.reports[path] = _recognise(path, found)
    except FileError as error:
        if error.status == "error":
            found.broken.append((path, error))
        found.reports[path] = FileReport(str(path), error.status, error.message, error.transfer_syntax)
    except LIBRARY_FAILURES as error:
        reason = plain_reason(error)
        found.broken.append((path, FileError(reason)))
        found.reports[path] = FileReport(str(path), "error", reason)


def _recognise(path: Path, found: _Found) -> FileReport:
    """Tell what a file is by its first bytes, and read its header."""
    if not path.is_file():
        raise FileError("Not a regular file.", status="skipped")
    with path.open("rb") as stream:
        start = stream.read(132)
    if not start:
        raise FileError("The file is empty.")
    if dicom_header.looks_like_dicom(start):
        return _dicom(path, found, start)
    if pictures.looks_like_picture(start):
        found.pictures.append(pictures.read_header(path))
        return FileReport(str(path), "ok")
    if itk_formats.suffix_of(path):
        found.volumes.append(itk_formats.read_header(path))
        return FileReport(str(path), "ok")
    if path.name.lower().endswith(_DATA_SUFFIXES):
        raise FileError("Data of another file's header, or raw data without one.", status="skipped")
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        raise FileError("Named like DICOM, but it is not DICOM or is damaged from its first byte.")
    raise FileError("Not an image file that this program reads.", status="skipped")


def _dicom(path: Path, found: _Found, start: bytes) -> FileReport:
    header, frames = dicom_header.read_header(path)
    found.frames += frames
    if start[128:132] == b"DICM":
        return FileReport(str(path), "ok", "", header.transfer_syntax)
    return FileReport(str(path), "ok", "Without the DICOM preamble.", header.transfer_syntax)


# ----------------------------------------------------------------------------------------- the result


def _entries(found: _Found, chosen: Path | None) -> list[SeriesEntry]:
    series: list[SeriesEntry] = []
    for entry, copies in dicom_series.entries(found.frames):
        series.append(_with_broken(entry, found))
        for frame in copies:
            report = found.reports[frame.header.path]
            reason = "The same slice is there already; this copy is left out."
            found.reports[frame.header.path] = replace(report, status="warning", reason=reason)
    series += pictures.entries(found.pictures)
    series += [itk_formats.entry_of(header) for header in found.volumes]
    if chosen is not None:
        with_it = [entry for entry in series if str(chosen) in entry.files]
        series = with_it or series
    return sorted(series, key=_preference)


def _with_broken(entry: SeriesEntry, found: _Found) -> SeriesEntry:
    """Name the unreadable image files that lie beside a series: they may be missing slices of it."""
    folders = {Path(name).parent for name in entry.files}
    names = [path.name for path, _ in found.broken if path.parent in folders]
    if not names:
        return entry
    reasons = " ".join(dict.fromkeys(error.message for path, error in found.broken if path.parent in folders))
    text = f"{len(names)} file(s) beside this series cannot be read: {reasons[:300]}"
    problem = Problem("warning", text, "They are left out; slices may be missing.", named(names))
    return replace(entry, problems=(*entry.problems, problem))


def _preference(entry: SeriesEntry) -> tuple[object, ...]:
    """Sort key: axial CT first, then CT, then the rest; the largest first; localizers late."""
    header: FileHeader | None = None
    if isinstance(entry.source, dicom_series.DicomSource):
        header = entry.source.frames[0].header
    depth, height, width = entry.size
    localizer = header is not None and header.localizer
    scan_like = entry.modality == "CT" or isinstance(entry.source, itk_formats.VolumeSource)
    return (
        localizer,
        not (scan_like and entry.plane == "axial"),
        not scan_like,
        -depth * height * width,
        natural_key(entry.title),
        entry.series_id,
    )


def _nothing(path: Path, found: _Found) -> str:
    reports = list(found.reports.values())
    if not reports:
        return f"The folder {path.name} is empty: choose a folder with CT images."
    if len(reports) == 1:
        return f"{Path(reports[0].path).name} cannot be opened. {reports[0].reason}"
    broken = sum(report.status == "error" for report in reports)
    return (
        f"Nothing can be opened in {path.name}: of {len(reports)} files, {broken} are damaged and "
        f"{len(reports) - broken} are no images. DICOM, NIfTI, NRRD, MHA, PNG and JPEG can be read."
    )


def _reasons(found: _Found) -> str:
    counts: dict[str, int] = {}
    for report in found.reports.values():
        counts[report.reason] = counts.get(report.reason, 0) + 1
    return "\n".join(f"{count} x {reason}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
