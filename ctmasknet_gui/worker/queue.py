"""Unfinished jobs, shared by the GUI thread (puts, cancels) and the worker thread (takes steps)."""

from __future__ import annotations

import threading

from ctmasknet_gui.worker.job import Job


class JobQueue:
    """Thread-safe set of unfinished jobs with one that is next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._closed = False

    def put(self, job: Job) -> bool:
        """Add a job and cancel unfinished ones of its kind; False once the queue is closed."""
        with self._lock:
            if self._closed:
                return False
            for other in self._jobs.values():
                if other.kind == job.kind:
                    other.cancel()
            self._jobs[job.job_id] = job
            return True

    def next(self) -> Job | None:
        """Return the job to take a step of: cancelled ones first (to close them), then by priority."""
        with self._lock:
            return min(
                self._jobs.values(),
                key=lambda job: (not job.cancelled, -job.priority, job.job_id),
                default=None,
            )

    def remove(self, job: Job) -> None:
        """Forget a job that ended."""
        with self._lock:
            self._jobs.pop(job.job_id, None)

    def cancel(self, kind: str | None = None) -> None:
        """Cancel the unfinished jobs of a kind, or all."""
        with self._lock:
            for job in self._jobs.values():
                if kind is None or job.kind == kind:
                    job.cancel()

    def close(self) -> None:
        """Cancel everything and accept nothing more."""
        with self._lock:
            self._closed = True
        self.cancel()
