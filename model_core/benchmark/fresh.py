"""What is measured in a process of its own: the first overlay, and a whole series with its memory.

    python -m model_core.benchmark.fresh first FOLDER
    python -m model_core.benchmark.fresh series FOLDER SECONDS

Prints one line of JSON. The folder holds one DICOM series.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from model_core.base.jobs import finish
from model_core.base.results import SliceResult
from model_core.base.threads import wait_without_spinning
from model_core.base.volume import Volume

#: Slices of the series whose thresholds are moved.
SLICES = 300


def first_overlay(folder: Path) -> dict[str, Any]:
    """Open the series, run its middle slice and return what is shown of it, as the window would."""
    from model_core.engine import run
    from model_core.engine.load import load_pipeline
    from model_core.explain import show

    volume = _open(folder)
    pipeline = load_pipeline()
    result = next(i for i in run(pipeline, volume, [volume.slices // 2]) if isinstance(i, SliceResult))
    shown = show(pipeline, volume, result, pipeline.detections, pipeline.evidence)
    return {"detections": len(shown.masks), "torch": "torch" in sys.modules}


def series(folder: Path, seconds: float) -> dict[str, Any]:
    """Find the lungs and run their slices, as many as the time allows; then move the thresholds of all.

    Every other number of slices gives the same time per slice, so those that are left out are counted with
    it. They lie evenly between the others.
    """
    from model_core.engine import run
    from model_core.engine.load import load_pipeline
    from model_core.engine.lungs import lungs_of
    from model_core.explain import scan_verdict, summarise

    start = time.perf_counter()
    volume = _open(folder)
    lungs = finish(lungs_of(volume))[-1]
    inside = [index for index in range(volume.slices) if lungs.has_lung(index) is not False]
    pipeline = load_pipeline()
    before = time.perf_counter() - start
    results: list[SliceResult] = []
    summaries = []
    start = time.perf_counter()
    for index in _spread(inside):
        result = next(i for i in run(pipeline, volume, [index]) if isinstance(i, SliceResult))
        summaries.append(summarise(pipeline, volume, result, pipeline.detections, pipeline.evidence))
        results.append(replace(result, features=result.features if len(results) < _KEPT else {}))
        if time.perf_counter() - start > seconds and len(results) > 2:
            break
    each = (time.perf_counter() - start) / len(results)
    start = time.perf_counter()
    basis = pipeline.evidence_basis(pipeline.evidence)
    if basis is not None:
        scan_verdict(summaries, basis=basis, calibration=pipeline.calibration, volume=volume)
    after = time.perf_counter() - start
    summaries_s, peak_gb = _summaries(pipeline, volume, results[:_KEPT]), _peak_gb()
    return {
        "slices": volume.slices,
        "lung_slices": len(inside),
        "slices_run": len(results),
        "passes": pipeline.passes,
        "seconds_per_slice": each,
        "seconds": before + each * len(inside) + after,
        # At the end: it imports torch, whose memory is none of the series'.
        "gflops": _gflops(),
        "summaries_s": summaries_s,
        "peak_memory_gb": peak_gb,
    }


# Results with their maps: those that the thresholds are moved of. Each stands for several slices.
_KEPT = 12


def _spread(indices: list[int]) -> Iterator[int]:
    """Yield every index once, from everywhere soon: each eighth, then those between them."""
    for first in (0, 4, 2, 6, 1, 5, 3, 7):
        yield from indices[first::8]


def _summaries(pipeline: Any, volume: Volume, results: list[SliceResult]) -> float:
    """Return the seconds of the summaries of 300 slices after a move of the score, their masks known."""
    from model_core.explain import summarise

    moved = replace(pipeline.detections, score=pipeline.detections.score / 2)
    for result in results:
        for settings in (moved, pipeline.detections):
            summarise(pipeline, volume, result, settings, pipeline.evidence)
    # Each with what is known of it in dictionaries of its own.
    copies = [_copy(results[number % len(results)]) for number in range(SLICES)]
    start = time.perf_counter()
    for result in copies:
        summarise(pipeline, volume, result, moved, pipeline.evidence)
    return time.perf_counter() - start


def _copy(result: SliceResult) -> SliceResult:
    known = {field.name: getattr(result, field.name) for field in fields(result)}
    own: dict[str, Any] = {name: dict(value) for name, value in known.items() if isinstance(value, dict)}
    return replace(result, **own)


def _gflops() -> float:
    """Return how fast matrices are multiplied here, now."""
    from model_core.benchmark.timing import in_turns, multiplications, multiply

    times = in_turns({"product": multiply()}, rounds=10)["product"]
    return multiplications() / sorted(times)[len(times) // 2] / 1e9


def _open(folder: Path) -> Volume:
    from model_core.read import load, scan

    (catalogue,) = finish(scan(folder))
    volume = finish(load(catalogue.series[0]))[-1]
    assert isinstance(volume, Volume)
    return volume


def _peak_gb() -> float | None:
    """Return the most memory that this process had; what `resource` says may be that of its parent."""
    try:
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def main(arguments: list[str]) -> None:
    """Measure what is asked for and print it."""
    wait_without_spinning()
    what, folder, *more = arguments
    found = first_overlay(Path(folder)) if what == "first" else series(Path(folder), float(more[0]))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
