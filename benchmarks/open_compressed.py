"""Time of opening a compressed DICOM series: its first slice, all of it, and all of it by one pydicom thread.

The first slice is that of an open window (offscreen): from the folder that a person gives to the painted
slice, of the series as it is and of one with four times as many. For the rest both decode the same files in
turn in one process, the decoders of CTMaskNet in processes that are there already. The series is given, as
its compression decides what is measured; processor seconds tell more than the clock on a busy machine.

    QT_QPA_PLATFORM=offscreen python benchmarks/open_compressed.py FOLDER [--runs 8]

Measured on 2 cores beside much other work (load 8 to 21), 148 slices of lossless JPEG: all of it 2.5 to 4.7
times as fast as one pydicom thread (median of each call), with 2.0 to 2.5 times less processor time. First
slice of 148 in an open window after 0.19 s, of 592 after 0.52 s (load 10, these processes before the others).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import pydicom
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.app.benchmark import WindowBenchmark
from ctmasknet_gui.app.build import App, build
from ctmasknet_gui.app.start import make_application
from ctmasknet_gui.settings import Settings
from model_core.base.jobs import finish
from model_core.base.volume import SeriesEntry
from model_core.read import load, sandbox, scan

# How many slices a longer series has for each of the given one.
TIMES = 4


def processor_seconds() -> float:
    """Of this process and of the idle decoders (Linux)."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for pid in (os.getpid(), *sandbox.shared.pids):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def with_pydicom(entry: SeriesEntry) -> tuple[float, float]:
    start, used = time.perf_counter(), processor_seconds()
    for path in entry.files:
        assert pydicom.dcmread(path).pixel_array.ndim == 2
    return time.perf_counter() - start, processor_seconds() - used


def with_ctmasknet(entry: SeriesEntry) -> tuple[float, float]:
    start, used = time.perf_counter(), processor_seconds()
    finish(load(entry))
    return time.perf_counter() - start, processor_seconds() - used


def first_slice(app: App, folder: Path) -> float:
    """Seconds from the folder to its first slice in the window, which has nothing open before."""
    settle = WindowBenchmark(app, frames=0).settle
    app.controllers.opening.close_case()
    settle()
    case, start = app.state.case, time.perf_counter()
    app.controllers.opening.open_paths([folder], choose_best=True)
    while case.in_view is None or case.unread(app.state.display.slice_index):
        QApplication.processEvents()
        time.sleep(0.0005)  # as an event loop that has nothing to do
    app.window.viewport.repaint()
    seconds = time.perf_counter() - start
    settle()
    return seconds


def longer(entry: SeriesEntry, folder: Path) -> None:
    """Write a series with `TIMES` as many slices, so many times nearer to each other."""
    for number, path in enumerate(entry.files):
        dataset = pydicom.dcmread(path)
        x, y, z = dataset.ImagePositionPatient
        uid, step = dataset.SOPInstanceUID, float(entry.spacing_mm[0] or 1.0)
        for copy in range(TIMES):
            dataset.ImagePositionPatient = [x, y, float(z) + copy * step / TIMES]
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{uid[:60]}.{copy}"
            dataset.InstanceNumber = TIMES * number + copy
            dataset.save_as(folder / f"{number:04d}_{copy}.dcm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=8)
    arguments = parser.parse_args()
    entry = finish(scan(arguments.folder))[-1].series[0]
    with_ctmasknet(entry)
    rounds = []
    for number in range(arguments.runs):
        ways = [with_pydicom, with_ctmasknet]
        pair = {way: way(entry) for way in (ways if number % 2 == 0 else ways[::-1])}
        rounds.append((pair[with_pydicom], pair[with_ctmasknet]))
        (theirs, their_work), (ours, our_work) = rounds[-1]
        print(
            f"pydicom {theirs:.3f} s, CTMaskNet {ours:.3f} s; processor {their_work:.2f} and {our_work:.2f} s"
        )
    faster = statistics.median(theirs[0] / ours[0] for theirs, ours in rounds)
    less = statistics.median(theirs[1] / ours[1] for theirs, ours in rounds)
    print(f"all {entry.size[0]} slices: {faster:.2f} times as fast, {less:.2f} times less processor time")
    make_application(needs_display=False)
    with tempfile.TemporaryDirectory() as own:
        app = build(settings=Settings(Path(own) / "settings.ini"))
        app.window.resize(1600, 1000)
        app.window.show()
        app.controllers.warm_up()
        large = Path(own, "large")
        large.mkdir()
        longer(entry, large)
        for folder, slices in ((arguments.folder, entry.size[0]), (large, TIMES * entry.size[0])):
            firsts = sorted(first_slice(app, folder) for _ in range(arguments.runs))
            middle = statistics.median(firsts)
            print(f"first of {slices} slices in an open window: {middle:.3f} s, at most {firsts[-1]:.3f} s")
        app.close()


if __name__ == "__main__":
    main()
