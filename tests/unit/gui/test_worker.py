"""The worker thread: order, suspension, cancel, failure and joining."""

import gc
import threading
import time

import pytest
from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.worker import Priority, WorkerThread
from model_core.base.jobs import Progress


class Listener(QObject):
    def __init__(self, thread):
        super().__init__()
        self.events = []
        self.gui_thread = threading.current_thread()
        self.threads = set()
        thread.worker.progressed.connect(self.on_progress)
        thread.worker.produced.connect(self.on_item)
        thread.worker.finished.connect(self.on_finished)
        thread.worker.failed.connect(self.on_failed)
        thread.worker.cancelled.connect(self.on_cancelled)

    def note(self, *event):
        self.threads.add(threading.current_thread())
        self.events.append(event)

    @Slot(int, object)
    def on_progress(self, job, item):
        self.note("progress", job, item.done)

    @Slot(int, object)
    def on_item(self, job, item):
        self.note("item", job, item)

    @Slot(int)
    def on_finished(self, job):
        self.note("finished", job)

    @Slot(int, object)
    def on_failed(self, job, error):
        self.note("failed", job, error)

    @Slot(int)
    def on_cancelled(self, job):
        self.note("cancelled", job)


@pytest.fixture
def thread(qapp):
    owner = WorkerThread()
    yield owner
    assert owner.shutdown()
    assert not owner.running


def test_items_arrive_in_order_in_the_gui_thread(qtbot, thread):
    listener = Listener(thread)
    job = thread.submit("run", lambda: iter_of([1, 2, 3]))
    qtbot.waitUntil(lambda: ("finished", job.job_id) in listener.events)
    assert [e[2] for e in listener.events if e[0] == "item"] == [1, 2, 3]
    assert listener.threads == {listener.gui_thread}


def iter_of(items):
    yield from items


def test_generator_runs_in_another_thread_and_is_closed_on_cancel(qtbot, thread):
    listener = Listener(thread)
    names, started, closed = [], threading.Event(), threading.Event()

    def endless():
        try:
            while True:
                names.append(threading.current_thread())
                started.set()
                time.sleep(0.001)
                yield Progress(0, 0)
        finally:
            closed.set()

    job = thread.submit("run", endless)
    assert started.wait(60)
    thread.cancel("run")
    qtbot.waitUntil(lambda: ("cancelled", job.job_id) in listener.events)
    assert closed.is_set()
    assert threading.current_thread() not in names


def test_new_job_of_a_kind_replaces_the_old_one(qtbot, thread):
    listener = Listener(thread)

    def endless():
        while True:
            time.sleep(0.001)
            yield Progress(0, 0)

    old = thread.submit("run", endless)
    new = thread.submit("run", lambda: iter_of(["new"]))
    qtbot.waitUntil(lambda: ("finished", new.job_id) in listener.events)
    assert ("cancelled", old.job_id) in listener.events
    assert ("finished", old.job_id) not in listener.events
    assert new.job_id > old.job_id


def test_urgent_job_suspends_a_long_one_which_then_goes_on(qtbot, thread):
    listener = Listener(thread)
    urgent = threading.Event()

    def long():
        yield "first"
        urgent.wait(60)
        yield "second"
        yield "third"

    slow = thread.submit("run", long)
    fast = thread.submit("export", lambda: iter_of(["export"]), priority=Priority.ASKED)
    urgent.set()
    qtbot.waitUntil(lambda: ("finished", slow.job_id) in listener.events)
    items = [e[2] for e in listener.events if e[0] == "item"]
    assert items.index("export") < items.index("third")
    assert ("finished", fast.job_id) in listener.events
    assert items[-1] == "third"


