"""Find what can be opened at a path: series, best guess first, and one report per file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from model_core.base.errors import ReadError
from model_core.base.filenames import FETCH, absent, named, natural_key
from model_core.base.jobs import Progress
from model_core.base.volume import Catalogue, FileReport, Problem, SeriesEntry
from model_core.read import archives, pictures
from model_core.read.dicom import dataset as dicom_dataset
from model_core.read.dicom import directory as dicomdir
from model_core.read.dicom import header as dicom_header
from model_core.read.dicom import series as dicom_series
from model_core.read.dicom.records import FileHeader, Frame
from model_core.read.errors import (
    LIBRARY_FAILURES,
    AbsentFileError,
    FileError,
    IndexFileError,
    plain_reason,
    quiet,
)
from model_core.read.volumes import files as volume_files
from model_core.read.volumes import series as volume_series

# Data files that belong to a header file of their own.
_DATA_SUFFIXES = (".raw", ".zraw", ".raw.gz", ".img", ".img.gz")
# What is opened, in words.
KINDS = "DICOM, also in a ZIP, NIfTI, NRRD, MHA, PNG and JPEG"
# Files between two looks at cancel.
_BATCH = 8
# What a Mac keeps beside a file on other disks: ._name, a file of its own format (RFC 1740).
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_DEAD_LINK = "A link to what is not here: moved, on a disk that is not connected, or not fetched yet."


@dataclass
class _Found:
    """What was found so far."""

    frames: list[Frame] = field(default_factory=list)
    pictures: list[pictures.PictureHeader] = field(default_factory=list)
    volumes: list[volume_series.VolumeHeader] = field(default_factory=list)
    reports: dict[Path, FileReport] = field(default_factory=dict)
    broken: list[tuple[Path, FileError]] = field(default_factory=list)
    zips: list[Path] = field(default_factory=list)
    unpacked: list[archives.Unpacked] = field(default_factory=list)
    indices: list[Path] = field(default_factory=list)
    siblings: set[Path] = field(default_factory=set)
    candidates: set[Path] = field(default_factory=set)
    # Where they really are, of the folders that were looked through.
    folders: set[Path] = field(default_factory=set)

    def shown(self, path: str) -> str:
        """Return the name of a file for the user: of one from an archive, the name inside it."""
        for unpacked in self.unpacked:
            path = unpacked.shown(path)
        return path


def scan(path: Path, *more: Path) -> Generator[Progress | Catalogue, None, None]:
    """Look through files, and folders with all their subfolders; the last item is the Catalogue.

    A DICOM file gives the series that it belongs to, found among the files beside it; a DICOMDIR gives
    its folder, a ZIP archive what is in it. Every file is accounted for in the reports. Several paths are
    one catalogue: slices of one series that lie in two of them are one series.

    Raises
    ------
    ReadError
        None of the paths exists or nothing in them can be opened; the text says what was found.
    """
    for item in scan_reports(path, *more):
        if isinstance(item, Catalogue) and not item.series:
            raise ReadError(nothing_found(Path(item.root), item.files), details=_reasons(item.files))
        yield item


def scan_reports(path: Path, *more: Path) -> Generator[Progress | Catalogue, None, None]:
    """Like `scan`, but where nothing can be opened the Catalogue has no series and says why in its reports.

    Raises
    ------
    ReadError
        None of the paths exists.
    """
    paths = tuple(dict.fromkeys(Path(item) for item in (path, *more)))
    found = _Found()
    files, folders = _sorted_out(paths, found)
    yield from _read_all(files, found)
    indices = [index for index in found.indices if index in files]
    for index in indices:
        del found.reports[index]
        folders.append(index.parent)
    chosen = frozenset(files).difference(indices)
    yield from _read_siblings(found)
    below = dict.fromkeys(item for folder in folders for item in _files_below(folder, found))
    yield from _read_all([item for item in below if item not in found.reports], found)
    for archive in found.zips:
        yield from _read_archive(archive, found)
    series = _entries(found, chosen)
    reports = tuple(found.reports.values())
    if found.unpacked:
        reports = tuple(replace(report, path=found.shown(report.path)) for report in reports)
        series = [replace(entry, files=tuple(map(found.shown, entry.files))) for entry in series]
    if chosen:  # a folder is read in this order already
        reports = tuple(sorted(reports, key=lambda report: natural_key(report.path)))
    root = folders[-1] if len(paths) == 1 and folders else paths[0]
    yield Catalogue(root=str(root), series=tuple(series), files=reports)


def _sorted_out(paths: Sequence[Path], found: _Found) -> tuple[list[Path], list[Path]]:
    """Tell files from folders; of several paths those that are not there are reported.

    Raises
    ------
    ReadError
        None of them is there.
    """
    files: list[Path] = []
    folders: list[Path] = []
    for path in paths:
        try:
            there, is_file = path.exists(), path.is_file()
        except (OSError, ValueError) as error:
            there, is_file, reason = False, False, f"The path cannot be read: {plain_reason(error)}"
        else:
            reason = f"Not found: '{path.name or path}'. Check the path."
            if not there and path.is_symlink():
                reason = f"'{path.name}' cannot be opened. {_DEAD_LINK}"
        if there:
            (files if is_file else folders).append(path)
        elif len(paths) == 1:
            raise ReadError(reason)
        else:
            found.reports[path] = FileReport(str(path), "error", reason)
    if not files and not folders:
        raise ReadError(f"None of these {len(paths)} files and folders is there. Check the paths.")
    return files, folders


def _read_siblings(found: _Found) -> Generator[Progress, None, None]:
    """Add the files beside chosen ones that belong to their series."""
    wanted: dict[Path, list[FileHeader]] = {}
    for frame in found.frames:
        header = frame.header
        if header.series_uid and (header.frame_count == 1 or header.concatenation):
            wanted.setdefault(header.path.parent, []).append(header)
    for folder, headers in wanted.items():
        try:
            names = sorted(folder.iterdir(), key=lambda item: natural_key(item.name))
        except OSError:
            continue  # the folder may not be listed: the files are opened alone
        beside = _Found()
        yield from _read_all([item for item in names if item.is_file() and item not in found.reports], beside)
        keys = {_series_of(header) for header in headers}
        mine = [frame for frame in beside.frames if _series_of(frame.header) in keys]
        uids = {header.series_uid for header in headers}
        if not mine and len(uids) == len(headers):
            # A series UID in every file: whether they make one stack is known when all are grouped.
            mine = [frame for frame in beside.frames if _may_belong(frame.header, headers)]
            found.candidates.update(frame.header.path for frame in mine)
        for frame in mine:
            found.frames.append(frame)
            found.reports[frame.header.path] = beside.reports[frame.header.path]
            found.siblings.add(frame.header.path)
        for path, error in beside.broken:
            if error.series_uid and error.series_uid in uids:
                found.broken.append((path, error))
                found.reports[path] = beside.reports[path]


def _series_of(header: FileHeader) -> tuple[str, str]:
    """Return what the files of a series have in common; a file of several frames is one by itself."""
    if header.concatenation is not None:
        return "concatenation", header.concatenation.uid
    return ("series", header.series_uid) if header.frame_count == 1 else ("file", str(header.path))


def _may_belong(header: FileHeader, chosen: Sequence[FileHeader]) -> bool:
    return header.frame_count == 1 and any(
        (header.description, header.rows, header.columns) == (other.description, other.rows, other.columns)
        for other in chosen
    )


def _read_archive(path: Path, found: _Found) -> Generator[Progress, None, None]:
    """Add the files of an archive; an archive inside it stays closed."""
    try:
        for item in archives.unpack(path):
            if isinstance(item, Progress):
                yield item
            else:
                unpacked = item
    except FileError as error:
        found.broken.append((path, error))
        found.reports[path] = FileReport(str(path), "error", error.message)
        return
    inside = _Found()
    yield from _read_all(list(_files_below(unpacked.folder, inside)), inside)
    for inner in inside.zips:
        reason = "An archive inside an archive is not opened: unpack it yourself."
        inside.reports[inner] = FileReport(str(inner), "skipped", reason)
    found.unpacked.append(unpacked)
    found.frames += inside.frames
    found.pictures += inside.pictures
    found.volumes += inside.volumes
    found.broken += inside.broken
    found.reports |= inside.reports
    found.reports |= {Path(f"{report.path}#{index}"): report for index, report in enumerate(unpacked.refused)}
    count = len(inside.reports) + len(unpacked.refused)
    found.reports[path] = FileReport(str(path), "ok", f"An archive of {count} files.")


def _files_below(folder: Path, found: _Found) -> Iterator[Path]:
    """Yield the files of a folder tree in natural order, each once; those behind links follow.

    A link to a folder is followed, unless it holds the link: that is a circle, or leads out to everything.
    """
    linked_files: list[Path] = []
    waiting = [folder]
    while waiting:
        links: list[Path] = []
        for place in waiting:
            yield from _files_of_tree(place, found, links, linked_files)
        waiting = [link for link in links if _may_be_followed(link, folder, found)]
    targets: set[Path] = set()
    for link in linked_files:
        target = Path(os.path.realpath(link))
        if target.parent in found.folders or target in targets:
            reason = f"A link to {target.name}, which is read already."
            found.reports[link] = FileReport(str(link), "skipped", reason)
        else:
            targets.add(target)
            yield link


def _files_of_tree(place: Path, found: _Found, links: list[Path], linked_files: list[Path]) -> Iterator[Path]:
    """Yield the plain files of a tree; its links to folders, and to files, are added to the lists."""

    def unreadable(error: OSError) -> None:
        where = Path(error.filename) if error.filename else place
        found.reports[where] = FileReport(str(where), "error", "The folder may not be read (permissions).")

    for root, folders, names in os.walk(place, onerror=unreadable):
        real = Path(os.path.realpath(root))
        if real in found.folders:
            folders.clear()
            continue
        found.folders.add(real)
        folders.sort(key=natural_key)
        links += [path for name in folders if (path := Path(root, name)).is_symlink()]
        for name in sorted(names, key=natural_key):
            path = Path(root, name)
            if path.is_symlink() and path.is_file():
                linked_files.append(path)
            else:
                yield path


def _may_be_followed(link: Path, folder: Path, found: _Found) -> bool:
    target = Path(os.path.realpath(link))
    homes = Path(os.path.realpath(link.parent)), Path(os.path.realpath(folder))
    if any(home.is_relative_to(target) for home in homes):
        reason = "A link to a folder that it lies in: not followed."
    elif target in found.folders:
        reason = f"A link to the folder {target.name}, which is read already."
    else:
        return True
    found.reports[link] = FileReport(str(link), "skipped", reason)
    return False


def _read_all(files: Sequence[Path], found: _Found) -> Generator[Progress, None, None]:
    yield Progress(0, len(files), "Looking at files")
    for start in range(0, len(files), _BATCH):
        with quiet():
            for path in files[start : start + _BATCH]:
                _read_one(path, found)
        yield Progress(min(start + _BATCH, len(files)), len(files), "Looking at files")


def _read_one(path: Path, found: _Found) -> None:
    try:
        found.reports[path] = _recognise(path, found)
    except IndexFileError as error:
        found.indices.append(path)
        wrong = dicomdir.complaint(path)
        reason = f"{error.message} {wrong}".strip()
        found.reports[path] = FileReport(
            str(path), "warning" if wrong else "skipped", reason, error.transfer_syntax
        )
    except FileError as error:
        if error.status == "error":
            found.broken.append((path, error))
        found.reports[path] = FileReport(
            str(path),
            error.status,
            error.message,
            error.transfer_syntax,
            absent=isinstance(error, AbsentFileError),
        )
    except LIBRARY_FAILURES as error:
        reason = plain_reason(error)
        found.broken.append((path, FileError(reason)))
        found.reports[path] = FileReport(str(path), "error", reason)


def _recognise(path: Path, found: _Found) -> FileReport:
    """Tell what a file is by its first bytes, and read its header."""
    if not path.is_file():
        if path.is_symlink() and not path.exists():
            raise AbsentFileError(_DEAD_LINK, status="skipped")
        raise FileError("Not a regular file.", status="skipped")
    with path.open("rb") as stream:
        start = stream.read(132)
        if dicom_dataset.looks_like_dicom(start):
            return _dicom(path, stream, found, start)
    if not start:
        raise FileError("The file is empty.")
    if start.startswith(_APPLE_DOUBLE):
        raise FileError("What a Mac noted of another file (AppleDouble), not an image.", status="skipped")
    if why := absent(path):
        raise AbsentFileError(f"The file itself is not here, this is {why}. {FETCH}", status="skipped")
    if archives.looks_like_zip(start):
        found.zips.append(path)
        return FileReport(str(path), "ok", "An archive.")
    if pictures.looks_like_picture(start):
        found.pictures.append(pictures.read_header(path))
        return FileReport(str(path), "ok")
    if volume_files.suffix_of(path):
        found.volumes.append(volume_series.read_header(path))
        return FileReport(str(path), "ok")
    raise _unknown(path)


def _unknown(path: Path) -> FileError:
    """Say by its name what a file may have been that is no image."""
    ending = next((suffix for suffix in _DATA_SUFFIXES if path.name.lower().endswith(suffix)), "")
    if ending:
        headers = [path.name[: -len(ending)] + suffix for suffix in (".hdr", ".mhd", ".nhdr")]
        if named_by := [name for name in headers if path.with_name(name).is_file()]:
            return FileError(f"The data of {named_by[0]}: open that file.", status="skipped")
        return FileError("Data of another file's header, or raw data without one.", status="skipped")
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return FileError("Named like DICOM, but it is not DICOM or is damaged from its first byte.")
    return FileError("Not an image file that this program reads.", status="skipped")


def _dicom(path: Path, stream: BinaryIO, found: _Found, start: bytes) -> FileReport:
    header, frames = dicom_header.read_header_from(stream, path)
    found.frames += frames
    if header.undecodable:
        return FileReport(str(path), "error", header.undecodable, header.transfer_syntax)
    if start[128:132] == b"DICM":
        return FileReport(str(path), "ok", "", header.transfer_syntax)
    return FileReport(str(path), "ok", "Without the DICOM preamble.", header.transfer_syntax)


# ----------------------------------------------------------------------------------------- the result


def _entries(found: _Found, chosen: Collection[Path]) -> list[SeriesEntry]:
    series: list[SeriesEntry] = []
    copied: dict[str, set[Path]] = {}
    for entry, copies in dicom_series.entries(found.frames, chosen=chosen):
        series.append(_with_broken(entry, found))
        copied[entry.series_id] = {copy.frame.header.path for copy in copies}
        for copy in copies:
            report = found.reports[copy.frame.header.path]
            found.reports[copy.frame.header.path] = replace(report, status="warning", reason=copy.reason)
    series += [_with_dead_links(entry, found) for entry in pictures.entries(found.pictures)]
    series += [volume_series.entry_of(header) for header in found.volumes]
    # Of a series that makes several stacks, those that nobody pointed at are left out.
    beside = {str(path) for path in found.siblings}
    pointed_at = [entry for entry in series if not beside.issuperset(entry.files)]
    series = pointed_at or series
    if found.candidates:
        used = {Path(name) for entry in series for name in entry.files}
        used.update(*(copied.get(entry.series_id, set()) for entry in series))
        for path in found.candidates - used:
            del found.reports[path]
    return sorted(series, key=_preference)


def _with_broken(entry: SeriesEntry, found: _Found) -> SeriesEntry:
    """Name the unreadable image files of a series; of those that hide their series, the ones beside it."""
    folders = {Path(name).parent for name in entry.files}
    entry = _with_dead_links(entry, found)
    source = entry.source
    uids = {entry.series_uid}
    if isinstance(source, dicom_series.DicomSource):
        uids = {frame.header.series_uid for frame in source.frames}
    mine = [
        (path, error)
        for path, error in found.broken
        # Where every slice has a series UID of its own, that of a broken one says nothing.
        if (error.series_uid in uids if error.series_uid and len(uids) == 1 else path.parent in folders)
    ]
    if not mine:
        return entry
    reasons = " ".join(dict.fromkeys(error.message for _, error in mine))
    if len(uids) == 1 and any(error.series_uid for _, error in mine):
        text = f"{len(mine)} file(s) of this series cannot be read: {reasons[:300]}"
    else:
        text = f"{len(mine)} file(s) beside this series cannot be read: {reasons[:300]}"
    names = named(path.name for path, _ in mine)
    action = "They are left out; slices may be missing."
    problem = Problem("warning", text, action, names, code="unreadable_files")
    return replace(entry, problems=(*entry.problems, problem))


def _with_dead_links(entry: SeriesEntry, found: _Found) -> SeriesEntry:
    """Name the links and pointers beside a series that are called like its files, which are not here."""
    folders = {Path(name).parent for name in entry.files}
    endings = {Path(name).suffix.lower() for name in entry.files}
    absent = [path for path, report in found.reports.items() if report.absent]
    dead = [path for path in absent if path.parent in folders and path.suffix.lower() in endings]
    if not dead:
        return entry
    text = f"{len(dead)} link(s) beside this series lead to files that are not here."
    names = named(path.name for path in dead)
    problem = Problem("warning", text, "Slices may be missing.", names, code="dead_link")
    return replace(entry, problems=(*entry.problems, problem))


def _preference(entry: SeriesEntry) -> tuple[object, ...]:
    """Sort key: axial CT first, then CT, then the rest; the largest first; localizers late."""
    header: FileHeader | None = None
    if isinstance(entry.source, dicom_series.DicomSource):
        header = entry.source.frames[0].header
    depth, height, width = entry.size
    localizer = header is not None and header.localizer
    scan_like = entry.modality == "CT" or isinstance(entry.source, volume_series.VolumeSource)
    return (
        entry.status == "error",
        localizer,
        not (scan_like and entry.plane == "axial"),
        not scan_like,
        -depth * height * width,
        natural_key(entry.title),
        entry.series_id,
    )


def nothing_found(path: Path, reports: Sequence[FileReport]) -> str:
    """Say in one line why nothing at a path can be opened."""
    if not reports:
        return f"The folder '{path.name}' is empty: choose a folder with CT images."
    if len(reports) == 1:
        return f"'{Path(reports[0].path).name}' cannot be opened. {reports[0].reason}"
    broken = sum(report.status == "error" for report in reports)
    inside = all(Path(report.path).is_relative_to(path) for report in reports)
    where = f"Nothing in '{path.name}'" if inside else "None of these"
    nothing = f"{where} can be opened:"
    dead = [Path(report.path).name for report in reports if report.absent]
    if dead:
        return (
            f"{nothing} {len(dead)} of {len(reports)} files are links to what is not here "
            f"({', '.join(named(dead))}): moved, on a disk that is not connected, or not fetched yet."
        )
    return (
        f"{nothing} of {len(reports)} files, "
        f"{broken} cannot be read and {len(reports) - broken} are no images. {KINDS} can be read."
    )


def _reasons(reports: Sequence[FileReport]) -> str:
    counts = Counter(report.reason for report in reports)
    return "\n".join(f"{count} x {reason}" for reason, count in counts.most_common())
