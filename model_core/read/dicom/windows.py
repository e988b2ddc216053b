"""What a DICOM file says for display only: its VOI windows."""

from __future__ import annotations

import logging
from typing import Any, cast

import numpy as np

from model_core.base.volume import VoiFunction, Window
from model_core.read.dicom.dataset import (
    integer,
    items_of,
    number,
    numbers,
    read_dataset,
    text,
    time_limit,
)
from model_core.read.dicom.lookup import LookupTable, read_table
from model_core.read.dicom.records import Frame
from model_core.read.errors import FileError

_LOG = logging.getLogger(__name__)
# More than a menu can show are no presets any more.
_MAX_WINDOWS = 64
_MAX_TABLES = 32


def windows_in(frame: Frame) -> tuple[Window, ...]:
    """Read the windows of one frame's file; none where it cannot be read."""
    try:
        with frame.header.path.open("rb") as stream, time_limit():
            dataset = read_dataset(stream, pixels=False, all_tags=True)
            return windows_of(dataset, frame.index)
    except (OSError, FileError):
        return ()


def windows_of(dataset: Any, index: int = 0) -> tuple[Window, ...]:
    """Return the VOI windows of a frame, then the VOI LUTs of the file, without repetitions.

    PS3.3 C.11.2: they are alternatives, in the file's order. A table becomes a window with a curve, as wide
    as the table.
    """
    windows: dict[tuple[float, float, bytes], Window] = {}
    for window in (*_linear_windows(dataset, index), *_table_windows(dataset)):
        windows.setdefault((window.width, window.level, window.curve), window)
    return tuple(windows.values())


def _linear_windows(dataset: Any, index: int) -> list[Window]:
    places = [dataset]
    for keyword, which in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", index),
    ):
        for group in items_of(dataset, keyword)[which : which + 1]:
            places[:0] = items_of(group, "FrameVOILUTSequence")[:1]
    item = next((place for place in places if "WindowCenter" in place), dataset)
    centres, widths = numbers(item, "WindowCenter"), numbers(item, "WindowWidth")
    stated = text(item, "VOILUTFunction").upper()
    function: VoiFunction = "LINEAR"
    if stated in ("LINEAR_EXACT", "SIGMOID"):
        function = cast(VoiFunction, stated)
    names = text(item, "WindowCenterWidthExplanation").split("\\")
    windows: list[Window] = []
    pairs = zip(centres[:_MAX_WINDOWS], widths[:_MAX_WINDOWS], strict=False)
    for place, (centre, width) in enumerate(pairs):
        if (width < 1 and function == "LINEAR") or width <= 0:
            continue
        name = names[place].strip() if place < len(names) else ""
        windows.append(Window(width, centre, name, function))
    return windows


def _table_windows(dataset: Any) -> list[Window]:
    items = items_of(dataset, "VOILUTSequence")[:_MAX_TABLES]
    # What goes in are the values after rescale: below zero where they may be (PS3.3 C.11.2.1.1).
    intercept = number(dataset, "RescaleIntercept") or 0.0
    signed = intercept < 0 or integer(dataset, "PixelRepresentation", 0) == 1
    windows = []
    for place, item in enumerate(items, 1):
        try:
            table = read_table(item, signed=signed)
        except FileError as error:
            _LOG.warning("A VOI LUT is left out: %s The windows and the automatic one stay.", error.message)
            continue
        name = table.name or (f"Table {place}" if len(items) > 1 else "Table")
        # LINEAR over this width starts at the first value that the table maps and ends at the last one.
        length = table.entries.size
        windows.append(Window(float(length), table.first + length / 2, name, curve=_curve(table)))
    return windows


def _curve(table: LookupTable) -> bytes:
    """Return the entries as display values; their range is that of their bits, unless they go beyond it."""
    top = max((1 << table.bits) - 1, int(table.entries.max()))
    curve: bytes = np.rint(table.entries * (255.0 / top)).astype(np.uint8).tobytes()
    return curve
