"""Module S on a frozen detector: its regions once, then a small network on them (S-only training).

What module S may learn from a few hundred slices is how many regions are how certain, not which background
region comes 57th: regions are dropped and the batch refilled, near-equal scores swapped, background regions
exchanged with those of other slices, and boxes are not read at all. Read, they made the class of left-out
patients no better, and it hung on single background regions (docs/verdict.md).

Labels of the data are confounded with their source, so quality is reported within a source only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor
from torch.nn import functional as F

from model_core.base.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.base.settings import EvidenceSettings
from model_core.data.classes import CLASS_FOLDERS
from model_core.measure.classification import auc
from model_core.networks import CovidCTMaskNet, ImageHead
from model_core.ranking import replicate
from model_core.train.geometry import Motion, warp
from model_core.train.packing import PackedSlice
from model_core.train.roi_rows import NORMAL, OTHER, RoiRows

# Classes that can be compared inside one source: (source prefix, label, label).
WITHIN_SOURCE = (("mosmed", 0, 2), ("soares", 1, 2))
FOLDS = 5
# Entry of a classifier's measures: those of slices that the detector never saw.
UNSEEN = "unseen_by_the_detector"
# Rows below are background.
BACKGROUND = 0.05
_WEAK = 0.2  # smoothing of labels that are of the study


def measure_classes(
    network: CovidCTMaskNet,
    slices: Sequence[PackedSlice],
    prefixes: Mapping[str, str],
    evidence: EvidenceSettings,
    *,
    size: int,
) -> Generator[Progress | dict[str, Any], None, None]:
    """Classify held-out pictures of a joint training and yield, last, what `within_source` says of them.

    ``prefixes`` gives the source's name in the class folders for each of the recipe's.
    """
    where = next(network.parameters()).device
    logits = np.zeros((len(slices), network.architecture.image_classes), np.float32)
    for row, one in enumerate(slices):
        yield Progress(row, len(slices), "Image class")
        picture, _, _ = warp(one.image, np.zeros_like(one.image), Motion(), size=size)
        image = torch.from_numpy(picture).to(where)[None, None].expand(1, 3, -1, -1)
        with torch.inference_mode():
            logits[row] = network.eval().image_logits(image, evidence)[0].cpu().numpy()
    labels = np.array([one.image_class for one in slices], np.int64)
    yield within_source(logits, labels, [prefixes[one.source] for one in slices])


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """How module S is trained on ranked regions: AdamW, the papers' loss and that of "ill or not".

    Attributes
    ----------
    drop:
        Up to this share of the regions is left out of a batch, which the next ones refill.
    noise:
        Standard deviation of what is added to the logit of each score: near-equal ones change places.
    exchange:
        Share of the batches whose background regions (`BACKGROUND`) are exchanged with those of others.
    smoothing:
        Of the labels; those of a study (`WEAK_SOURCES`) are smoothed more.
    """

    epochs: int = 16
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    drop: float = 0.3
    noise: float = 0.7
    exchange: float = 0.5
    smoothing: float = 0.05
    seed: int = 0


def perturbed(
    rows: FloatArray, generator: np.random.Generator, settings: HeadTraining, *, size: int
) -> FloatArray:
    """Return (b, size, 5) RoI batches of (b, M, 5) ranked regions, perturbed as `HeadTraining` says."""
    present = rows[..., 0] > 0
    low = present & (rows[..., 0] < BACKGROUND)
    order = generator.permutation(len(rows))
    share = generator.random((len(rows), 1)) * (generator.random((len(rows), 1)) < settings.exchange)
    taken = low & low[order] & (generator.random(low.shape) < share)
    mixed = np.where(taken[..., None], rows[order], rows)
    scores = np.clip(mixed[..., 0], 1e-6, 1 - 1e-6)
    scores = expit(logit(scores) + settings.noise * generator.standard_normal(scores.shape))
    present &= generator.random(low.shape) >= settings.drop * generator.random((len(rows), 1))
    mixed[..., 0] = np.where(present, scores, 0.0)
    ranks = np.argsort(-mixed[..., 0], axis=1, kind="stable")
    mixed = np.take_along_axis(mixed, ranks[..., None], axis=1)
    seeds = generator.integers(1 << 31, size=len(rows)).tolist()
    counts = present.sum(axis=1).tolist()
    return np.stack(
        [_batch(one, count, size, seed) for one, count, seed in zip(mixed, counts, seeds, strict=True)]
    )


def _batch(rows: FloatArray, count: int, size: int, seed: int) -> FloatArray:
    """Return the (size, 5) RoI batch of the first ``count`` ranked rows; zeros where there are none."""
    if not count:
        return np.zeros((size, 5), np.float32)
    batch: FloatArray = rows[replicate(min(count, size), size, seed=seed)]
    return batch


def batches(rows: FloatArray, size: int) -> FloatArray:
    """Return the (n, size, 5) RoI batches of (n, M, 5) ranked regions, as in use."""
    counts = (rows[..., 0] > 0).sum(axis=1).tolist()
    return np.stack([_batch(one, count, size, 0) for one, count in zip(rows, counts, strict=True)])


def targets_of(data: RoiRows, smoothing: float) -> tuple[FloatArray, FloatArray]:
    """Return (n, 3) targets of the logits and (n, 3) whether each is known.

    Patients with another disease have no COVID-19; whether their slice shows anything is unknown, and they
    are class 1 only where no confirmed cases train it.
    """
    known = np.ones((len(data), len(CLASS_FOLDERS)), np.float32)
    amount = np.where(data.weak, _WEAK, smoothing).astype(np.float32)[:, None]
    truth = np.eye(len(CLASS_FOLDERS), dtype=np.float32)[data.labels]
    control = np.eye(len(CLASS_FOLDERS), dtype=np.float32)[[NORMAL]]
    spread = np.where(data.weak[:, None], control, np.float32(0.5))
    unsure = (data.labels == OTHER) & ~data.confirmed
    known[unsure, NORMAL] = 0.0
    if data.confirmed.any():
        known[unsure, OTHER] = 0.0
    return (truth * (1 - amount) + spread * amount).astype(np.float32), known


def train_head(
    data: RoiRows,
    chosen: IntArray,
    settings: HeadTraining,
    *,
    width: int,
    classes: int,
    size: int | None = None,
) -> ImageHead:
    """Return module S of RoI batches of ``size`` trained on the ``chosen`` slices.

    Classes weigh the same, in a class the sources by the square root of their patients, patients alike.
    Its weights on the boxes are 0, see the module. ``size`` None takes as many rows as there are.
    """
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    size = size or data.rows.shape[1]
    head = ImageHead(roi_batch_size=size, width=width, classes=classes)
    scores_only = torch.zeros(size, 5)
    scores_only[:, 0] = 1.0
    head.fc_scores.weight.data *= scores_only.view(-1)
    weight: Any = head.fc_scores.weight
    weight.register_hook(lambda gradient: gradient * scores_only.view(-1))
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    share = drawing_shares(data.at(chosen))
    targets, known = (torch.from_numpy(part) for part in targets_of(data, settings.smoothing))
    ill_classes = data.ill_classes
    total = max(1, len(chosen) // settings.batch) * settings.epochs
    for step in range(total):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * step / total))
        picks = generator.choice(chosen, size=settings.batch, p=share)
        rows = perturbed(data.rows[picks], generator, settings, size=size)
        loss = head_loss(head(torch.from_numpy(rows)), targets[picks], known[picks], ill_classes)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return head.eval()


def head_loss(logits: Tensor, targets: Tensor, known: Tensor, ill_classes: Sequence[int]) -> Tensor:
    """Return the mean BCE of the known logits (spec §5.5) plus that of "ill or not"."""
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    ill = torch.logsumexp(logits[:, list(ill_classes)], 1) - logits[:, NORMAL]
    of_ill = F.binary_cross_entropy_with_logits(ill, 1 - targets[:, NORMAL], reduction="none")
    sure = known[:, NORMAL]
    return (each * known).sum() / known.sum() + (of_ill * sure).sum() / sure.sum().clamp(min=1.0)


def drawing_shares(data: RoiRows) -> DoubleArray:
    """Return (n,) how often each slice is drawn, see `train_head`."""
    keys = list(zip(data.labels.tolist(), data.families, data.groups, strict=True))
    slices = Counter(keys)
    patients = Counter(key[:2] for key in slices)
    roots: dict[int, float] = dict.fromkeys(range(len(CLASS_FOLDERS)), 0.0)
    for (label, _), count in patients.items():
        roots[label] += count**0.5
    weight = np.array([patients[key[:2]] ** -0.5 / (roots[key[0]] * slices[key]) for key in keys], np.float64)
    shares: DoubleArray = weight / weight.sum()
    return shares


@torch.inference_mode()
def head_logits(head: ImageHead, rows: FloatArray) -> FloatArray:
    """Return (n, classes) logits of (n, N, 5) RoI batches."""
    logits: Tensor = head(torch.from_numpy(rows))
    return logits.numpy()


def cross_logits(
    data: RoiRows,
    fold: IntArray,
    settings: HeadTraining,
    *,
    width: int,
    classes: int,
    size: int | None = None,
) -> FloatArray:
    """Return the (n, classes) logits, each by module S trained on the other folds (n,)."""
    size = size or data.rows.shape[1]
    logits = np.zeros((len(data), classes), np.float32)
    for index in np.unique(fold):
        head = train_head(
            data, np.flatnonzero(fold != index), settings, width=width, classes=classes, size=size
        )
        held = np.flatnonzero(fold == index)
        logits[held] = head_logits(head, batches(data.rows[held], size))
    return logits


def cross_validate(
    data: RoiRows,
    settings: HeadTraining,
    *,
    width: int,
    classes: int,
    folds: int = FOLDS,
    unseen: BoolArray | None = None,
) -> dict[str, Any]:
    """Return within-source balanced accuracy and AUC, over folds of patients.

    Folds are stratified by source and class. ``unseen`` (n,) are the slices that the frozen detector was not
    trained on: the entry `UNSEEN` holds the same measures of them alone.

    Raises
    ------
    DataError
        If there are fewer slices than folds.
    """
    fold = patient_folds(data, folds, settings.seed)
    logits = cross_logits(data, fold, settings, width=width, classes=classes)
    return measured_within(logits, data, unseen)


def measured_within(logits: FloatArray, data: RoiRows, unseen: BoolArray | None) -> dict[str, Any]:
    """Return `within_source` of all slices, and of those a detector never saw under `UNSEEN`."""
    found = within_source(logits, data.labels, data.sources)
    if unseen is not None:
        there = data.at(unseen)
        found[UNSEEN] = within_source(logits[unseen], there.labels, there.sources)
    return found


def patient_folds(data: RoiRows, folds: int, seed: int) -> IntArray:
    """Return (n,) the fold of each slice: patients whole, stratified by source and class.

    Raises
    ------
    DataError
        If there are fewer slices than folds.
    """
    if len(data) < folds:
        raise DataError(f"{len(data)} slices are too few for {folds} folds.")
    generator = np.random.default_rng(seed)
    strata: dict[tuple[str, int], dict[str, None]] = {}
    for source, label, patient in zip(data.sources, data.labels.tolist(), data.groups, strict=True):
        strata.setdefault((source, label), {})[patient] = None
    fold: dict[str, int] = {}
    # From where the last group ended, so that small groups do not all fall into the first folds.
    for key in sorted(strata):
        for patient in generator.permutation(list(strata[key])).tolist():
            fold.setdefault(patient, len(fold) % folds)
    return np.array([fold[patient] for patient in data.groups], np.int64)


def within_source(logits: FloatArray, labels: IntArray, sources: Sequence[str]) -> dict[str, Any]:
    """Return, per comparable pair of classes of one source, balanced accuracy, AUC and confusion matrix.

    ``logits`` (n, classes) and ``labels`` (n,) of slices whose ``sources`` begin with their source's name.
    """
    found: dict[str, Any] = {}
    families = np.array([source.split("_")[0] for source in sources])
    for source, first, second in WITHIN_SOURCE:
        mine = (families == source) & np.isin(labels, (first, second))
        if len(set(labels[mine].tolist())) < 2:
            continue
        truth = labels[mine] == second
        predicted = logits[mine].argmax(1)
        margin = logits[mine, second] - logits[mine, first]
        rights = [predicted[~truth] == first, predicted[truth] == second]
        pair = [margin[~truth] <= 0, margin[truth] > 0]
        found[source] = {
            "classes": [first, second],
            "slices": [int((~truth).sum()), int(truth.sum())],
            "balanced_accuracy": round(float(np.mean([r.mean() for r in rights])), 4),
            "balanced_accuracy_of_the_two": round(float(np.mean([p.mean() for p in pair])), 4),
            "auc": round(auc(margin, truth), 4),
            # Rows: the two classes as labelled; columns: every class as predicted.
            "confusion": [
                np.bincount(predicted[truth == row], minlength=logits.shape[1]).tolist()
                for row in (False, True)
            ],
        }
    return found
