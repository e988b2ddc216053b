"""Whether ONNX Runtime and PyTorch find the same on real slices, with the settings of the card.

    python benchmarks/parity.py PATH ... [--weights lesion-r18t1 covid-s-r18t1] [--slices 12]

Slices are chosen evenly from series, pictures or folders. Bounds: detections as sets (IoU > 0.999, score
within 1e-5), class logits within 1e-4 where regions stand in the same order, Dice of masks >= 0.999.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torchvision

from model_core.base.jobs import finish
from model_core.base.volume import Volume
from model_core.engine import detect, run
from model_core.engine.load import load_pipeline

SCORE_TIE = 1e-5


def volumes(paths: list[Path]) -> list[Volume]:
    from model_core import read

    found = []
    for path in paths:
        catalogue = finish(read.scan(path))[-1]
        for entry in catalogue.series:
            try:
                found.append(finish(read.load(entry))[-1])
            except Exception as error:  # noqa: BLE001 - what cannot be read is not compared
                print(f"{path.name}: {type(error).__name__}: {error}")
    return found


def parity(names: list[str], paths: list[Path], count: int) -> None:
    """Compare both backends on real slices and print what the bounds say."""
    ours, theirs = (load_pipeline(names, device="cpu", backend=b) for b in ("onnx", "torch"))
    slices = detections = missing = apart = swapped = kinds = 0
    logits, dice = [], []
    places = [(volume, index) for volume in volumes(paths) for index in range(volume.slices)]
    chosen = set(np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int).tolist())
    for place in sorted(chosen):
        volume, index = places[place]
        (one,), (other,) = (finish(run(pipeline, volume, [index])) for pipeline in (ours, theirs))
        found, wanted = (detect(p, r, p.detections) for p, r in ((ours, one), (theirs, other)))
        slices, detections = slices + 1, detections + len(wanted.scores)
        missing += abs(len(found.scores) - len(wanted.scores))
        for row in range(len(wanted.scores)):
            if not len(found.scores):
                break
            overlap = torchvision.ops.box_iou(
                torch.from_numpy(wanted.boxes[row : row + 1]).float(), torch.from_numpy(found.boxes).float()
            )[0].numpy()
            match = int(overlap.argmax())
            off = abs(float(found.scores[match]) - float(wanted.scores[row]))
            if overlap[match] <= 0.999 or off > SCORE_TIE or found.labels[match] != wanted.labels[row]:
                apart += 1
                continue
            masks = [d.mask_logits[k] > d.settings.mask_threshold for d, k in ((found, match), (wanted, row))]
            total = masks[0].sum() + masks[1].sum()
            dice.append(1.0 if not total else 2 * (masks[0] & masks[1]).sum() / total)
        if one.verdict is not None and other.verdict is not None:
            rows = [verdict.batch.rows for verdict in (one.verdict, other.verdict)]
            same_order = np.abs(rows[0] - rows[1]).max() < 1e-3
            if same_order:
                logits.append(np.abs(one.verdict.logits - other.verdict.logits).max())
            else:
                swapped += 1
                kinds += int(one.verdict.logits.argmax() != other.verdict.logits.argmax())
    print(
        f"parity of {ours.computes} and {theirs.computes}, {', '.join(names) or 'default weights'}: {slices} "
        f"slices, {detections} detections, {missing} more or fewer, {apart} not within IoU 0.999 and score "
        f"1e-5; class logits of {len(logits)} slices within {max(logits, default=0):.1e}, {swapped} slices "
        f"with regions swapped, {kinds} of them of another class; Dice of masks at least "
        f"{min(dice, default=1):.4f}"
    )


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--weights", nargs="*", default=[])
    parser.add_argument("--slices", type=int, default=12)
    arguments = parser.parse_args()
    parity(arguments.weights, arguments.paths, arguments.slices)


if __name__ == "__main__":
    main()
