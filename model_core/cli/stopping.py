"""Ctrl-C and a termination signal close a long job between two steps."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

T = TypeVar("T")


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
