"""Time of a slice whose mirror image is looked at too, against a fast analysis without it.

Both run in turns in one process. The ratio is the time with the mirror image over the time without.

    python benchmarks/mirror_image.py [--turns 5] [--weights lesion-r18t1]

Measured on 2 cores, Python 3.11: 1.84 and 1.91 in two runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from model_core.base.volume import Volume
from model_core.engine import Pipeline, run
from model_core.engine.load import load_pipeline
from model_core.phantom import make_phantom

SLICES = (2, 4, 6)


def seconds(pipeline: Pipeline, volume: Volume, *, fast: bool) -> float:
    """Return the seconds a slice takes."""
    pipeline.fast = fast
    start = time.perf_counter()
    list(run(pipeline, volume, SLICES))
    return (time.perf_counter() - start) / len(SLICES)


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--weights", nargs="*", default=[])
    arguments = parser.parse_args()
    pipeline = load_pipeline(arguments.weights, device="cpu")
    if not pipeline.mirror:
        sys.exit("These weights do not look at the mirror image.")
    volume, _ = make_phantom(slices=8, size=512)
    seconds(pipeline, volume, fast=False)
    both, single = [], []
    for _ in range(arguments.turns):
        both.append(seconds(pipeline, volume, fast=False))
        single.append(seconds(pipeline, volume, fast=True))
    sys.stdout.write(f"{statistics.median(both) / statistics.median(single):.2f}\n")


if __name__ == "__main__":
    main()
