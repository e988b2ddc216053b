"""What the commands on one series share: options, the choice of the series, what must not be replaced."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from model_core.base.errors import DataError, ExportError, MemoryNeeded, ReadError
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import SeriesEntry, Volume
from model_core.cli import values
from model_core.cli.errors import UsageError
from model_core.cli.progress import last

S = TypeVar("S", DetectionSettings, EvidenceSettings)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what is analysed, with which weights and evidence, and where results go."""
    parser.add_argument("path", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA, or pictures")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write into"
    )
    parser.add_argument("--weights", nargs="+", default=[], metavar="W", help="shipped names or files")
    parser.add_argument("--series", metavar="UID", help="series to open where the path holds several")
    parser.add_argument("--evidence-score", type=values.score, metavar="T", help="of the RoI batch")
    parser.add_argument("--evidence-nms", type=values.iou, metavar="T", help="of the RoI batch (IoU)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--fast", action="store_true", help=values.FAST)
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")


def changed(settings: S, **given: Any) -> S:
    """Return settings, such as a card's, with those that the command line gives."""
    return dataclasses.replace(
        settings, **{name: value for name, value in given.items() if value is not None}
    )


def refuse_to_replace(targets: Sequence[Path], *, overwrite: bool) -> None:
    """Raise `ExportError` where results are there already and may not be replaced."""
    if folders := [target.name for target in targets if target.is_dir()]:
        raise ExportError(f"{folders[0]} is a folder there and cannot be replaced: use another folder.")
    there = [target.name for target in targets if target.exists()]
    if there and not overwrite:
        raise ExportError(
            f"{' and '.join(there)} exist already in that folder: use --overwrite or another folder."
        )


def choose_series(series: Sequence[SeriesEntry], uid: str | None) -> SeriesEntry:
    """Return the series of this UID, or the best one; tells which, where there are several."""
    if uid is not None:
        chosen = [entry for entry in series if uid in (entry.series_uid, entry.series_id)]
        if not chosen:
            known = ", ".join(entry.series_uid or entry.series_id for entry in series)
            raise UsageError(f"There is no series {uid} at that path. Found: {known or 'none'}.")
        if len(chosen) > 1:
            known = ", ".join(entry.series_id for entry in chosen)
            raise UsageError(f"{len(chosen)} series at that path have this UID. Name one of {known}.")
        return chosen[0]
    usable = [entry for entry in series if entry.status != "error"]
    if not usable:
        reasons = [problem.text for entry in series for problem in entry.problems]
        raise DataError("No series at that path can be opened. " + (reasons[0] if reasons else ""))
    if len(usable) > 1:
        others = ", ".join(entry.series_uid or entry.series_id for entry in usable[1:])
        name = usable[0].series_uid or usable[0].series_id
        sys.stderr.write(f"ctmasknet: series {name} of {len(usable)}; others, for --series: {others}\n")
    return usable[0]


def open_series(entry: SeriesEntry, *, every: int, straight: bool) -> Volume:
    """Read a series, or every n-th of its slices; where it is tilted, corrected if that is asked for."""
    from model_core.read import load, straighten, thin

    if every > 1 and entry.size[0] <= every:
        raise UsageError(f"--every {every} leaves less than two of the {entry.size[0]} slices.")
    if straight:
        entry = straighten(entry)
    try:
        return last(load(entry if every == 1 else thin(entry, every)), title="Opening")
    except MemoryNeeded as error:
        if not error.steps:
            raise
        raise ReadError(f"{error.message} --every {every * error.steps[0]} does so.") from error


def tell_problems(volume: Volume) -> None:
    """Write the warnings of a volume to stderr."""
    for problem in volume.problems:
        if problem.level != "info":
            sys.stderr.write(f"ctmasknet: {problem.text} {problem.action}\n")
