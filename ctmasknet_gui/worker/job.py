"""A job: a numbered generator factory with a cancel flag."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import IntEnum

JobFactory = Callable[[], Generator[object, None, None]]


class Priority(IntEnum):
    """Which job the worker takes its next step of; a running job of lower priority is suspended.

    Nobody waits for one that works AHEAD.
    """

    AHEAD = -1
    IDLE = 0
    RUN = 1
    FOLLOW = 2
    ASKED = 3


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of background work.

    Attributes
    ----------
    job_id:
        Rises with every job; events of replaced jobs are told apart by it.
    kind:
        What it does ("open", "run", ...). A new job replaces an unfinished one of the same kind.
    factory:
        Called in the worker thread; returns a generator of `Progress` and results. Every yield is a
        point where the job can be cancelled or suspended.
    cancel_flag:
        Set from any thread. A flag, not a queued call: a busy worker hears a queued call too late.
    """

    job_id: int
    kind: str
    factory: JobFactory = field(repr=False)
    priority: Priority = Priority.RUN
    cancel_flag: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop."""
        return self.cancel_flag.is_set()

    def cancel(self) -> None:
        """Ask the job to stop at its next yield."""
        self.cancel_flag.set()
