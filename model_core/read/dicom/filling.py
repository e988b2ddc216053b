"""Read the slices of a DICOM series into a volume, in threads, those that are looked at first."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, FloatArray, VoxelArray
from model_core.base.jobs import Progress
from model_core.base.volume import PartialVolume, Volume
from model_core.read.dicom.pixels import (
    darken_padding,
    is_plain,
    padding_mask,
    read_each,
    read_int16,
    read_stored,
    rescaled,
    store_int16,
)
from model_core.read.dicom.records import Frame
from model_core.read.dicom.stack import Stack
from model_core.read.errors import FileError, quiet
from model_core.read.sandbox import PROCESSES

# More than decoder processes: while a thread stores its slices, another one uses its process.
_THREADS = 2 * PROCESSES
# Tasks that are queued at a time: no thread is idle, and few stand before a slice that is asked for.
_QUEUED = _THREADS + 2
# Frames per task: of uncompressed files, and of one compressed file.
_PLAIN_TASK, _DECODED_TASK = 16, 16
# Uncompressed slices are mostly there before anybody could look at them; on a slow disk they are not.
_PARTIAL_AFTER_SECONDS = 0.3
# So often per task a decoder may crash or be stopped before the rest of the task is given up.
_MOST_ENDS = 3


@dataclass
class Filling:
    """A volume being read: threads write to disjoint slices of it, and report here when they are done."""

    stack: Stack
    voxels: VoxelArray
    exact: FloatArray | None
    hounsfield: bool
    ready: BoolArray
    spares: dict[tuple[str, int], list[Frame]]
    failed: dict[int, str] = field(default_factory=dict)
    clipped: int = 0
    padded: int = 0

    @property
    def upright(self) -> bool:
        """Whether a picture is stored the way it is shown."""
        geometry = self.stack.geometry
        return geometry.native_axes == (0, 1, 2) and not any(geometry.native_flips[1:])


@dataclass
class _Done:
    """What one task did, and for how many frames."""

    clipped: int = 0
    padded: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    frames: int = 0


def fill(
    filling: Filling, preview: Callable[[], Volume] | None
) -> Generator[Progress | PartialVolume, None, None]:
    """Read every slice, the middle one first; see `load_series`.

    Parameters
    ----------
    filling:
        Filled; slices that cannot be read are among its ``failed``.
    preview:
        Makes the volume that is shown before all of it is read; None where nothing is.
    """
    showing = _Showing(filling, preview)
    depth = len(filling.stack.frames)
    done = running = 0
    yield Progress(0, depth, "Reading slices")
    tasks = sorted(_tasks(filling.stack.frames), key=_first_slice)
    results: SimpleQueue[Future[_Done]] = SimpleQueue()
    with ThreadPoolExecutor(_THREADS, "ctmasknet-read") as pool:
        try:
            while tasks or running:
                while tasks and running < _QUEUED:
                    task = tasks.pop(_nearest(tasks, showing.wanted))
                    pool.submit(_read_task, task, filling).add_done_callback(results.put)
                    running += 1
                with quiet():
                    result = results.get().result()
                running -= 1
                filling.clipped += result.clipped
                filling.padded += result.padded
                filling.failed |= result.failed
                done += result.frames
                yield Progress(done, depth, "Reading slices")
                yield from showing.news()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # cancelled: what is queued is not read


class _Showing:
    """What is read so far, as it is shown while the rest is read."""

    def __init__(self, filling: Filling, preview: Callable[[], Volume] | None) -> None:
        self._filling, self._preview = filling, preview
        self._partial: PartialVolume | None = None
        # The wanted slice that was told of last.
        self._told = -1
        self._middle = len(filling.stack.frames) // 2
        compressed = not all(is_plain(frame.header) for frame in filling.stack.frames)
        self._soonest = time.monotonic() + (0.0 if compressed else _PARTIAL_AFTER_SECONDS)

    @property
    def wanted(self) -> int:
        """The slice that is read next."""
        return self._middle if self._partial is None else self._partial.wanted

    def news(self) -> Iterator[PartialVolume]:
        """Yield the volume where the wanted slice came, or cannot be read, since it was yielded last."""
        wanted, filling = self.wanted, self._filling
        if self._preview is None or wanted == self._told or time.monotonic() < self._soonest:
            return
        if filling.ready[wanted] or wanted in filling.failed:
            self._told = wanted
            if self._partial is None:
                self._partial = PartialVolume(self._preview(), filling.ready, wanted)
            yield self._partial


def _first_slice(task: Sequence[tuple[int, Frame]]) -> int:
    return task[0][0]


def _nearest(tasks: Sequence[Sequence[tuple[int, Frame]]], wanted: int) -> int:
    """Return which of the tasks, which are sorted, holds a slice or begins next to it."""
    after = bisect_left(tasks, wanted + 1, key=_first_slice)
    if after == 0:
        return 0
    before = after - 1
    if after == len(tasks) or tasks[before][-1][0] >= wanted:
        return before
    nearer = wanted - tasks[before][-1][0] <= _first_slice(tasks[after]) - wanted
    return before if nearer else after


def _tasks(frames: Sequence[Frame]) -> list[list[tuple[int, Frame]]]:
    """Cut the work: some uncompressed frames each, or frames of one compressed file."""
    tasks: list[list[tuple[int, Frame]]] = []
    compressed: dict[Path, list[tuple[int, Frame]]] = {}
    plain: list[tuple[int, Frame]] = []
    for index, frame in enumerate(frames):
        if is_plain(frame.header):
            plain.append((index, frame))
        else:
            compressed.setdefault(frame.header.path, []).append((index, frame))
    tasks += [plain[start : start + _PLAIN_TASK] for start in range(0, len(plain), _PLAIN_TASK)]
    for members in compressed.values():
        tasks += [members[start : start + _DECODED_TASK] for start in range(0, len(members), _DECODED_TASK)]
    return tasks


def _read_task(task: Sequence[tuple[int, Frame]], filling: Filling) -> _Done:
    done = _Done(frames=len(task))
    if is_plain(task[0][1].header):
        for index, frame in task:
            _read_one(index, frame, filling, done)
        return done
    ends = 0
    while task:
        decoded = 0
        try:
            pictures = read_each(task[0][1].header, [frame.index for _, frame in task])
            for (index, frame), picture in zip(task, pictures, strict=True):
                if isinstance(picture, FileError):
                    _try_spares(index, frame, picture, filling, done)
                else:
                    _store(index, frame, picture, filling, done)
                decoded += 1
        except FileError as error:
            # The decoder ended at one frame: those after it may be sound, unless that goes on.
            ends += 1
            lost = 1 if ends < _MOST_ENDS else len(task)
            for index, frame in task[decoded : decoded + lost]:
                _try_spares(index, frame, error, filling, done)
            decoded += lost
        task = task[decoded:]
    return done


def _read_one(index: int, frame: Frame, filling: Filling, done: _Done) -> None:
    """Read one uncompressed frame: straight into the volume where nothing has to be turned or scaled."""
    try:
        if filling.exact is None and filling.upright:
            counts = read_int16(frame, filling.voxels[index], air=filling.hounsfield)
            if counts is not None:
                done.clipped += counts[0]
                done.padded += counts[1]
                filling.ready[index] = True
                return
        picture = next(iter(read_stored(frame.header, [frame.index])))
        _store(index, frame, picture, filling, done)
    except FileError as error:
        _try_spares(index, frame, error, filling, done)


def _try_spares(index: int, frame: Frame, error: FileError, filling: Filling, done: _Done) -> None:
    for spare in filling.spares.get((frame.header.sop_uid, frame.index), ()):
        if (spare.header.rows, spare.header.columns) != (frame.header.rows, frame.header.columns):
            continue
        try:
            picture = next(iter(read_stored(spare.header, [spare.index])))
        except FileError:
            continue
        _store(index, spare, picture, filling, done)
        return
    done.failed[index] = error.message


def _store(index: int, frame: Frame, stored: npt.NDArray[Any], filling: Filling, done: _Done) -> None:
    picture = in_plane(rescaled(stored, frame), filling.stack)
    padding = padding_mask(stored, frame.header)
    if padding is not None:
        padding = in_plane(padding, filling.stack)
    if filling.exact is None:
        counts = store_int16(picture, padding, filling.voxels[index], air=filling.hounsfield)
        done.clipped += counts[0]
        done.padded += counts[1]
        filling.ready[index] = True
        return
    filling.exact[index] = picture
    if padding is not None:
        darken_padding(filling.exact[index], padding)


def in_plane(picture: npt.NDArray[Any], stack: Stack) -> npt.NDArray[Any]:
    """Turn one native picture (file rows, file columns) the way it is shown."""
    geometry = stack.geometry
    flips = tuple(axis - 1 for axis in (1, 2) if geometry.native_flips[axis])
    turned = np.flip(picture, flips) if flips else picture
    return turned.T if geometry.native_axes == (0, 2, 1) else turned
