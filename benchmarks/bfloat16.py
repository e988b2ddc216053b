"""What bfloat16 would bring and change: backbone and mask branch in it, RPN, box branch and class in float32.

    python benchmarks/bfloat16.py PATH ... [--weights lesion-r18t1 covid-s-r18t1] [--slices 24]

Slices are chosen evenly from series, pictures or folders; each runs in float32 and in bfloat16 with PyTorch,
and in float32 with ONNX Runtime, which is what the program uses, in turns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_core.base.jobs import finish
from model_core.engine import Pipeline, run
from model_core.engine.load import load_pipeline
from model_core.engine.torch_backend import TorchBackend
from model_core.explain import show


def halved(pipeline: Pipeline) -> Pipeline:
    """Let backbone and mask branch of a pipeline compute in bfloat16."""
    assert isinstance(pipeline.backend, TorchBackend)
    network = pipeline.backend._network

    def in_half(compute: Any) -> Any:
        def computed(*given: Any, **how: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = compute(*given, **how)
            if isinstance(found, torch.Tensor):
                return found.float()
            return type(found)((level, one.float()) for level, one in found.items())

        return computed

    network.features = in_half(network.features)
    network.mask_logits = in_half(network.mask_logits)
    return pipeline


def main() -> None:
    """Compare and print."""
    from parity import volumes  # beside this file

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--weights", nargs="*", default=[])
    parser.add_argument("--slices", type=int, default=24)
    arguments = parser.parse_args()
    names = arguments.weights
    ways = {
        "float32": load_pipeline(names, device="cpu", backend="torch"),
        "bfloat16": halved(load_pipeline(names, device="cpu", backend="torch")),
        "ONNX Runtime": load_pipeline(names, device="cpu", backend="onnx"),
    }
    places = [(volume, index) for volume in volumes(arguments.paths) for index in range(volume.slices)]
    chosen = np.linspace(0, len(places) - 1, min(arguments.slices, len(places))).round().astype(int)
    took: dict[str, list[float]] = {way: [] for way in ways}
    shown: dict[str, list[Any]] = {way: [] for way in ways}
    for number, place in enumerate(chosen.tolist()):
        volume, index = places[place]
        for way in list(ways) if number % 2 else list(ways)[::-1]:
            pipeline, start = ways[way], time.perf_counter()
            (result,) = finish(run(pipeline, volume, [index]))
            took[way].append(time.perf_counter() - start)
            shown[way].append(show(pipeline, volume, result, pipeline.detections, pipeline.evidence))
    seconds = {way: np.array(values[1:]) for way, values in took.items()}
    for way in ("bfloat16", "ONNX Runtime"):
        ratio = np.median(seconds["float32"] / seconds[way])
        print(f"{way}: {ratio:.2f} times as fast as float32 ({np.median(seconds[way]):.2f} s a slice)")
    pairs = list(zip(shown["float32"], shown["bfloat16"], strict=True))
    other = [len(a.detections) != len(b.detections) for a, b in pairs]
    logits = [np.abs(a.verdict.logits - b.verdict.logits).max() for a, b in pairs if a.verdict is not None]
    flipped = sum(a.summary.ill != b.summary.ill for a, b in pairs)
    areas = [(a.summary.lesion_px, b.summary.lesion_px) for a, b in pairs]
    both = [(a.masks.any(0), b.masks.any(0)) for a, b in pairs]
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in both if a.any() or b.any()]
    before, after = (sum(area[k] for area in areas) for k in (0, 1))
    print(
        f"{len(pairs)} slices, {sum(len(a.detections) for a, _ in pairs)} detections in float32. In bfloat16:"
    )
    print(f"another number of detections in {sum(other)} slices, another answer to ill or not in {flipped}")
    print(f"whole marked area {100 * (after / max(before, 1) - 1):+.1f} %")
    print(
        f"Dice of the marked areas {np.median(dice or [1]):.4f} (median), {min(dice, default=1):.3f} (least)"
    )
    print(
        f"class logits differ by {np.median(logits or [0]):.3f} (median), {max(logits, default=0):.2f} (most)"
    )


if __name__ == "__main__":
    main()
