"""Module S with the BatchNorm layers of its detector (the papers' S+BN), beside module S alone.

On the program's folds of patients module S is trained on the regions of the frozen detector, as
`ctmasknet train module-s` does it. From there both go on for the same steps over the same pictures,
perturbations and loss: S alone with the detector as it is, S+BN with the scales and shifts that S+BN moves,
too (names with ``bn``; running statistics stay). Then the slices of the fold are looked at, and those of the
test folder, by which nothing is chosen. All of it in bfloat16 where that is fast.

    python benchmarks/module_s_bn.py --data DIR -o FILE [--folds 3] [--steps 100] [--rate 1e-3] [--limit N]

Measured: "What module S learns" in docs/verdict.md.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logit
from torch import Tensor

from model_core.base.arrays import BoolArray, FloatArray, IntArray
from model_core.base.files import write_json
from model_core.base.settings import EvidenceSettings
from model_core.data import read_class_folders
from model_core.engine.preprocess import network_input
from model_core.engine.torch_backend import load_network
from model_core.measure.slices import one_slice_volume, with_grey_map
from model_core.networks import ImageHead, MaskRCNN
from model_core.ranking import rank_regions
from model_core.train.calibrating import LeftOut, calibrate, measures
from model_core.train.image_class import (
    FOLDS,
    HeadTraining,
    batches,
    drawing_shares,
    head_logits,
    head_loss,
    measured_within,
    patient_folds,
    perturbed,
    targets_of,
    train_head,
)
from model_core.train.lesion import half_is_fast
from model_core.train.module_s import removals
from model_core.train.roi_rows import KEPT_BATCHES, RoiRows, limited
from model_core.train.systems.trainable import classifier_moves
from model_core.weights.store import load_weights

BATCH = 8
HEAD_RATE = 1e-4
CPU = torch.device("cpu")

Pictures = npt.NDArray[np.float16]


class Detector:
    """The frozen detector, or a copy of which some layers move."""

    def __init__(self, network: MaskRCNN, evidence: EvidenceSettings, *, size: int) -> None:
        self.network = network.eval()
        self.size = size
        self.evidence = evidence
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(classifier_moves(name, "s_bn"))

    @property
    def moving(self) -> list[Tensor]:
        """Scales and shifts of BatchNorm."""
        return [one for one in self.network.parameters() if one.requires_grad]

    def ranked(self, pictures: FloatArray) -> tuple[FloatArray, list[Tensor], Any]:
        """Return (b, M, 5) ranked rows of (b, S, S) pictures, their proposals, and maps with a gradient."""
        images = self._images(pictures)
        with torch.autocast("cpu", torch.bfloat16, enabled=half_is_fast(CPU)):
            maps = self.network.features(images)
        with torch.no_grad():
            proposals = self.network.propose(images, maps)
            regions = self.network.regions(images, maps, proposals)
        count = KEPT_BATCHES * self.evidence.batch_size
        rows, taken = np.zeros((len(pictures), count, 5), np.float32), []
        for row, one, boxes in zip(rows, regions, proposals, strict=True):
            scores = one.scores.numpy()
            kept = rank_regions(
                one.boxes.numpy(),
                scores,
                one.labels.numpy(),
                score=self.evidence.score,
                nms_iou=self.evidence.nms_iou,
                min_area=self.evidence.min_area,
                limit=count,
            )
            row[: len(kept)] = np.column_stack((scores[kept], one.deltas.numpy()[kept]))
            taken.append(boxes[torch.from_numpy(kept)])  # one class: a candidate is a proposal
        return rows, taken, maps

    def scores(self, maps: Any, proposals: Sequence[Tensor]) -> list[Tensor]:
        """Return the scores of proposals of each picture, with a gradient."""
        size = self.size
        images = torch.empty(len(proposals), 1, 1, 1).expand(-1, 3, size, size)
        return [one.scores for one in self.network.regions(images, maps, list(proposals))]

    def _images(self, pictures: FloatArray) -> Tensor:
        images = torch.from_numpy(pictures)[:, None].expand(-1, 3, -1, -1)
        return images.contiguous(memory_format=torch.channels_last)


def read(folder: Path, detector: Detector, card: Any, limit: int | None) -> tuple[Pictures, RoiRows]:
    """Return (n, S, S) pictures of class folders and their regions under the frozen detector."""
    slices = limited(read_class_folders(folder), limit)
    shown = with_grey_map(slices, card.input.grey)
    pictures = np.stack(
        [
            network_input(one_slice_volume(one.image_hu(), name=one.name), 0, card.input).astype(np.float16)
            for one in shown
        ]
    )
    return pictures, RoiRows(
        looked_at(detector, pictures),
        np.array([one.label for one in slices], np.int64),
        tuple(one.source for one in slices),
        tuple(one.name for one in slices),
        tuple(one.patient for one in slices),
    )


@torch.no_grad()
def looked_at(detector: Detector, pictures: Pictures) -> FloatArray:
    """Return the (n, M, 5) ranked rows of (n, S, S) pictures."""
    parts = np.array_split(pictures, math.ceil(len(pictures) / BATCH))
    return np.concatenate([detector.ranked(part.astype(np.float32))[0] for part in parts])


def goes_on(
    head: ImageHead,
    data: RoiRows,
    chosen: IntArray,
    settings: HeadTraining,
    *,
    steps: int,
    rate: float,
    detector: Detector | None = None,
    pictures: Pictures | None = None,
) -> Iterator[float]:
    """Train module S on, with the BatchNorm layers of a detector where one is given; yield losses."""
    generator = np.random.default_rng(settings.seed + 1)
    size = head.fc_scores.in_features // 5
    groups: list[dict[str, Any]] = [
        {"params": list(head.parameters()), "lr": HEAD_RATE, "weight_decay": settings.weight_decay}
    ]
    if detector is not None:
        groups.append({"params": detector.moving, "lr": rate, "weight_decay": 0.0})
    optimiser = torch.optim.AdamW(groups)
    first = [group["lr"] for group in groups]
    share = drawing_shares(data.at(chosen))
    targets, known = (torch.from_numpy(part) for part in targets_of(data, settings.smoothing))
    scores_only = torch.zeros(size, 5)
    scores_only[:, 0] = 1.0
    for step in range(steps):
        for group, start in zip(optimiser.param_groups, first, strict=True):
            group["lr"] = start * 0.5 * (1 + math.cos(math.pi * step / steps))
        picks = generator.choice(chosen, size=BATCH, p=share)
        rows, maps, proposals = data.rows[picks], None, list[Tensor]()
        if detector is not None and pictures is not None:
            rows, proposals, maps = detector.ranked(pictures[picks].astype(np.float32))
        plain = rows.copy()
        # Which row each comes from travels where the boxes are, which are not read.
        plain[..., 1] = np.arange(plain[..., 0].size).reshape(plain.shape[:2])
        drawn = perturbed(plain, generator, settings, size=size)
        there = drawn[..., 0] > 0
        origin = drawn[..., 1].astype(np.int64)
        shift = np.where(there, _logit(drawn[..., 0]) - _logit(rows[..., 0].ravel()[origin]), 0.0)
        scores = torch.from_numpy(rows[..., 0].ravel().copy())
        if detector is not None:
            scores = _with_gradient(detector, maps, proposals, scores, origin[there], rows.shape[1])
        moved = torch.sigmoid(scores[origin].clamp(1e-6, 1 - 1e-6).logit() + torch.from_numpy(shift).float())
        batch = torch.where(torch.from_numpy(there), moved, torch.zeros(()))[..., None] * scores_only
        loss = head_loss(head(batch), targets[picks], known[picks], data.ill_classes)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        head.fc_scores.weight.grad *= scores_only.view(-1)  # type: ignore[operator]
        optimiser.step()
        yield float(loss.detach())


def _with_gradient(
    detector: Detector, maps: Any, proposals: Sequence[Tensor], scores: Tensor, wanted: IntArray, count: int
) -> Tensor:
    """Return the scores with a gradient where they are wanted; the others need none."""
    wanted = np.unique(wanted)
    per_picture = [wanted[wanted // count == k] % count for k in range(len(proposals))]
    boxes = [one[torch.from_numpy(rows)] for one, rows in zip(proposals, per_picture, strict=True)]
    several = detector.scores(maps, boxes)
    places = np.concatenate([k * count + rows for k, rows in enumerate(per_picture)])
    return scores.index_put((torch.from_numpy(places),), torch.cat(several))


def _logit(values: FloatArray) -> FloatArray:
    found: FloatArray = logit(np.clip(values, 1e-6, 1 - 1e-6))
    return found


def main() -> None:
    """Measure both, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", default="lesion-r18t1")
    parser.add_argument("--folds", type=int, default=3, help=f"of the {FOLDS} folds of patients")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1e-3, help="of the BatchNorm layers")
    parser.add_argument("--limit", type=int, help="slices per source and class")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, weights = time.monotonic(), load_weights(arguments.weights)
    settings, evidence = HeadTraining(), EvidenceSettings()
    size, shape = evidence.batch_size, {"width": weights.card.architecture.s_width, "classes": 3}

    def fresh() -> Detector:
        network = load_network(weights).to(memory_format=torch.channels_last)
        return Detector(network, evidence, size=weights.card.input.size)

    def tell(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.0f} s  {text}\n")
        sys.stdout.flush()

    frozen = fresh()
    pictures, data = read(arguments.data / "B_slice_classification", frozen, weights.card, arguments.limit)
    test_pictures, tests = read(
        arguments.data / "F_cncb_three_classes", frozen, weights.card, arguments.limit
    )
    tell(f"{len(data)} slices, {len(tests)} of the test folder")
    fold = patient_folds(data, FOLDS, settings.seed)
    arms = ("S alone", "S+BN")
    rows = {arm: data.rows.copy() for arm in arms}
    logits = {arm: np.full((len(data), 3), np.nan, np.float32) for arm in arms}
    found: dict[str, Any] = {"arguments": {k: str(v) for k, v in vars(arguments).items()}, "folds": []}
    tested: dict[str, list[tuple[ImageHead, RoiRows]]] = {arm: [] for arm in arms}
    heads: dict[str, list[ImageHead]] = {arm: [] for arm in arms}
    for index in range(arguments.folds):
        chosen, held = np.flatnonzero(fold != index), np.flatnonzero(fold == index)
        start = train_head(data, chosen, settings, size=size, **shape)
        told: dict[str, Any] = {}
        for arm in arms:
            head = copy.deepcopy(start)
            detector = fresh() if arm == "S+BN" else None
            job = goes_on(
                head,
                data,
                chosen,
                settings,
                steps=arguments.steps,
                rate=arguments.rate,
                detector=detector,
                pictures=pictures,
            )
            losses = list(job)
            test_rows = tests
            if detector is not None:
                rows[arm][held] = looked_at(detector, pictures[held])
                test_rows = dataclasses.replace(tests, rows=looked_at(detector, test_pictures))
                before = torch.cat([one.detach().flatten() for one in frozen.moving])
                after = torch.cat([one.detach().flatten() for one in detector.moving])
                told["moved"] = {
                    "parameters": len(before),
                    "mean_absolute": round(float((after - before).abs().mean()), 5),
                    "greatest": round(float((after - before).abs().max()), 5),
                }
            head.eval()
            logits[arm][held] = head_logits(head, batches(rows[arm][held], size))
            heads[arm].append(head)
            tested[arm].append((head, test_rows))
            quarter = max(1, len(losses) // 4)
            told[arm] = [round(float(np.mean(part)), 4) for part in (losses[:quarter], losses[-quarter:])]
            tell(f"fold {index + 1}, {arm}: loss {told[arm]}")
        found["folds"].append(told)
    done: BoolArray = fold < arguments.folds
    for arm in arms:
        part = dataclasses.replace(data, rows=rows[arm]).at(done)
        left_out = LeftOut(logits[arm][done], part, data.ill_classes)
        calibration, several = calibrate([left_out])
        slope, bias = calibration.slope, calibration.bias
        by_fold = []
        for head, test_rows in tested[arm]:
            one = LeftOut(head_logits(head, batches(test_rows.rows, size)), test_rows, data.ill_classes)
            by_fold.append(
                {
                    **measures(one, slope, bias),
                    "removals": removals(head, one, size=size, middle=-bias / slope),
                }
            )
        flips = [
            removals(head, left_out.at(fold[done] == index), size=size, middle=-bias / slope)
            for index, head in enumerate(heads[arm])
        ]
        found[arm] = {
            "slope": slope,
            "bias": bias,
            "within_source": measured_within(left_out.logits, part, None),
            **{key: several[key] for key in ("by_source", "controls_that_look_ill", "ill_that_look_ill")},
            "removals": flips,
            "tested": by_fold,
        }
        tell(f"{arm}: measured")
    write_json(arguments.output, found, overwrite=True)
    tell(str(arguments.output))


if __name__ == "__main__":
    main()
