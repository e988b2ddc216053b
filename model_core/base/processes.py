"""Python processes of our own that answer through pipes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

# What any user may give a pipe under Linux.
_PIPE_BYTES = 1 << 20


def start_python(code: str, *, giving_way: bool = False) -> subprocess.Popen[bytes]:
    """Start a process that runs ``code`` with this program's packages; its pipes are binary.

    Parameters
    ----------
    giving_way:
        Every other process goes before it where both want a core.

    Raises
    ------
    OSError
        If no process can be started.
    """
    if not sys.executable or getattr(sys, "frozen", False):  # then it is the program itself
        raise OSError("the Python interpreter is not known")
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    if giving_way:
        flags |= getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and modules of this program
        # -P: a module in the current folder must not take the place of a library.
        [sys.executable, "-P", "-W", "ignore", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        creationflags=flags,
    )
    _widen(cast(BinaryIO, process.stdout))
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and close its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what was left to send has no reader any more
            cast(BinaryIO, pipe).close()
    process.wait()


def answers_alone() -> BinaryIO:
    """Return the standard output of this process, which nothing else writes to from now on.

    What libraries print must not end up among the answers.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return answers


def exactly(pipe: BinaryIO, size: int) -> npt.NDArray[np.uint8]:
    """Read so many bytes into memory of their own.

    Raises
    ------
    EOFError
        The other side is gone.
    """
    data = np.empty(size, np.uint8)
    done = 0
    while done < size:
        count: Any = pipe.readinto(data.data[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
    return data


def send(
    pipe: BinaryIO, values: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None = None
) -> None:
    """Write values that JSON can hold, and arrays of numbers by name: nothing that can run code."""
    plain = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    described = [[name, array.dtype.str, array.shape] for name, array in plain.items()]
    head = json.dumps({"values": values, "arrays": described}).encode()
    pipe.write(len(head).to_bytes(8, "little") + head)
    for array in plain.values():
        pipe.write(array.reshape(-1).view(np.uint8).data)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read a message that `send` wrote, of a process that is trusted.

    Raises
    ------
    EOFError
        The other side is gone.
    """
    head = json.loads(exactly(pipe, int.from_bytes(exactly(pipe, 8), "little")).tobytes())
    arrays = {}
    for name, kind, shape in head["arrays"]:
        size = math.prod(shape) * np.dtype(kind).itemsize
        arrays[name] = exactly(pipe, size).view(kind).reshape(shape)
    return head["values"], arrays


def _widen(pipe: BinaryIO) -> None:
    """Let a pipe hold a whole picture, where the system can: its two sides wait less for each other."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
