"""Time of opening a compressed DICOM series: its first slice, all of it, and all of it by one pydicom thread.

Both decode the same files in turn in one process, the decoders of CTMaskNet in processes that are there
already, as in an open window. The series is given, as its compression decides what is measured; processor
seconds tell more than the clock on a busy machine.

    python benchmarks/open_compressed.py FOLDER [--runs 8]

Measured on 2 cores beside much other work (load 8 to 21), 148 slices of lossless JPEG: all of it 2.5 to 4.7
times as fast as one pydicom thread (median of each call), with 2.0 to 2.5 times less processor time; its
first slice, from the folder on, after 0.2 to 0.35 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import pydicom

from model_core.base.jobs import finish
from model_core.base.volume import PartialVolume, SeriesEntry
from model_core.read import load, load_gradually, sandbox, scan


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


def first_slice(folder: Path) -> float:
    """Seconds from the folder to the first slice that can be shown."""
    start = time.perf_counter()
    entry = finish(scan(folder))[-1].series[0]
    job = load_gradually(entry)
    next(item for item in job if isinstance(item, PartialVolume))
    seconds = time.perf_counter() - start
    job.close()
    return seconds


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
    firsts = [first_slice(arguments.folder) for _ in range(arguments.runs)]
    print(f"first slice, from the folder on: {statistics.median(firsts):.3f} s")


if __name__ == "__main__":
    main()
