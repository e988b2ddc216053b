"""A progress bar over any job generator."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

from tqdm import tqdm

from model_core.base.jobs import Progress

T = TypeVar("T")


def follow(job: Generator[Progress | T, None, None], *, title: str) -> Iterator[T]:
    """Yield what the job produces, with its progress as a bar on stderr (only on a terminal)."""
    with tqdm(desc=title, disable=None, leave=False) as bar:
        for item in job:
            if isinstance(item, Progress):
                bar.total = item.total or None
                bar.set_postfix_str(item.text, refresh=False)
                bar.update(item.done - bar.n)
            else:
                yield item


def last(job: Generator[Progress | T, None, None], *, title: str) -> T:
    """Run the job and return the last thing it produces."""
    *_, result = follow(job, title=title)
    return result
