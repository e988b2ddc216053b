"""Threads that wait yield, unless the user says otherwise; what only computes lets the window go first."""

import os
import subprocess
import sys
import threading

import pytest

from model_core.base import threads

PROGRAM = """
import os, sys
from {module} import main
assert "torch" not in sys.modules
try:
    main(["--help"])
except SystemExit:
    pass
sys.stderr.write(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize("module", ["model_core.cli.main", "ctmasknet_gui.__main__"])
@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_programs_set_it_before_torch_is_imported(module, before, after):
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if before is not None:
        environment["OMP_WAIT_POLICY"] = before
    program = [sys.executable, "-c", PROGRAM.format(module=module)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == after


def niceness_of_a_new_thread():
    found = []
    thread = threading.Thread(
        target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    )
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has niceness of threads")
def test_threads_of_what_is_made_for_a_window_are_nicer_than_who_made_it(monkeypatch):
    monkeypatch.setattr(threads, "_window_first", threading.Event())
    usual = niceness_of_a_new_thread()
    assert threads.with_threads_that_give_way(niceness_of_a_new_thread) == usual, "without a window"
    threads.let_the_window_go_first()
    assert threads.with_threads_that_give_way(niceness_of_a_new_thread) == max(usual, 10)
    assert niceness_of_a_new_thread() == usual, "who made it stays as it was"


def test_what_cannot_be_made_says_so(monkeypatch):
    monkeypatch.setattr(threads, "_window_first", threading.Event())
    threads.let_the_window_go_first()

    def fail():
        raise ValueError("no such graph")

    with pytest.raises(ValueError, match="no such graph"):
        threads.with_threads_that_give_way(fail)
