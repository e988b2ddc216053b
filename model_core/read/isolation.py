"""Run native decoders in processes of their own, so that a crash or an endless loop ends one file only.

The processes start when the first file needs them, are used again for the next ones, and end with the
program. Where a process cannot be started, the work is done here, and the log says so.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy.typing as npt

from model_core.base.volume import PatientText
from model_core.read import wire
from model_core.read.dicom.records import FileHeader
from model_core.read.failures import FileError
from model_core.read.temporary import remove_stale

_LOG = logging.getLogger(__name__)

#: Longest time that one file may take to decode, in seconds.
FILE_SECONDS = 15.0
# Large volume files get another second for each of these.
_BYTES_PER_SECOND = 20 << 20
# So long after a file took too long, it is not tried again: it may have a thousand frames.
_LATE_SECONDS = 120.0
_PROCESSES = min(4, os.cpu_count() or 1)

Answer = list[npt.NDArray[Any] | dict[str, Any]]


def decode_frames(
    header: FileHeader, indices: list[int], *, palette: bool
) -> Iterator[npt.NDArray[Any] | FileError]:
    """Decode frames of one compressed DICOM file; see `dicom.decode.decode_frames`.

    Raises
    ------
    FileError
        The file cannot be read, or the decoder crashed or took too long on the frame after the last one
        that came.
    """
    # Decoders need to know neither whose picture it is nor what it is a part of.
    values = asdict(replace(header, concatenation=None, patient=PatientText()))
    del values["concatenation"], values["patient"]
    values["path"] = ""
    request = {
        "task": "frames",
        "path": os.fspath(header.path),
        "header": values,
        "indices": indices,
        "palette": palette,
    }
    # Palettes hold up to three 16-bit values per pixel, decoders answer with up to 32 bits.
    most = header.rows * header.columns * max(3, header.samples) * 8
    try:
        answer = _workers.call(request, name=header.name, max_bytes=most)
    except _PartlyAnswered as error:
        # What came before the end is sound.
        yield from map(_frame, error.results)
        raise
    yield from map(_frame, answer)


def _frame(answer: npt.NDArray[Any] | dict[str, Any]) -> npt.NDArray[Any] | FileError:
    """Return a decoded frame, or why it could not be decoded."""
    if isinstance(answer, dict):
        return FileError(answer["error"], status=answer["status"], details=answer["details"])
    return answer


def picture(path: Path, *, channels: bool, max_pixels: int) -> npt.NDArray[Any]:
    """Read a PNG or JPEG picture; see `pictures.decode`.

    Raises
    ------
    FileError
        The file cannot be read.
    """
    request = {"task": "picture", "path": os.fspath(path), "channels": channels}
    answer = _workers.call(request, name=path.name, max_bytes=max_pixels * 16)
    return cast("npt.NDArray[Any]", answer[0])


def volume_header(path: Path) -> dict[str, Any]:
    """Read what a volume file says of itself; see `itk_files.read_information`.

    Raises
    ------
    FileError
        The file cannot be read.
    """
    answer = _workers.call(
        {"task": "volume header", "path": os.fspath(path)},
        name=path.name,
        max_bytes=0,
        seconds=_seconds(path),
    )
    return cast("dict[str, Any]", answer[0])


def volume_array(path: Path, *, max_bytes: int) -> npt.NDArray[Any]:
    """Read the values of a volume file; see `itk_files.read_array`.

    Raises
    ------
    FileError
        The file cannot be read.
    """
    answer = _workers.call(
        {"task": "volume", "path": os.fspath(path)},
        name=path.name,
        max_bytes=max_bytes,
        seconds=_seconds(path),
    )
    return cast("npt.NDArray[Any]", answer[0])


def _seconds(path: Path) -> float:
    try:
        return FILE_SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    except OSError:
        return FILE_SECONDS


class _Broken(Exception):  # noqa: N818 - becomes a FileError with the file's name
    """A process ended, or answered nonsense; what it had answered before is in ``results``."""

    def __init__(self, *, late: bool, results: Answer) -> None:
        super().__init__("late" if late else "crash")
        self.late = late
        self.results = results


class _Nonsense(Exception):  # noqa: N818 - becomes a _Broken with the answers before it
    """An answer ended early, or is none."""


class _PartlyAnswered(FileError):  # noqa: N818 - a FileError that brings results
    """The file cannot be read to its end; what came before is in ``results``."""

    def __init__(self, error: FileError, results: Answer) -> None:
        super().__init__(error.message, status=error.status, details=error.details)
        self.results = results


class _Process:
    """One reader process."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            # -P: a module in the current folder must not take the place of a library.
            [sys.executable, "-P", "-W", "ignore", "-m", "model_core.read.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    def call(self, request: dict[str, Any], *, max_bytes: int, seconds: float) -> Answer:
        """Send a request and collect its answer; kills the process when the time is up."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        results: Answer = []
        try:
            self._exchange(request, results, max_bytes=max_bytes)
        except (OSError, ValueError, KeyError, TypeError, _Nonsense) as error:
            raise _Broken(late=late.is_set(), results=results) from error
        finally:
            timer.cancel()
        return results

    def _exchange(self, request: dict[str, Any], results: Answer, *, max_bytes: int) -> None:
        """Send a request and add its answers to ``results`` as they come."""
        answers = cast(BinaryIO, self._process.stdout)
        wire.send(cast(BinaryIO, self._process.stdin), request)
        while True:
            message = wire.receive(answers)
            if message is None:
                raise _Nonsense
            if "end" in message:
                return
            if "error" in message:
                error = FileError(message["error"], status=message["status"], details=message["details"])
                raise _PartlyAnswered(error, results)
            if "value" in message:
                results.append(message["value"])
                continue
            array = wire.receive_array(answers, message, max_bytes=max_bytes)
            if array is None:
                raise _Nonsense
            results.append(array)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was left to send has no reader any more
                    stream.close()
        self._process.wait()


class _Workers:
    """The reader processes: at most `_PROCESSES`, each used by one thread at a time."""

    def __init__(self) -> None:
        self._idle: list[_Process] = []
        self._started = 0
        self._free = threading.Condition()
        self._usable = bool(sys.executable)
        # Files that took too long: why, and until when their other frames are not tried.
        self._late: dict[str, tuple[str, float]] = {}

    def call(
        self, request: dict[str, Any], *, name: str, max_bytes: int, seconds: float | None = None
    ) -> Answer:
        """Let a process answer a request.

        Raises
        ------
        FileError
            With the file's name where its process crashed or took too long.
        """
        late = self._late.get(request["path"])
        if late is not None and time.monotonic() < late[1]:
            raise FileError(late[0])
        process = self._take()
        if process is None:
            from model_core.read.decode_worker import run

            return list(run(request))
        limit = FILE_SECONDS if seconds is None else seconds
        healthy = False
        try:
            answer = process.call(request, max_bytes=max_bytes, seconds=limit)
            healthy = True
        except FileError:
            healthy = True
            raise
        except _Broken as error:
            if error.late:
                message = (
                    f"Reading {name} took longer than {limit:.0f} s and was stopped: damaged or hostile."
                )
                self._late[request["path"]] = (message, time.monotonic() + _LATE_SECONDS)
            else:
                message = f"The decoder crashed on {name}: the file is damaged or hostile."
            raise _PartlyAnswered(FileError(message), error.results) from error
        finally:
            self._give(process if healthy else None, process)
        return answer

    def _take(self) -> _Process | None:
        with self._free:
            while self._usable:
                if self._idle:
                    return self._idle.pop()
                if self._started < _PROCESSES:
                    try:
                        process = _Process()
                    except OSError:
                        _LOG.warning("No process for decoders can be started; files are decoded in this one.")
                        self._usable = False
                        break
                    self._started += 1
                    return process
                self._free.wait()
        return None

    def _give(self, healthy: _Process | None, process: _Process) -> None:
        if healthy is None:
            process.close()
            # What it had put into temporary folders is nobody's now.
            remove_stale()
        with self._free:
            if healthy is None:
                self._started -= 1
            else:
                self._idle.append(healthy)
            self._free.notify()

    def close(self) -> None:
        """End the idle processes; the others end when their input does."""
        with self._free:
            for process in self._idle:
                process.close()
                self._started -= 1
            self._idle.clear()


_workers = _Workers()
atexit.register(_workers.close)
