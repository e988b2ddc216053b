"""Annotated pictures of many slices: one file each, with progress, nothing replaced unasked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Unpack

from model_core.base.arrays import ByteArray
from model_core.base.errors import ExportError
from model_core.base.files import refuse_existing
from model_core.base.jobs import Progress
from model_core.base.reasons import SliceReason
from model_core.base.results import ShownSlice, SliceSummary
from model_core.base.volume import Volume
from model_core.export.look import LookArguments
from model_core.export.picture import render_slice
from model_core.export.png import write_png

NONE_MARKED: Mapping[int, str] = MappingProxyType({})


def slice_file_name(index: int, *, suffix: str = ".png") -> str:
    """Return ``slice-0088.png`` for index 87: numbered from 1 as on screen, and without patient data."""
    return f"slice-{index + 1:04d}{suffix}"


def slices_with_findings(summaries: Iterable[SliceSummary]) -> tuple[int, ...]:
    """Return the slices with at least one shown detection, in order."""
    return tuple(sorted(summary.slice_index for summary in summaries if summary.detections > 0))


def export_slices(
    folder: Path,
    volume: Volume,
    indices: Sequence[int],
    *,
    shown: Callable[[int], ShownSlice | None] = lambda _index: None,
    why: Callable[[ShownSlice], SliceReason | None] = lambda _shown: None,
    key_images: Mapping[int, str] = NONE_MARKED,
    reference: ByteArray | None = None,
    overwrite: bool = False,
    **look: Unpack[LookArguments],
) -> Generator[Progress | Path, None, None]:
    """Write one picture a slice into a folder, named by `slice_file_name`.

    Yields `Progress` before and the path after each file. A caller cancels by closing the generator; files
    written until then are whole and stay.

    Parameters
    ----------
    indices:
        Slices from 0, as many as wanted: the current one, a range, or those of `slices_with_findings`.
    shown:
        Gives what is drawn over a slice when its turn comes (results of all slices at once would be large);
        None draws the slice alone.
    why:
        Says why a slice has its class, where contributions are to be drawn.
    key_images:
        The notes of slices that a person marked.
    reference, look:
        As for `model_core.export.picture.render_slice`.

    Raises
    ------
    ExportError
        Before anything is written, if there is no slice to write or a file exists and may not be replaced; or
        if one cannot be written.
    SettingsError
        If a slice does not exist.
    """
    if not indices:
        raise ExportError("There is no slice to export: no slice has a finding under these thresholds.")
    targets = [folder / slice_file_name(index) for index in indices]
    there = []
    for path in targets:
        try:
            refuse_existing(path, overwrite=overwrite)
        except ExportError:
            there.append(path.name)
    if there:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise ExportError(
            f"{', '.join(there[:3])}{more} exist already: allow them to be replaced, "
            "or choose another folder."
        )
    for done, (index, path) in enumerate(zip(indices, targets, strict=True)):
        yield Progress(done, len(targets), path.name)
        drawn = shown(index)
        look["reason"] = None if drawn is None else why(drawn)
        look["key_image"] = key_images.get(index)
        picture = render_slice(volume, index, shown=drawn, reference=reference, **look)
        write_png(path, picture, overwrite=overwrite)
        yield path
    yield Progress(len(targets), len(targets), "Done")
