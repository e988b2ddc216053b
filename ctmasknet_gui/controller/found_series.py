"""What a scan found: which of the series is read without asking, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_core.base.errors import ReadError
from model_core.base.volume import Catalogue, SeriesEntry


@dataclass(frozen=True, eq=False)
class Scanned:
    """A catalogue, and the ids of its series that are masks of others."""

    catalogue: Catalogue
    masks: frozenset[str] = frozenset()


def entry_of(catalogue: Catalogue | None, series_id: str) -> SeriesEntry | None:
    """Return the entry of a series, if it is listed."""
    series = () if catalogue is None else catalogue.series
    return next((entry for entry in series if entry.series_id == series_id), None)


def best_of(scanned: Scanned, *, choose_best: bool = False, paths: Sequence[Path] = ()) -> SeriesEntry | None:
    """Return the series to read without asking: the only one, or the best one if that was asked for.

    Masks of other series do not count beside these. Of several paths the first that holds images counts.
    """
    series = scanned.catalogue.series
    images = [entry for entry in series if entry.series_id not in scanned.masks] or list(series)
    if len(paths) > 1:
        groups = ([entry for entry in images if lies_in(entry, path)] for path in paths)
        images = next(filter(None, groups), images)
    openable = [entry for entry in images if entry.status != "error"]
    return openable[0] if openable and (choose_best or len(images) == 1) else None


def lies_in(entry: SeriesEntry, path: Path) -> bool:
    """Whether some of a series' files are this one, or lie in this folder or archive."""
    return any(path in (Path(name), *Path(name).parents) for name in entry.files)


def first_opened(catalogue: Catalogue, paths: Sequence[Path]) -> Path:
    """Return the first of several paths that can be opened, or the first where none can."""
    unusable = {report.path for report in catalogue.files if report.status in ("error", "skipped")}
    return next((path for path in paths if str(path) not in unusable), paths[0])


def not_opened(catalogue: Catalogue, paths: Sequence[Path]) -> list[str]:
    """Say which of several paths hold nothing that can be opened, and why."""
    if len(paths) < 2:
        return []
    wanted = {str(path) for path in paths}
    return [
        f"'{Path(report.path).name}' cannot be opened. {report.reason}"
        for report in catalogue.files
        if report.path in wanted and report.status in ("error", "skipped")
    ]


def nothing_found(catalogue: Catalogue) -> ReadError:
    """Say that a path holds no image, with the first reasons of its files."""
    reasons = {report.reason for report in catalogue.files if report.reason}
    looked = len(catalogue.files)
    files = "file" if looked == 1 else "files"
    return ReadError(
        f"No image was found in the {looked} {files} looked at. CTMaskNet opens DICOM (also as ZIP), NIfTI, "
        "NRRD, MHA and folders of PNG or JPEG slices.",
        details="\n".join(sorted(reasons)[:10]),
    )
