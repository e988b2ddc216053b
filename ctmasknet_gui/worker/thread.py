"""Owner of a worker thread: start, submit, cancel, shut down."""

from __future__ import annotations

import itertools
import logging
import sys

from PySide6.QtCore import QObject, Qt, QThread, Signal

from ctmasknet_gui.worker.garbage import GarbageCollector
from ctmasknet_gui.worker.job import Job, JobFactory, Priority
from ctmasknet_gui.worker.queue import JobQueue
from ctmasknet_gui.worker.worker import Worker
from model_core.base.threads import let_the_window_go_first

_log = logging.getLogger(__name__)

# How long a thread that computes in Python may let the window's wait, which asks dozens of times a frame. By
# default it is 25 times as long; with less than this, what computes mostly waits for its turn.
_SWITCH_S = 0.0002
# Of all threads together: a job's number tells it from every other.
_NUMBERS = itertools.count(1)


class WorkerThread(QObject):
    """Starts one thread with one `Worker` on the first job and joins it at the end.

    The thread is never terminated: a job stops at its next yield.
    """

    _wake = Signal()

    def __init__(self, name: str = "worker", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._queue = JobQueue()
        self._garbage = GarbageCollector(self)
        self._thread = QThread()
        self._thread.setObjectName(f"ctmasknet-{name}")
        self.worker = Worker(self._queue)
        self.worker.moveToThread(self._thread)
        self._wake.connect(self.worker.work, Qt.ConnectionType.QueuedConnection)

    @property
    def running(self) -> bool:
        """Whether the thread exists and has not been joined."""
        return self._thread.isRunning()

    def submit(self, kind: str, factory: JobFactory, *, priority: Priority = Priority.RUN) -> Job | None:
        """Queue a job, replacing an unfinished one of its kind; None after `shutdown`."""
        job = Job(next(_NUMBERS), kind, factory, priority)
        if not self._queue.put(job):
            return None
        if not self._thread.isRunning():
            sys.setswitchinterval(min(_SWITCH_S, sys.getswitchinterval()))
            let_the_window_go_first()
            self._garbage.start()
            self._thread.start()
        self._wake.emit()
        return job

    def cancel(self, kind: str | None = None) -> None:
        """Ask the jobs of a kind, or all, to stop at their next yield."""
        self._queue.cancel(kind)

    def shutdown(self, timeout_ms: int = 15_000) -> bool:
        """Cancel every job and join the thread; False when it did not end in time."""
        self._queue.close()
        if self._thread.isRunning():
            self._thread.quit()
            if not self._thread.wait(timeout_ms):
                _log.warning("The worker thread did not stop within %d ms.", timeout_ms)
                return False
        self._garbage.stop()
        return True
