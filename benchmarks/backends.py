"""Time of a slice with each CPU backend, against plain torchvision at equal settings; and whether they agree.

All take turns in one process with the same number of threads, on the same slice. A ratio is the median of
the turns' ratios, so that other work on the machine weighs on both; where there is much of it, one thread's
own time (``--cpu-time``) says more than the clock. "Plain torchvision" is its own `MaskRCNN` with the weights
in it: its RPN, RoIAlign, postprocessing and mask branch; masks are not pasted.

    python benchmarks/backends.py [--turns 8] [--weights lesion-r18t1] [--cpu-time]
    python benchmarks/backends.py --cold 4
    python benchmarks/backends.py --parity PATH ... [--weights lesion-r18t1 covid-s-r18t1] [--slices 12]

``--parity``: series, pictures or folders whose slices (evenly chosen) go through both backends with the
settings of the card: detections as sets, class logits, masks (bounds: IoU > 0.999, score within 1e-5, logits
within 1e-4, Dice >= 0.999).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.models.detection import MaskRCNN as Plain

from model_core.base.jobs import finish
from model_core.base.threads import compute_threads, wait_without_spinning
from model_core.base.volume import Volume
from model_core.engine import Pipeline, detect, roi_align, run
from model_core.engine.load import load_pipeline
from model_core.engine.preprocess import network_input
from model_core.networks import MaskRCNN
from model_core.phantom import make_phantom

PROPOSALS = 1000
SCORE_TIE = 1e-5
COLD = """
import time
start = time.perf_counter()
from model_core.base.threads import wait_without_spinning
wait_without_spinning()
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.explain import show
from model_core.base.jobs import finish
made, cpu = time.perf_counter(), time.process_time()
from model_core.phantom import make_phantom
volume, _ = make_phantom(slices=4, size=512)
made, cpu = time.perf_counter() - made, time.process_time() - cpu
pipeline = load_pipeline(device="cpu", backend="{backend}")
(result,) = finish(run(pipeline, volume, [2]))
show(pipeline, volume, result, pipeline.detections, pipeline.evidence)
import sys
assert ("torch" in sys.modules) == ("{backend}" == "torch")
print(time.perf_counter() - start - made, time.process_time() - cpu)
"""


class Slices:
    """One slice through each: backbone, RPN, box branch, and the masks of the best ``shown`` regions."""

    def __init__(self, pipeline: Pipeline, reference: Pipeline, picture: np.ndarray) -> None:
        card = pipeline.cards[0]
        detector = dataclasses.replace(
            card.detector, rpn_pre_nms=PROPOSALS, rpn_post_nms=PROPOSALS, rpn_nms_iou=1.0
        )
        self.card = dataclasses.replace(card, detector=detector)
        self.onnx, self.torch = pipeline.backend, reference.backend
        self.onnx._card = self.card
        rpn = self.torch._network.rpn
        rpn._pre_nms_top_n["testing"] = rpn._post_nms_top_n["testing"] = PROPOSALS
        rpn.nms_thresh = 1.0
        self.picture, self.size = picture, len(picture)
        self.plain = plain_torchvision(self.torch._network)

    def backend(self, which: str, shown: int) -> None:
        one = self.onnx if which == "onnx" else self.torch
        look = one.look(self.picture, mirror=False)
        found = one.regions(look, look.proposals)
        best = np.argsort(-found.scores)[:shown]
        one.masks(look.maps, found.boxes[best], found.labels[best], size=self.size)

    def torchvision(self, shown: int) -> None:
        self.plain.roi_heads.detections_per_img = shown
        with torch.inference_mode():
            image = torch.from_numpy(self.picture).expand(3, -1, -1)
            images, _ = self.plain.transform([image])
            features = self.plain.backbone(images.tensors)
            proposals, _ = self.plain.rpn(images, features)
            self.plain.roi_heads(features, proposals, images.image_sizes)


def plain_torchvision(network: MaskRCNN) -> Plain:
    """Return torchvision's Mask R-CNN with the modules of a network; every region may be shown."""
    heads = network.roi_heads
    plain = Plain(
        network.backbone,
        rpn_anchor_generator=network.rpn.anchor_generator,
        rpn_head=network.rpn.head,
        rpn_pre_nms_top_n_test=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        rpn_nms_thresh=1.0,
        box_roi_pool=heads.box_roi_pool,
        box_head=heads.box_head,
        box_predictor=heads.box_predictor,
        mask_roi_pool=heads.mask_roi_pool,
        mask_head=heads.mask_head,
        mask_predictor=heads.mask_predictor,
        box_score_thresh=-1.0,
        box_nms_thresh=1.0,
        min_size=512,
        max_size=512,
    )
    return plain.eval()


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def ratios(
    works: dict[str, Callable[[], object]], turns: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return how many times faster the others are than the first: medians over turns."""
    for work in works.values():
        work()
    first, *others = works
    found: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(turns):
        took = {name: seconds(work, clock) for name, work in works.items()}
        for name in others:
            found[name].append(took[first] / took[name])
    return {name: statistics.median(values) for name, values in found.items()}


def align_ratio(slices: Slices, turns: int, clock: Callable[[], float]) -> float:
    look = slices.onnx.look(slices.picture, mirror=False)
    maps, boxes = look.maps["0"], look.proposals
    last = roi_align.channels_last(maps)
    kernels = roi_align.compiled(wait=True)
    out = np.empty((len(boxes), 49, maps.shape[0]), np.float32)
    planes, theirs = torch.from_numpy(maps)[None], [torch.from_numpy(boxes)]
    scale, rows = len(last) / slices.size, np.arange(len(boxes))
    works = {
        "torchvision": lambda: torchvision.ops.roi_align(planes, theirs, 7, scale, 2),
        "compiled": lambda: kernels.roi_align(last, boxes, rows, out, scale=scale, pool=7),
    }
    return ratios(works, turns, clock)["compiled"]


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


def cold(turns: int) -> dict[str, tuple[float, float]]:
    """Return the seconds to the first overlay in a fresh process by clock and processor, of each backend."""
    found: dict[str, list[list[float]]] = {}
    for _ in range(turns + 1):
        for backend in ("onnx", "torch"):
            program = [sys.executable, "-c", COLD.format(backend=backend)]
            done = subprocess.run(program, capture_output=True, text=True, check=True)
            found.setdefault(backend, []).append([float(word) for word in done.stdout.split()])
    return {
        backend: (
            statistics.median(one[0] for one in took[1:]),
            statistics.median(one[1] for one in took[1:]),
        )
        for backend, took in found.items()
    }


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--weights", nargs="*", default=["lesion-r18t1"])
    parser.add_argument("--parity", nargs="*", type=Path, default=[])
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument(
        "--cold", type=int, default=0, metavar="N", help="time N fresh processes of each instead"
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of the processor; for OMP_NUM_THREADS=1"
    )
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    wait_without_spinning()
    torch.set_num_threads(compute_threads())
    if arguments.cold:
        for name, took in cold(arguments.cold).items():
            print(
                f"first overlay of a fresh process, {name}: {took[0]:.2f} s, {took[1]:.2f} s of the processor"
            )
        return
    if arguments.parity:
        parity(arguments.weights, arguments.parity, arguments.slices)
        return
    roi_align.compiled(wait=True)
    pipeline, reference = (
        load_pipeline(arguments.weights, device="cpu", backend=backend) for backend in ("onnx", "torch")
    )
    volume, _ = make_phantom(slices=8, size=512)
    slices = Slices(pipeline, reference, network_input(volume, 4, pipeline.input))
    for shown in (128, 16):
        works: dict[str, Callable[[], object]] = {
            "torchvision": lambda shown=shown: slices.torchvision(shown),
            "onnx": lambda shown=shown: slices.backend("onnx", shown),
            "torch": lambda shown=shown: slices.backend("torch", shown),
        }
        for name, ratio in ratios(works, arguments.turns, clock).items():
            print(f"slice, {PROPOSALS} proposals, {shown} shown, {name} against torchvision: {ratio:.2f}")
    print(f"RoIAlign against torchvision: {align_ratio(slices, arguments.turns, clock):.1f}")


if __name__ == "__main__":
    main()
