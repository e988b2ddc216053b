"""Messages between the program and its reader processes: JSON and raw arrays, nothing that can run code."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_MAX_MESSAGE = 64 << 20
# Kinds of numbers that an array may hold.
_KINDS = "biuf"


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write one message: its length in 8 bytes, then JSON in ASCII (file names may be no valid text)."""
    data = json.dumps(message).encode("ascii")
    stream.write(len(data).to_bytes(8, "little"))
    stream.write(data)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Read one message; None where the other side is gone.

    Raises
    ------
    ValueError
        What arrived is no message.
    """
    head = stream.read(8)
    if len(head) < 8:
        return None
    length = int.from_bytes(head, "little")
    if length > _MAX_MESSAGE:
        raise ValueError("message too long")
    data = stream.read(length)
    if len(data) < length:
        return None
    message: dict[str, Any] = json.loads(data)
    return message


def send_array(stream: BinaryIO, array: npt.NDArray[Any]) -> None:
    """Write an array as a message with its type and shape, followed by its bytes in C order."""
    plain = np.ascontiguousarray(array)
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    send(stream, {"dtype": plain.dtype.str, "shape": list(array.shape)})
    stream.write(plain.tobytes() if plain.size else b"")
    stream.flush()


def receive_array(stream: BinaryIO, message: dict[str, Any], *, max_bytes: int) -> npt.NDArray[Any] | None:
    """Read the bytes of an array that a message announced; None where they do not arrive.

    Raises
    ------
    ValueError
        The array is larger than it may be, or not of numbers.
    """
    dtype = np.dtype(str(message["dtype"]))
    shape = tuple(int(count) for count in message["shape"])
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.kind not in _KINDS or min(shape, default=0) < 0 or size > max_bytes:
        raise ValueError("not an array that was asked for")
    array = np.empty(shape, dtype)
    if size:
        target = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < size:
            count = stream.readinto(target[done:])  # type: ignore[attr-defined]
            if not count:
                return None
            done += count
    return array
