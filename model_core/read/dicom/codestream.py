"""Read what a compressed codestream says of itself, before a decoder believes it: its size, its losses."""

from __future__ import annotations

# Start of frame markers of every JPEG process (T.81 table B.1) and of JPEG-LS (T.87 C.1.1).
_JPEG_FRAMES = frozenset(
    (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
)
# Of these the lossless, sequential one with Huffman codes (SOF3).
_LOSSLESS = 0xC3
_END = b"\xff\xd9"
# What makes the length of a fragment even, behind the end.
_FILLING = b"\0\xff"
# COD marker of JPEG 2000 (T.800 A.6.1); its last byte but for precincts is the wavelet.
_CODING_STYLE = 0x52
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG, JPEG-LS or JPEG 2000 codestream, None where it is none of them."""
    if data[:2] == b"\xff\xd8":
        frame = _jpeg_frame(data)
        return None if frame is None else frame[2:]
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)  # alone, or inside a JP2 file
    if start < 0 or len(data) < start + 24:
        return None
    # SIZ (T.800 A.5.1): length, capabilities, then the grid's size and offset.
    columns, rows, left, top = (
        int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    return rows - top, columns - left


def lossless_precision(data: bytes) -> int:
    """Return the bits per sample of a whole JPEG codestream of the lossless process; 0 for any other.

    One that does not end with its end marker (T.81 B.1.1.3: EOI) was cut off.
    """
    if data[:2] != b"\xff\xd8" or not data[-8:].rstrip(_FILLING).endswith(_END):
        return 0
    frame = _jpeg_frame(data)
    return frame[1] if frame is not None and frame[0] == _LOSSLESS else 0


def is_lossy(data: bytes) -> bool | None:
    """Return whether the first codestream in the data was compressed with loss; None where it does not say.

    JPEG-LS says how far values may be off (T.87 C.1.1.3: NEAR), JPEG 2000 whether its wavelet can be undone
    (T.800 table A.20). A reversible wavelet may still have been cut short, so that it says nothing.
    """
    start = data.find(b"\xff\x4f\xff\x51")
    if start >= 0:
        return _has_irreversible_wavelet(data, start + 2)
    start = data.find(b"\xff\xd8\xff")
    scan = data.find(b"\xff\xda", start)
    if start < 0 or scan < 0 or b"\xff\xf7" not in data[start:scan]:
        return None
    near = scan + 5 + 2 * data[scan + 4] if scan + 4 < len(data) else len(data)
    return data[near] > 0 if near < len(data) else None


def _has_irreversible_wavelet(data: bytes, position: int) -> bool | None:
    while position + 14 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == _CODING_STYLE:
            return True if data[position + 13] == 0 else None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _jpeg_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Return the process, precision, rows and columns of a frame header (T.81 B.2.2), None without one."""
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _JPEG_FRAMES:
            rows = int.from_bytes(data[position + 5 : position + 7], "big")
            columns = int.from_bytes(data[position + 7 : position + 9], "big")
            return marker, data[position + 4], rows, columns
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
