"""Run native decoders in processes of their own, so that a crash or an endless loop ends one file only.

The processes start when the first file needs them, are used again for the next ones, and end with the
program. Where a process cannot be started, the work is done here, and the log says so. What goes in and
comes out is JSON and raw arrays, nothing that can run code: a decoder that a hostile file has taken over can
answer with wrong pixels only.

Private temporary folders (`PrivateFolder`) do not outlive their process, not even where it crashed: each
holds a file that is kept locked, and one whose lock is free is removed by `remove_stale`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import logging
import os
import shutil
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import numpy.typing as npt

from model_core.base.processes import answers_alone, end, exactly, start_python
from model_core.read.errors import LIBRARY_FAILURES, FileError

_LOG = logging.getLogger(__name__)

#: Longest time that one file may take to decode, in seconds.
FILE_SECONDS = 15.0
# A process that starts may take longer: on a busy machine that is no fault of the first file.
_START_SECONDS = 120.0
# Large files get another second for each of these.
_BYTES_PER_SECOND = 20 << 20
# So long after a file took too long, it is not tried again: it may have a thousand frames.
_LATE_SECONDS = 120.0
#: How many processes there are at most.
PROCESSES = min(4, os.cpu_count() or 1)
# Address space that one process may take, where the system can limit it.
_MAX_MEMORY = 16 << 30
_MAX_MESSAGE = 64 << 20
# What reading a message raises that is none.
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
# Kinds of numbers that an array may hold.
_KINDS = "biuf"


def call(function: Callable[..., Any], path: Path, *, max_bytes: int = 0, **arguments: Any) -> Any:
    """Return what ``function(path, **arguments)`` returns in a process of its own; see `stream`.

    Raises
    ------
    FileError
        The file cannot be read.
    """
    (answer,) = stream(function, path, count=1, max_bytes=max_bytes, **arguments)
    if isinstance(answer, FileError):
        raise answer
    return answer


def stream(
    function: Callable[..., Any], path: Path, *, count: int, max_bytes: int = 0, **arguments: Any
) -> Iterator[Any]:
    """Yield what ``function(path, **arguments)`` yields in a process of its own.

    Parameters
    ----------
    function:
        Of a module, known by its name in the process. It returns or yields arrays of numbers, dictionaries
        that JSON can hold, or in place of one a `FileError`.
    path:
        The file. It may take `FILE_SECONDS`, and more where it is large.
    count:
        How many answers there are to be.
    max_bytes:
        Most that an array may take.
    arguments:
        What JSON can hold.

    Raises
    ------
    FileError
        The file cannot be read, or the process crashed, took too long or answered nonsense after the last
        answer that came.
    """
    answers, error = shared.run(function, path, arguments, count=count, max_bytes=max_bytes)
    yield from answers
    if error is not None:
        raise error
    if len(answers) != count:  # a decoder that damage drove astray
        raise unusable(f"{len(answers)} answers")


def unusable(details: str) -> FileError:
    """Return the error of a file whose decoder answered something else than what was asked for."""
    return FileError("The decoder gave no answer that can be used.", details=details)


class Sandbox:
    """Up to `PROCESSES` processes, each used by one thread at a time."""

    def __init__(self) -> None:
        self._idle: list[_Process] = []
        self._slots = threading.BoundedSemaphore(PROCESSES)
        # Files that took too long: why, and until when their other frames are not tried.
        self._late: dict[Path, tuple[str, float]] = {}
        self.usable = True

    def run(
        self,
        function: Callable[..., Any],
        path: Path,
        arguments: dict[str, Any],
        *,
        count: int = 1,
        max_bytes: int,
    ) -> tuple[list[Any], FileError | None]:
        """Return the answers of a function, and the error that ended them, if any; see `stream`."""
        message, until = self._late.get(path, ("", 0.0))
        if time.monotonic() < until:
            return [], FileError(message)
        answers: list[Any] = []
        error = None
        with self._slots:
            process = self._process()
            if process is None:
                return list(_results(function(path, **arguments))), None
            seconds = _seconds(path)
            name = f"{function.__module__}:{function.__qualname__}"
            request = {"function": name, "path": os.fspath(path), "arguments": arguments}
            healthy = False
            try:
                process.ask(request, answers, count=count, max_bytes=max_bytes, seconds=seconds)
                healthy = True
            except FileError as stated:
                healthy, error = True, stated
            except TimeoutError:
                message = f"Reading {path.name} took longer than {seconds:.0f} s and was stopped"
                error = FileError(f"{message}: damaged or hostile.")
                self._late[path] = error.message, time.monotonic() + _LATE_SECONDS
            except ConnectionError:
                message = f"The decoder crashed on {path.name}: the file is damaged or hostile."
                error = FileError(message)
            finally:
                if healthy:
                    self._idle.append(process)
                else:
                    process.close()
                    # What it had put into temporary folders is nobody's now.
                    remove_stale()
        return answers, error

    def _process(self) -> _Process | None:
        """Return an idle process, or a new one; None where none can be started."""
        while self.usable:
            with contextlib.suppress(IndexError):
                process = self._idle.pop()
                if process.alive:
                    return process
                process.close()  # ended while it was idle: no file's fault
                continue
            try:
                return _Process()
            except OSError:
                _LOG.warning("No process for decoders can be started; files are decoded in this one.")
                self.usable = False
        return None

    def warm_up(self, function: Callable[..., Any]) -> None:
        """Start as many processes as there may be, and let each import the module of a function; do not wait.

        A process takes longer to start than to decode many files.
        """

        def start() -> None:
            self.run(function, Path(), {}, max_bytes=0)

        for _ in range(PROCESSES - len(self._idle)):
            threading.Thread(target=start, name="ctmasknet-warm", daemon=True).start()

    @property
    def pids(self) -> list[int]:
        """Numbers of the idle processes."""
        return [process.pid for process in self._idle]

    def close(self) -> None:
        """End the idle processes; the others end when their input does."""
        while self._idle:
            self._idle.pop().close()


def _seconds(path: Path) -> float:
    try:
        return FILE_SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    except OSError:
        return FILE_SECONDS


class _Process:
    """One process: gets requests through its standard input, answers through its standard output."""

    def __init__(self) -> None:
        self._process = start_python("import model_core.read.sandbox as s; s.serve()")
        self.pid = self._process.pid
        # Whether it still imports what its first request needs.
        self._starting = True

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def ask(
        self, request: dict[str, Any], answers: list[Any], *, count: int, max_bytes: int, seconds: float
    ) -> None:
        """Send a request and append its answers, at most ``count``, as they come.

        Raises
        ------
        FileError
            The function raised it.
        TimeoutError
            The time was up; the process is killed.
        ConnectionError
            The process ended, or answered nonsense.
        """
        late = threading.Event()
        outgoing = cast(BinaryIO, self._process.stdin)
        incoming = cast(BinaryIO, self._process.stdout)
        try:
            if self._starting:
                with self._limited(_START_SECONDS, late):
                    send(outgoing, request)
                    receive(incoming)
            with self._limited(seconds, late):
                if not self._starting:
                    send(outgoing, request)
                self._starting = False
                while (answer := receive(incoming, max_bytes=max_bytes)) is not None:
                    if len(answers) == count:
                        raise ValueError("more answers than were asked for")
                    answers.append(answer)
        except (OSError, EOFError, *NONSENSE) as error:
            raise (TimeoutError if late.is_set() else ConnectionError) from error
        if late.is_set():
            raise TimeoutError

    @contextlib.contextmanager
    def _limited(self, seconds: float, late: threading.Event) -> Iterator[None]:
        """Kill the process, and set ``late``, where a block takes longer."""

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def close(self) -> None:
        """End the process."""
        end(self._process)


shared = Sandbox()
atexit.register(lambda: shared.close())


# ------------------------------------------------------------------------------------------ messages


def send(pipe: BinaryIO, answer: npt.NDArray[Any] | dict[str, Any] | FileError | None) -> None:
    """Write one message: the length of its head in 8 bytes, the head, then the bytes of an array.

    The head is JSON in ASCII, because file names may be no valid text. None is the end of the answers.
    """
    if isinstance(answer, np.ndarray):
        plain = np.ascontiguousarray(answer)
        plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
        _send_head(pipe, {"dtype": plain.dtype.str, "shape": answer.shape})
        pipe.write(plain.reshape(-1).view(np.uint8).data)
    elif isinstance(answer, FileError):
        _send_head(pipe, {"error": _stated(answer)})
    else:
        _send_head(pipe, {"value": answer})
    pipe.flush()


def _send_head(pipe: BinaryIO, head: dict[str, Any]) -> None:
    data = json.dumps(head).encode("ascii")
    pipe.write(len(data).to_bytes(8, "little") + data)


def _stated(error: FileError) -> dict[str, str]:
    return {"message": error.message, "status": error.status, "details": error.details}


def _error(stated: dict[str, Any]) -> FileError:
    status: Literal["skipped", "error"] = "skipped" if stated["status"] == "skipped" else "error"
    return FileError(str(stated["message"]), status=status, details=str(stated["details"]))


def receive(pipe: BinaryIO, *, max_bytes: int = 0) -> Any:
    """Read one message: an array of at most ``max_bytes``, a dictionary, a FileError, or None for the end.

    Raises
    ------
    FileError
        It ended the answers.
    EOFError
        The other side is gone.
    NONSENSE
        What arrived is no message.
    """
    length = int.from_bytes(exactly(pipe, 8), "little")
    if length > _MAX_MESSAGE:
        raise ValueError("message too long")
    head = json.loads(exactly(pipe, length).tobytes())
    if "raised" in head:
        raise _error(head["raised"])
    if "error" in head:
        return _error(head["error"])
    if "dtype" not in head:
        return head["value"]
    dtype = np.dtype(str(head["dtype"]))
    shape = tuple(int(count) for count in head["shape"])
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.kind not in _KINDS or min(shape, default=0) < 0 or size > max_bytes:
        raise ValueError("not an array that was asked for")
    return exactly(pipe, size).view(dtype).reshape(shape)


# --------------------------------------------------------------------------------- inside the process


def serve() -> None:
    """Answer the requests of the standard input on the standard output, until the input ends.

    A decoder that crashes, hangs or eats memory takes this process with it and nothing else.
    """
    requests = sys.stdin.buffer
    answers = answers_alone()
    warnings.simplefilter("ignore")
    _limit_memory()
    remove_stale()
    with contextlib.suppress(EOFError):
        request = receive(requests)
        with contextlib.suppress(*LIBRARY_FAILURES):  # told as the answer
            _function(request)
        send(answers, {"ready": True})
        while True:
            _answer(request, answers)
            request = receive(requests)


def _function(request: dict[str, Any]) -> Callable[..., Any]:
    module, _, name = request["function"].partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _answer(request: dict[str, Any], answers: BinaryIO) -> None:
    try:
        for result in _results(_function(request)(Path(request["path"]), **request["arguments"])):
            send(answers, result)
        send(answers, None)
    except FileError as error:
        _send_head(answers, {"raised": _stated(error)})
    except LIBRARY_FAILURES as error:
        _send_head(answers, {"raised": _stated(FileError.of(error))})
    answers.flush()


def _results(result: Any) -> Iterator[Any]:
    """Yield what a function yields, or the one thing that it returned."""
    if isinstance(result, Iterator):
        yield from result
    else:
        yield result


def _limit_memory() -> None:
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = _MAX_MEMORY if hard == resource.RLIM_INFINITY else min(_MAX_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, ValueError, OSError):
        pass  # not on this system; the time limit still holds


# ----------------------------------------------------------------------------------- private folders

#: How the names of private folders begin.
PREFIX = "ctmasknet-"
_MARK = ".in-use"
# A folder without its lock file was left half made, or is being made right now.
_HALF_MADE_SECONDS = 24 * 3600.0
_ATTEMPTS = 3


class PrivateFolder:
    """A new folder that only the user may enter (mode 0700), removed by `remove` or at the end of a block.

    Attributes
    ----------
    path:
        The folder, without links in it.

    Raises
    ------
    OSError
        It cannot be made.
    FileError
        Another program keeps removing it.
    """

    path: Path

    def __init__(self) -> None:
        for _ in range(_ATTEMPTS):
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
            try:
                self._mark = (self.path / _MARK).open("xb")
            except FileNotFoundError:
                continue
            except OSError:
                shutil.rmtree(self.path, ignore_errors=True)
                raise
            # Between making and locking it, another program could have taken it for a stale one.
            if _lock(self._mark) and (self.path / _MARK).exists():
                return
            self._mark.close()
        raise FileError("No private temporary folder can be made: check the folder for temporary files.")

    def remove(self) -> None:
        """Remove the folder with all that is in it; what the system keeps goes at the next start."""
        self._mark.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def remove_stale() -> int:
    """Remove the folders that crashed programs of this user left behind; return how many they were."""
    removed = 0
    try:
        folders = [entry for entry in os.scandir(tempfile.gettempdir()) if entry.name.startswith(PREFIX)]
    except OSError:
        return 0
    for entry in folders:
        with contextlib.suppress(OSError):
            if _is_own_folder(entry) and _is_stale(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)
                removed += 1
    return removed


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, not a link to one, of this user."""
    status = entry.stat(follow_symlinks=False)
    mine = sys.platform == "win32" or status.st_uid == os.getuid()
    return mine and stat.S_ISDIR(status.st_mode)


def _is_stale(folder: Path) -> bool:
    try:
        with (folder / _MARK).open("r+b") as mark:
            if not _lock(mark):
                return False
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _HALF_MADE_SECONDS
    # Where files cannot be locked, one that is open cannot be removed either (Windows).
    (folder / _MARK).unlink()
    return True


def _lock(mark: BinaryIO) -> bool:
    """Take the lock of a file, which its closing gives back; False where another one holds it."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
