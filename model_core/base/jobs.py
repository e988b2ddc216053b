"""Jobs are generators: they yield progress and results, and each yield is where cancel is looked at."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One step of a running job: ``done`` of ``total`` (0 when unknown) and what is being done."""

    done: int
    total: int
    text: str = ""


def finish(job: Generator[Progress | T, None, None]) -> list[T]:
    """Run a job generator to its end and return what it produced, without the progress."""
    return [item for item in job if not isinstance(item, Progress)]
