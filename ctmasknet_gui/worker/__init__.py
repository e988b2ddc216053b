"""Worker threads: numbered jobs are generators, iterated one step at a time."""

from ctmasknet_gui.worker.job import Job, Priority
from ctmasknet_gui.worker.thread import WorkerThread

__all__ = ["Job", "Priority", "WorkerThread"]
