"""Time of a slice beside other busy processes, with OpenMP threads that spin and with ones that yield.

Both run in processes of their own, in turns, first alone and then beside as many busy processes as half the
cores (at least one). Ratios above 1 mean that yielding is faster.

    python benchmarks/busy_neighbour.py [--turns 3]

Measured on 2 cores, Python 3.11: alone 1.02, beside one busy process 1.45.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

SLICES = (2, 4, 6)
PROGRAM = f"""
import time
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.phantom import make_phantom

pipeline = load_pipeline(device="cpu")
volume, _ = make_phantom(slices=8, size=512)
list(run(pipeline, volume, [0]))
start = time.perf_counter()
list(run(pipeline, volume, {SLICES}))
print((time.perf_counter() - start) / {len(SLICES)})
"""


def seconds(policy: str) -> float:
    """Return the seconds a slice takes in a fresh process under a wait policy; "" is OpenMP's own."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if policy:
        environment["OMP_WAIT_POLICY"] = policy
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def ratio(turns: int) -> float:
    """Return how many times faster a slice is with threads that yield, by the medians of alternating runs."""
    spinning, yielding = [], []
    for _ in range(turns):
        spinning.append(seconds(""))
        yielding.append(seconds("PASSIVE"))
    return statistics.median(spinning) / statistics.median(yielding)


def main() -> None:
    """Print the ratio alone and beside busy processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    sys.stdout.write(f"alone: {ratio(turns):.2f}\n")
    count = max(1, (os.cpu_count() or 2) // 2)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        sys.stdout.write(f"beside {count} busy: {ratio(turns):.2f}\n")
    finally:
        for process in busy:
            process.kill()


if __name__ == "__main__":
    main()
