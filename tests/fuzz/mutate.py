"""Seeded damage to bytes."""

import random

_LENGTHS = (
    0,
    1,
    2,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFE,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)
TOKENS = (
    b"\xff\xff\xff\xff",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\xe0\x7f\x10\x00",
    b"SQ",
    b"UN",
    b"OB",
    b"DS",
    b"NaN ",
    b"1e99",
    b"-1\\-1",
    b"\x1b$B",
    b"\x28\x00\x10\x00US\x02\x00\xff\xff",
    b"\x28\x00\x08\x00IS\x06\x00999999",
    b"DICM",
    b"\0" * 16,
)


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return damaged bytes: one to six changes of random kinds."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not result:
            break
        rng.choice(_CHANGES)(result, rng, others)
    return bytes(result)


def _place(data: bytearray, rng: random.Random) -> int:
    # Headers are at the start: that is where most damage is interesting.
    limit = len(data) if rng.random() < 0.4 else min(len(data), 1200)
    return rng.randrange(max(1, limit))


def _flip(data, rng, _):
    for _ in range(rng.choice((1, 1, 4, 32))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data, rng, _):
    data[_place(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data, rng, _):
    at, width = _place(data, rng), rng.choice((1, 2, 4, 8))
    order = rng.choice(("little", "big"))
    data[at : at + width] = (rng.choice(_LENGTHS) % (1 << 8 * width)).to_bytes(width, order)


def _cut(data, rng, _):
    del data[_place(data, rng) :]


def _remove(data, rng, _):
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 8, 50, 500))]


def _repeat(data, rng, _):
    at = _place(data, rng)
    part = bytes(data[at : at + rng.choice((1, 8, 60, 400))])
    data[at:at] = part * rng.choice((1, 2, 20))


def _token(data, rng, _):
    at, token = _place(data, rng), rng.choice(TOKENS)
    data[at : at + (len(token) if rng.random() < 0.7 else 0)] = token


def _noise(data, rng, _):
    at = _place(data, rng)
    count = rng.choice((1, 4, 16, 100))
    data[at : at + count] = rng.randbytes(count)


def _splice(data, rng, others):
    other = rng.choice(others)
    data[_place(data, rng) :] = other[rng.randrange(max(1, len(other))) :]


_CHANGES = (_flip, _flip, _byte, _number, _number, _cut, _remove, _repeat, _token, _token, _noise, _splice)
