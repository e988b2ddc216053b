"""Names of files as people and systems write them, and files whose content is not here."""

from __future__ import annotations

import errno
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

#: What to do about files that are named by `absent`.
FETCH = "Fetch them (git annex get, git lfs pull) or complete the copy."

# Longer files are no pointers.
_POINTER_BYTES = 1024
# Of many names, so many are told.
_MAX_NAMED = 8
_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = b"/annex/objects/"


def plain_name(name: str) -> str:
    """Return a name with composed letters (Unicode NFC): macOS writes é as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def folded_name(name: str) -> str:
    """Return a name without the difference of upper and lower case (Unicode 3.13, canonical caseless)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which "slice10" follows "slice9"."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def named(names: Iterable[str]) -> tuple[str, ...]:
    """Return the first few of many names, and how many more there are."""
    every = tuple(dict.fromkeys(names))
    if len(every) <= _MAX_NAMED:
        return every
    return (*every[:_MAX_NAMED], f"and {len(every) - _MAX_NAMED} more")


def partners(names: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Return for each of ``names`` the one of ``given`` that is meant: the same, else in another case.

    Both are names as `plain_name` returns them. Another case counts only where one name on either side could
    be meant. Names without a partner are left out.
    """
    names, given = list(names), set(given)
    found = {name: name for name in names if name in given}
    lonely = [name for name in names if name not in found]
    left = given - set(found)
    counts = Counter(folded_name(name) for name in lonely), Counter(folded_name(name) for name in left)
    by_folded = {folded_name(name): name for name in left}
    for name in lonely:
        key = folded_name(name)
        if counts[0][key] == counts[1][key] == 1:
            found[name] = by_folded[key]
    return found


def absent(path: Path) -> str:
    """Return why the content of a file is not here, such as "a link that leads nowhere"; "" where it is."""
    try:
        size = path.stat().st_size
        if size == 0:
            return "an empty file"
        if size > _POINTER_BYTES or not path.is_file():
            return ""
        content = path.read_bytes()
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
        return "a link that leads nowhere" if gone and path.is_symlink() else ""
    if content.startswith(_LFS):
        return "a pointer of git-lfs"
    # Unlocked files begin with it; a link that was copied as text holds the way to it.
    return "a pointer of git-annex" if _ANNEX in content.partition(b"\n")[0] else ""
