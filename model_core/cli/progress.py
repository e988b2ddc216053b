"""Any job generator with a progress bar; Ctrl-C and a termination signal close it between two steps."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import closing
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


def until_stopped(job: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield what a job yields; where a stop was asked for, close it, which keeps what it has done."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda received, _frame: asked.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with closing(job):
            for item in job:
                yield item
                if asked:
                    return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
