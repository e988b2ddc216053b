"""Catalogue entries: the id of a series, and what its entry says once slices are left out of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from model_core.base.errors import ordinal
from model_core.base.volume import Problem, SeriesEntry
from model_core.read.archives import lasting_text


def series_id(key: str) -> str:
    """Return an opaque stable name of a series: a hash, so that it says nothing about the patient."""
    lasting = lasting_text(key)
    return hashlib.sha1(lasting.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:20]


def with_fewer_slices(entry: SeriesEntry, step: int) -> SeriesEntry:
    """Return an entry whose identity, size, title and problems say that every ``step``-th slice is opened.

    Files, spacing and source remain those of the whole series: they are the reader's to replace.

    Parameters
    ----------
    entry:
        A series found by `scan`, or one with fewer slices already.
    step:
        2 or more; counts the slices of ``entry``.
    """
    depth = entry.size[0]
    left = -(-depth // step)
    every = entry.every * step
    of = f" of {depth}" if entry.every == 1 else ""
    title = entry.title.removesuffix(_suffix(entry.every))
    kept = tuple(problem for problem in entry.problems if problem.code != "every_nth_slice")
    told = Problem(
        "warning",
        f"Only every {ordinal(every)} slice is opened: {left}{of}.",
        "Small findings may lie between them.",
        code="every_nth_slice",
    )
    return replace(
        entry,
        series_id=series_id(f"{entry.series_id}|every {step}"),
        title=title + _suffix(every),
        size=(left, *entry.size[1:]),
        problems=(told, *kept),
        every=every,
    )


def _suffix(every: int) -> str:
    return f", every {ordinal(every)} slice" if every > 1 else ""