def test_failure_is_reported_and_the_thread_survives(qtbot, thread):
    listener = Listener(thread)

    def broken():
        yield 1
        raise ValueError("no")

    bad = thread.submit("run", broken)
    good = thread.submit("other", lambda: iter_of([2]))
    qtbot.waitUntil(lambda: ("finished", good.job_id) in listener.events)
    failures = [e for e in listener.events if e[0] == "failed"]
    assert [e[1] for e in failures] == [bad.job_id]
    assert isinstance(failures[0][2], ValueError)


def test_progress_is_thinned_out(qtbot, thread):
    listener = Listener(thread)
    job = thread.submit("run", lambda: (Progress(k, 20_000) for k in range(20_000)))
    qtbot.waitUntil(lambda: ("finished", job.job_id) in listener.events)
    assert 1 <= sum(e[0] == "progress" for e in listener.events) < 200


def test_shutdown_joins_a_busy_thread_and_refuses_more(qapp):
    owner = WorkerThread()
    started, closed = threading.Event(), threading.Event()

    def endless():
        try:
            while True:
                started.set()
                time.sleep(0.001)
                yield Progress(0, 0)
        finally:
            closed.set()

    owner.submit("run", endless)
    assert started.wait(60)
    assert owner.shutdown()
    assert closed.is_set()
    assert not owner.running
    assert owner.submit("run", endless) is None


def test_shutdown_without_any_job_starts_nothing(qapp):
    owner = WorkerThread()
    assert owner.shutdown(10)
    assert not owner.running


def test_a_job_that_cannot_be_closed_ends_as_failed(qtbot, thread):
    listener = Listener(thread)
    started = threading.Event()

    def stuck():
        try:
            while True:
                started.set()
                yield Progress(0, 0)
        finally:
            raise OSError("the disk is full")

    job = thread.submit("run", stuck)
    assert started.wait(60)
    thread.cancel("run")
    qtbot.waitUntil(lambda: any(event[:2] == ("failed", job.job_id) for event in listener.events))
    after = thread.submit("open", lambda: iter_of([7]))
    qtbot.waitUntil(lambda: ("finished", after.job_id) in listener.events)
    assert ("item", after.job_id, 7) in listener.events


def test_a_job_that_will_not_stop_is_given_up(qtbot, thread):
    listener = Listener(thread)

    def stubborn():
        while True:
            try:
                yield Progress(0, 0)
            except GeneratorExit:
                yield Progress(0, 0)

    job = thread.submit("run", stubborn)
    qtbot.waitUntil(lambda: ("progress", job.job_id, 0) in listener.events)
    thread.cancel("run")
    qtbot.waitUntil(lambda: any(event[:2] == ("failed", job.job_id) for event in listener.events))


def test_garbage_of_a_job_is_collected_in_the_thread_of_the_window(qtbot):
    """Qt's objects are destroyed where they live, whichever thread makes the object that is one too many."""
    collected = set()

    def note(phase, _info):
        if phase == "start":
            collected.add(threading.current_thread())

    class Garbage:
        pass

    thread = WorkerThread()
    listener = Listener(thread)
    gone = threading.Event()

    def work():
        for number in range(20):
            for _ in range(1000):
                one = Garbage()
                one.itself = one
            yield number
        gone.wait(20)

    gc.callbacks.append(note)
    try:
        thread.submit("wasteful", work)
        qtbot.waitUntil(lambda: bool(collected))
        gone.set()
        qtbot.waitUntil(lambda: any(event[0] == "finished" for event in listener.events))
    finally:
        gc.callbacks.remove(note)
        gone.set()
        assert thread.shutdown()
    assert collected == {threading.main_thread()}
    assert gc.isenabled()


def test_python_collects_again_after_a_thread_that_ended_late(qtbot):
    thread = WorkerThread()
    started, gone = threading.Event(), threading.Event()

    def work():
        started.set()
        yield gone.wait(60)

    thread.submit("slow", work)
    assert started.wait(60)
    assert not thread.shutdown(1)
    assert not gc.isenabled()
    gone.set()
    qtbot.waitUntil(lambda: not thread.running)
    assert thread.shutdown()
    assert gc.isenabled()
