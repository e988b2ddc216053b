"""Submits jobs to the worker threads and hands their events to whoever asked, in the GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PySide6.QtCore import QCoreApplication, QDeadlineTimer, QEventLoop, QObject, Qt, Signal, Slot

from ctmasknet_gui.controller.time_left import TimeLeft
from ctmasknet_gui.state import RunState
from ctmasknet_gui.state.changes import Changes
from ctmasknet_gui.worker import Job, Priority, WorkerThread
from ctmasknet_gui.worker.job import JobFactory
from model_core.base.jobs import Progress

# `RunState` knows few kinds; the small ones show as what they are part of.
SHOWN_AS = {
    "weights": "open",
    "reference": "open",
    "ask": "run",
    "picture": "run",
    "pixels": "explain",
    "stability": "explain",
    "scan stability": "explain",
}


def _nothing(*_: object) -> None:
    """Ignore an event."""


@dataclass(frozen=True)
class Handlers:
    """What is done, in the GUI thread, with the events of one job."""

    produced: Callable[[object], None] = _nothing
    finished: Callable[[], None] = _nothing
    failed: Callable[[BaseException], None] = _nothing
    cancelled: Callable[[], None] = _nothing


@dataclass
class _Active:
    job: Job
    handlers: Handlers
    visible: bool
    time_left: TimeLeft = field(default_factory=TimeLeft)


class Jobs(QObject):
    """The only listener of the workers; drops the events of replaced and cancelled jobs by number.

    Two threads: what reads, runs and writes, and beside it what follows the thresholds, which a step of a
    network must not hold up. Writes `RunState` for jobs that the user should see.

    ``idle()``: every job of both has ended, but for those that work ahead.
    """

    idle = Signal()

    def __init__(
        self,
        run_state: RunState,
        thread: WorkerThread,
        *,
        beside: WorkerThread,
        changes: Changes,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state, self._changes = run_state, changes
        self._thread, self._beside = thread, beside
        self._active: dict[int, _Active] = {}
        self._closed = False
        queued = Qt.ConnectionType.QueuedConnection
        for worker in (thread.worker, beside.worker):
            worker.progressed.connect(self._on_progressed, queued)
            worker.produced.connect(self._on_produced, queued)
            worker.finished.connect(self._on_finished, queued)
            worker.failed.connect(self._on_failed, queued)
            worker.cancelled.connect(self._on_cancelled, queued)

    @property
    def busy(self) -> bool:
        """Whether any job has not ended, but for those that work ahead."""
        return any(entry.job.priority > Priority.AHEAD for entry in self._active.values())

    def active(self, kind: str) -> bool:
        """Whether a job of this kind has not ended."""
        return any(entry.job.kind == kind for entry in self._active.values())

    def submit(
        self,
        kind: str,
        factory: JobFactory,
        handlers: Handlers,
        *,
        priority: Priority = Priority.RUN,
        visible: bool = True,
        beside: bool = False,
    ) -> None:
        """Start a job; an unfinished one of the same kind is cancelled and its events are dropped.

        ``beside``: in the second thread.
        """
        if self._closed:
            return
        self._drop(kind)
        thread = self._beside if beside else self._thread
        job = thread.submit(kind, factory, priority=priority)
        if job is None:
            return
        self._active[job.job_id] = _Active(job, handlers, visible)
        self._show_most_urgent()

    def cancel(self, kind: str | None = None) -> None:
        """Cancel the jobs of a kind, or all; none of their later events is delivered."""
        self._thread.cancel(kind)
        self._beside.cancel(kind)
        # Each slice that is scrolled past cancels what may follow it: mostly nothing.
        if self._drop(kind):
            self._settle()

    def cancel_visible(self) -> None:
        """Cancel what the user sees running, the most urgent only; whatever waits behind it goes on."""
        entry = self._most_urgent()
        if entry is not None:
            self.cancel(entry.job.kind)

    def wait_for(self, kind: str, timeout_ms: int = 15_000) -> None:
        """Let the jobs of a kind come to their end; the user can do nothing meanwhile."""
        patience = QDeadlineTimer(timeout_ms)
        while self.active(kind) and not patience.hasExpired():
            QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents, 20)

    def shutdown(self, timeout_ms: int = 15_000) -> bool:
        """Cancel everything and join the threads."""
        self._closed = True
        self._drop(None)
        self._settle()
        joined = [thread.shutdown(timeout_ms) for thread in (self._thread, self._beside)]
        return all(joined)

    def _drop(self, kind: str | None) -> bool:
        """Forget the jobs of a kind; return whether there were any."""
        dropped = [entry for entry in self._active.values() if kind is None or entry.job.kind == kind]
        for entry in dropped:
            del self._active[entry.job.job_id]
            entry.handlers.cancelled()
        return bool(dropped)

    def _most_urgent(self) -> _Active | None:
        visible = [entry for entry in self._active.values() if entry.visible]
        return min(visible, key=lambda entry: (-entry.job.priority, entry.job.job_id), default=None)

    def _show_most_urgent(self) -> None:
        entry = self._most_urgent()
        kind = "" if entry is None else SHOWN_AS.get(entry.job.kind, entry.job.kind)
        if kind == self._state.kind and kind != "":
            return
        self._show(kind, Progress(0, 0))

    def _show(self, kind: str, progress: Progress, seconds_left: float | None = None) -> None:
        state = self._state
        with self._changes.together():
            state.done, state.total, state.text = progress.done, progress.total, progress.text
            state.seconds_left = seconds_left
            state.kind = kind

    def _settle(self) -> None:
        self._show_most_urgent()
        if not self.busy:
            self.idle.emit()

    def _end(self, job_id: int) -> _Active | None:
        return self._active.pop(job_id, None)

    @Slot(int, object)
    def _on_progressed(self, job_id: int, progress: Progress) -> None:
        entry = self._active.get(job_id)
        if entry is None:
            return
        seconds = entry.time_left.update(progress.done, progress.total)
        if entry is self._most_urgent():
            self._show(SHOWN_AS.get(entry.job.kind, entry.job.kind), progress, seconds)

    @Slot(int, object)
    def _on_produced(self, job_id: int, item: object) -> None:
        if (entry := self._active.get(job_id)) is not None:
            entry.handlers.produced(item)

    @Slot(int)
    def _on_finished(self, job_id: int) -> None:
        if (entry := self._end(job_id)) is not None:
            entry.handlers.finished()
            self._settle()

    @Slot(int, object)
    def _on_failed(self, job_id: int, error: BaseException) -> None:
        if (entry := self._end(job_id)) is not None:
            entry.handlers.failed(error)
            self._settle()

    @Slot(int)
    def _on_cancelled(self, job_id: int) -> None:
        if (entry := self._end(job_id)) is not None:
            entry.handlers.cancelled()
            self._settle()
