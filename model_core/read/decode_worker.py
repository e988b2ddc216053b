"""The process that native decoders run in: ``python -m model_core.read.decode_worker``.

Reads requests from its standard input and answers on its standard output (see `wire`), one after
another, until the input ends. A decoder that crashes, hangs or eats memory takes this process with it
and nothing else.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from model_core.read import wire
from model_core.read.failures import LIBRARY_FAILURES, FileError, plain_reason
from model_core.read.temporary import remove_stale

# Address space that one decoder may take, where the system can limit it.
_MAX_MEMORY = 16 << 30


def main() -> int:
    """Serve requests until the input ends."""
    requests = sys.stdin.buffer
    # What libraries print must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    _limit_memory()
    remove_stale()
    while (request := wire.receive(requests)) is not None:
        _answer(request, answers)
    return 0


def _limit_memory() -> None:
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = _MAX_MEMORY if hard == resource.RLIM_INFINITY else min(_MAX_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, ValueError, OSError):
        pass  # not on this system; the time limit still holds


def _answer(request: dict[str, Any], answers: BinaryIO) -> None:
    try:
        for result in run(request):
            if isinstance(result, np.ndarray):
                wire.send_array(answers, result)
            else:
                wire.send(answers, {"value": result})
        wire.send(answers, {"end": True})
    except FileError as error:
        wire.send(answers, _told(error))
    except LIBRARY_FAILURES as error:
        wire.send(answers, {"error": plain_reason(error), "status": "error", "details": type(error).__name__})


def _told(error: FileError) -> dict[str, Any]:
    return {"error": error.message, "status": error.status, "details": error.details}


def run(request: dict[str, Any]) -> Iterator[npt.NDArray[Any] | dict[str, Any]]:
    """Do one request: yield arrays, or a dictionary of plain values.

    Raises
    ------
    FileError
        The file cannot be read.
    """
    task = request["task"]
    path = Path(request["path"])
    if task == "frames":
        from model_core.read.dicom.decode import decode_frames
        from model_core.read.dicom.records import FileHeader

        values = dict(request["header"])
        values["path"] = path
        values["padding"] = None
        header = FileHeader(**values)
        for frame in decode_frames(header, request["indices"], palette=request["palette"]):
            yield _told(frame) if isinstance(frame, FileError) else frame
    elif task == "picture":
        from model_core.read.pictures import decode

        yield decode(path, channels=bool(request["channels"]))
    elif task == "volume header":
        from model_core.read.itk_files import read_information

        yield read_information(path)
    elif task == "volume":
        from model_core.read.itk_files import read_array

        yield read_array(path)
    else:
        raise FileError("An unknown request.")


if __name__ == "__main__":
    sys.exit(main())
