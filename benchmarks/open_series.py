"""Time and memory of opening 300 uncompressed 512 x 512 slices, against SimpleITK's series reader.

Both start from a folder: SimpleITK finds the files of the series in order and reads them, CTMaskNet scans
the folder and loads the series to int16 HU. The files are synthetic and made in a temporary folder. Each
reader runs in turn in the same process, several times, so that both see the same disk cache; the fastest
run of each counts. Peak memory is measured in a process of its own, above what it held before reading.

    python benchmarks/open_series.py [--slices 300] [--runs 7]

Measured on 2 cores, Python 3.11, SimpleITK 2.5.7, four calls with ``--runs 6``:

    SimpleITK  find 76-97 ms, read 400-444 ms; peak memory 2.99 times the int16 volume
    CTMaskNet  find 44-48 ms, read   40-44 ms; peak memory 1.00 times the int16 volume
    CTMaskNet is 5.7, 5.8, 6.0 and 6.1 times faster; reading alone 10.0 to 10.8 times
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np


def make(folder: Path, slices: int) -> None:
    from model_core.base.geometry import Geometry
    from model_core.base.volume import Volume
    from model_core.phantom import write_dicom

    noise = np.random.default_rng(0).normal(-300, 400, (slices, 512, 512))
    voxels = np.clip(noise, -1024, 3000).astype(np.int16)
    axes = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], float)
    geometry = Geometry((1.0, 0.7, 0.7), (-180.0, -180.0, 300.0), axes)
    write_dicom(Volume("benchmark", "Benchmark", voxels, geometry), folder)


def with_simpleitk(folder: Path) -> tuple[float, float, object]:
    import SimpleITK as sitk  # noqa: N813

    start = time.perf_counter()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    found = time.perf_counter()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    image = reader.Execute()
    end = time.perf_counter()
    return found - start, end - found, image


def with_ctmasknet(folder: Path) -> tuple[float, float, object]:
    from model_core.base.jobs import finish
    from model_core.read import load, scan

    start = time.perf_counter()
    entry = finish(scan(folder))[-1].series[0]
    found = time.perf_counter()
    volume = finish(load(entry))[-1]
    end = time.perf_counter()
    return found - start, end - found, volume


READERS = {"SimpleITK": with_simpleitk, "CTMaskNet": with_ctmasknet}


def resident() -> int:
    with Path("/proc/self/statm").open() as line:
        return int(line.read().split()[1]) * 4096


def peak(name: str, folder: Path) -> int:
    """Bytes that reading adds at its worst, sampled while it runs (Linux)."""
    READERS[name](next(folder.parent.glob("warm*")))  # imports and pools are not part of it
    before = highest = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.001):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = READERS[name](folder)
    done.set()
    watcher.join()
    assert kept[2] is not None
    return max(highest, resident()) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak(arguments.peak[0], Path(arguments.peak[1])))
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "series"
        make(folder, arguments.slices)
        make(Path(root) / "warm", 2)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in READERS}
        for _ in range(arguments.runs):
            for name, read in READERS.items():
                find, load, kept = read(folder)
                times[name].append((find, load))
                del kept
        best = {name: min(runs, key=sum) for name, runs in times.items()}
        for name, (find, load) in best.items():
            both = find + load
            print(f"{name:10s} find {find * 1e3:5.0f}, read {load * 1e3:5.0f}, together {both * 1e3:5.0f} ms")
        ours, theirs = best["CTMaskNet"], best["SimpleITK"]
        faster, alone = sum(theirs) / sum(ours), theirs[1] / ours[1]
        print(f"CTMaskNet is {faster:.1f} times faster; reading alone {alone:.1f} times")
        volume = arguments.slices * 512 * 512 * 2
        for name in READERS:
            command = [sys.executable, __file__, "--peak", name, str(folder)]
            used = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            print(f"{name:10s} peak memory {used / volume:.2f} times the int16 volume")


if __name__ == "__main__":
    main()
