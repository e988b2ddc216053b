"""The object that lives in the worker thread and iterates jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator

from PySide6.QtCore import QObject, Signal, Slot

from ctmasknet_gui.worker.job import Job
from ctmasknet_gui.worker.queue import JobQueue
from model_core.base.errors import Cancelled
from model_core.base.jobs import Progress

_log = logging.getLogger(__name__)

# Progress more often than the eye follows would only fill the event queue of the GUI thread.
PROGRESS_INTERVAL_S = 0.04


class Worker(QObject):
    """Takes one step of the most urgent job at a time, so that a long run never holds up an export.

    The signals carry the job's number first. They must be connected to `@Slot` methods of a
    `QObject` of the GUI thread: anything else would run in the worker thread.
    """

    progressed = Signal(int, object)
    produced = Signal(int, object)
    finished = Signal(int)
    failed = Signal(int, object)
    cancelled = Signal(int)

    def __init__(self, queue: JobQueue) -> None:
        super().__init__()
        self._queue = queue
        self._generators: dict[int, Generator[object, None, None]] = {}
        self._last_progress: dict[int, float] = {}

    @Slot()
    def work(self) -> None:
        """Iterate jobs until none is left."""
        while (job := self._queue.next()) is not None:
            self._step(job)

    def _step(self, job: Job) -> None:
        try:
            if job.cancelled:
                raise Cancelled
            if job.job_id not in self._generators:
                self._generators[job.job_id] = job.factory()
            item = next(self._generators[job.job_id])
            if job.cancelled:
                raise Cancelled
        except StopIteration:
            self._end(job)
            self.finished.emit(job.job_id)
        except Cancelled:
            error = self._end(job)
            if error is None:
                self.cancelled.emit(job.job_id)
            else:
                self.failed.emit(job.job_id, error)
        except Exception as error:  # noqa: BLE001 - the border of the thread: whatever a job raises is shown
            self._end(job)
            self.failed.emit(job.job_id, error)
        else:
            self._report(job, item)

    def _report(self, job: Job, item: object) -> None:
        if not isinstance(item, Progress):
            self.produced.emit(job.job_id, item)
            return
        now = time.monotonic()
        if now - self._last_progress.get(job.job_id, 0.0) >= PROGRESS_INTERVAL_S:
            self._last_progress[job.job_id] = now
            self.progressed.emit(job.job_id, item)

    def _end(self, job: Job) -> Exception | None:
        """Close the generator, so that its ``finally`` blocks run, and forget the job.

        Returns what closing raised: a job that cannot be closed has ended all the same.
        """
        self._queue.remove(job)
        self._last_progress.pop(job.job_id, None)
        generator = self._generators.pop(job.job_id, None)
        if generator is None:
            return None
        try:
            generator.close()
        except Exception as error:  # noqa: BLE001 - the border of the thread, as in `_step`
            # Nobody may be listening to a cancelled job any more. Its text may hold a path.
            _log.warning("a cancelled job (%s) did not close: %s", job.kind, type(error).__name__)
            return error
        return None
