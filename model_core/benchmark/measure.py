"""Every number of the benchmark, one after another; what takes long is left out of a quick one."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import Progress
from model_core.base.volume import Volume
from model_core.benchmark import slices
from model_core.benchmark.timing import machine
from model_core.benchmark.training import measure_training
from model_core.phantom import make_phantom, write_dicom

#: Names of the results, in their order. Those of `LONG` are None in a quick run.
RESULTS = (
    "slice128_speedup",
    "slice16_speedup",
    "floor_share",
    "roi_align_speedup",
    "series_over_floor",
    "first_overlay_s",
    "frame_p95_ms",
    "window_p95_ms",
    "toggle_ms",
    "summaries300_s",
    "event_loop_block_ms",
    "peak_memory_gb",
    "train_speedup",
)
LONG = ("series_over_floor", "summaries300_s", "peak_memory_gb", "train_speedup")

# No part begins, and none goes on, after so long: on a busy machine the last ones are left out.
_MOST_SECONDS = 345.0
_SIZE = 512
_PHANTOM, _SERIES = 24, 300
_WINDOW_MODULE = "ctmasknet_gui.app.benchmark"


def measure_all(*, quick: bool = False) -> Generator[Progress | dict[str, Any], None, None]:
    """Measure everything; the last item is the document: machine, settings, results, details.

    A part that cannot be measured here, as the window where PySide6 is not installed, is None, and
    ``details["not_measured"]`` says why.

    Parameters
    ----------
    quick:
        Fewer rounds; what takes long (`LONG`) is left out.
    """
    rounds, seconds = (8, 6.0) if quick else (10, 40.0)
    start = time.monotonic()
    end = start + _MOST_SECONDS
    results: dict[str, Any] = dict.fromkeys(RESULTS)
    details: dict[str, Any] = {"not_measured": {}}
    steps = 4 if quick else 6
    yield Progress(0, steps, "Making the phantom")
    volume, labels = make_phantom(_PHANTOM, _SIZE)
    with tempfile.TemporaryDirectory(prefix="ctmasknet-benchmark-") as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        write_dicom(volume, small)
        yield Progress(1, steps, "A slice, beside plain torchvision")
        weights = slices.with_many_proposals(Path(folder))
        ratios, details["slice"] = slices.measure_slices(volume, weights, rounds=rounds, seconds=seconds)
        results |= ratios
        results["roi_align_speedup"] = slices.measure_roi_align(
            volume, weights, rounds=rounds, seconds=seconds
        )
        if not quick:
            details["growth"] = slices.growth(volume, weights, rounds=3)
        yield Progress(2, steps, "The first overlay of a fresh program")
        with _noted(details, "first_overlay_s"):
            results["first_overlay_s"] = _first_overlay(small, times=1 if quick else 4, end=end)
        yield Progress(3, steps, "The window")
        if not quick:
            write_dicom(_stretched(volume), large)
        shown = [str(small), "--quick"] if quick else [str(large)]
        with _noted(details, "window"):
            details["window"] = _in_process([_WINDOW_MODULE, *shown], end=end, offscreen=True)
            results |= {name: value for name, value in details["window"].items() if name in RESULTS}
        if not quick:
            yield Progress(4, steps, f"A series of {_SERIES} slices")
            with _noted(details, "series"):
                details["series"] = _in_process(
                    ["model_core.benchmark.fresh", "series", str(large), "60"], end=end
                )
                results |= _of_series(details["series"], details["slice"])
            yield Progress(5, steps, "A step of a training")
            with _noted(details, "train_speedup"):
                seconds = min(60.0, _left(end))
                results["train_speedup"] = measure_training(volume, labels, rounds=8, seconds=seconds)
    details["seconds"] = round(time.monotonic() - start, 1)
    yield Progress(steps, steps, "Done")
    yield {
        "machine": machine(),
        "settings": {"quick": quick, "rounds": rounds, "size": _SIZE, "threads": os.cpu_count() or 1},
        "results": {name: _short(results[name]) for name in RESULTS},
        "details": _rounded(details),
    }


def _first_overlay(folder: Path, *, times: int, end: float) -> float:
    """Return the median seconds from the start of a process to its first overlay, prepared by one before."""
    took = []
    for _ in range(times + 1):
        start = time.perf_counter()
        _in_process(["model_core.benchmark.fresh", "first", str(folder)], end=end)
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:])


def _of_series(series: dict[str, Any], slice_: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a series; the floor is the arithmetic of its lung slices with few detections."""
    operations = slice_["floor_gflop"][str(slices.FEW)] * series["passes"]
    floor = series["lung_slices"] * operations / series["gflops"]
    return {
        "series_over_floor": series["seconds"] / floor,
        "summaries300_s": series["summaries_s"],
        "peak_memory_gb": series["peak_memory_gb"],
    }


def _stretched(volume: Volume) -> Volume:
    """Return a volume of as many slices as a thin chest CT, of the same patient; each comes several times."""
    assert volume.slice_positions_mm is not None
    source = np.arange(_SERIES) * volume.slices // _SERIES
    step = volume.geometry.spacing_mm[0]
    assert step is not None
    thin = step * volume.slices / _SERIES
    _, down, across = volume.geometry.spacing_mm
    first = float(volume.slice_positions_mm[0])
    return replace(
        volume,
        series_id="phantom-thin",
        voxels=np.ascontiguousarray(volume.voxels[source]),
        geometry=replace(volume.geometry, spacing_mm=(thin, down, across)),
        slice_positions_mm=first - thin * np.arange(_SERIES, dtype=np.float64),
        slice_names=tuple(f"slice_{index:04d}.dcm" for index in range(_SERIES)),
    )


def _in_process(module: list[str], *, end: float, offscreen: bool = False) -> dict[str, Any]:
    """Return what a module prints, as JSON, in a process of its own.

    Raises
    ------
    CTMaskNetError
        It failed, or took longer than until ``end`` (of `time.monotonic`).
    """
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"} if offscreen else None
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, and modules of this program
            [sys.executable, "-W", "ignore", "-m", *module],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=_left(end),
        )
    except subprocess.TimeoutExpired as error:
        raise CTMaskNetError(_TOO_LONG) from error
    if done.returncode != 0 or not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CTMaskNetError(f"{module[0]} ended with {done.returncode}: {last}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


_TOO_LONG = "The benchmark took too long on this machine: leave it alone meanwhile."


def _left(end: float) -> float:
    """Return the seconds until then.

    Raises
    ------
    CTMaskNetError
        There are none.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise CTMaskNetError(_TOO_LONG)
    return left


class _noted:  # noqa: N801 - reads as a word of the block that it opens
    """Notes why a part was not measured, and goes on with the next."""

    def __init__(self, details: dict[str, Any], part: str) -> None:
        self._notes, self._part = details["not_measured"], part

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, CTMaskNetError):
            self._notes[self._part] = error.message
            return True
        return False


def _short(value: Any) -> Any:
    """Return a number with three digits that mean something."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_rounded(own) for own in value]
    return _short(value)
