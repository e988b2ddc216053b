"""Module S on a frozen detector: RoI batches once, then a small network on them (S-only training).

Labels of the data are confounded with their source, so quality is reported within a source only.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.base.arrays import BoolArray, ByteArray, FloatArray, IntArray
from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.base.settings import EvidenceSettings
from model_core.data import ClassifiedSlice, read_class_folders
from model_core.data.classes import CLASS_FOLDERS
from model_core.data.pictures import read_grey, to_hu
from model_core.engine.greymap import estimate_hu_range
from model_core.measure.classification import auc
from model_core.networks import CovidCTMaskNet, ImageHead, MaskRCNN
from model_core.ranking import rank_regions, roi_batch
from model_core.train.appearance import jitter_window, put_in_body
from model_core.train.geometry import Motion, draw_motion, warp
from model_core.train.packing import PackedSlice, window_to_bytes
from model_core.train.recipe import held_out

# Classes that can be compared inside one source: (source prefix, label, label).
WITHIN_SOURCE = (("mosmed", 0, 2), ("soares", 1, 2))
FOLDS = 5
# Entry of a detector's card: shares of the control pictures it never saw; and of a classifier's measures.
HELD_OUT_CONTROLS = "held_out_controls"
# The same of pictures that it labelled itself (`train.self_training`).
SELF_TRAINED = "self_trained"
UNSEEN = "unseen_by_the_detector"
# Name of what `extract` does to a picture; stored RoI batches of another are not read.
VIEWS = "peaks+crop"
_FULL_FIELD = "mosmed"
_CROP_ZOOM, _BODY_ZOOM = (1.3, 1.5), (0.6, 0.75)


@dataclass(frozen=True, eq=False)
class RoiRows:
    """RoI batches of slices: ``rows`` (n, V, N, 5) of V views each; ``labels`` (n,); sources and names."""

    rows: FloatArray
    labels: IntArray
    sources: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WindowedSlice:
    """A labelled picture in the network's HU window, (H, W) uint8.

    ``by_peaks`` through its own lung and soft-tissue peaks; ``as_shown`` taken as a lung window.
    """

    label: ClassifiedSlice
    by_peaks: ByteArray
    as_shown: ByteArray


def read_slices(folder: Path) -> list[WindowedSlice]:
    """Read the class folders."""
    found = []
    for one in read_class_folders(folder):
        grey = read_grey(one.image_path)
        low, high = estimate_hu_range(grey)
        found.append(
            WindowedSlice(
                one,
                by_peaks=window_to_bytes(to_hu(grey, low=low, high=high)),
                as_shown=window_to_bytes(to_hu(grey, low=one.low_hu, high=one.high_hu)),
            )
        )
    return found


def limited(slices: Sequence[WindowedSlice], limit: int | None) -> list[WindowedSlice]:
    """Return at most ``limit`` slices of each source and class, evenly spread over their order."""
    groups: dict[tuple[str, int], list[WindowedSlice]] = {}
    for item in slices:
        groups.setdefault((item.label.source, item.label.label), []).append(item)
    kept: list[WindowedSlice] = []
    for group in groups.values():
        count = len(group) if limit is None else min(limit, len(group))
        kept += [group[int(k)] for k in np.linspace(0, len(group) - 1, count).round()]
    return kept


def views(
    image: ByteArray,
    generator: np.random.Generator,
    *,
    full_field: bool,
    size: int,
    second: ByteArray | None = None,
) -> list[FloatArray]:
    """Return the slice as it is, and once with the other crop: lungs only, or inside a body.

    The crop of a picture tells its source, and the source tells its class; the second view breaks that.
    ``second`` is the picture of the second view where it is another one.
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    blank = np.zeros_like(image)
    plain, _, _ = warp(image, blank, Motion(), size=size)
    zoom = _CROP_ZOOM if full_field else _BODY_ZOOM
    motion = draw_motion(generator, shape=shape, zoom=zoom, centre=0.05)
    if full_field:  # the lungs lie in the middle of the field of view
        motion = Motion(zoom=motion.zoom, flip=motion.flip, stretch=motion.stretch)
    other, _, inside = warp(image if second is None else second, blank, motion, size=size)
    if not full_field:
        other = put_in_body(other, inside, generator)
    return [plain, jitter_window(other, generator, hu_error=50.0)]


def extract(
    network: MaskRCNN,
    slices: Sequence[WindowedSlice],
    evidence: EvidenceSettings,
    *,
    size: int,
    seed: int,
) -> Generator[Progress | RoiRows, None, None]:
    """Run the frozen detector over all views and yield, last, the RoI batches.

    Every other picture's second view starts from the plain lung window instead of its own peaks.
    """
    network.eval()
    rows: list[FloatArray] = []
    for done, one in enumerate(slices):
        yield Progress(done, len(slices), "RoI batches")
        generator = np.random.default_rng([seed, done])
        pictures = views(
            one.by_peaks,
            generator,
            full_field=one.label.source.startswith(_FULL_FIELD),
            size=size,
            second=one.as_shown if done % 2 else None,
        )
        rows.append(roi_rows(network, np.stack(pictures), evidence))
    yield RoiRows(
        np.stack(rows),
        np.array([one.label.label for one in slices], np.int64),
        tuple(one.label.source for one in slices),
        tuple(one.label.name for one in slices),
    )


def unseen_slices(data: RoiRows, training: Mapping[str, Any]) -> BoolArray | None:
    """Return (n,) which slices a detector never saw in its training, or None where it held no control out.

    ``training`` is what the detector's card says of its training: shares held out, by the prefix of the
    source (`recipe.held_out`), of the controls and of the pictures with disease that it labelled itself.
    Other slices are taken as unseen.
    """
    controls: dict[str, float] = training.get(HELD_OUT_CONTROLS) or {}
    taught: dict[str, float] = training.get(SELF_TRAINED) or {}
    if not controls:
        return None

    classes = tuple(CLASS_FOLDERS)

    def unseen(name: str, source: str, label: int) -> bool:
        if classes[label] == "other":
            return True
        shares = controls if classes[label] == "normal" else taught
        mine = [share for prefix, share in shares.items() if source.startswith(prefix)]
        return any(held_out(name, share) for share in mine) or (not mine and shares is taught)

    rows = zip(data.names, data.sources, data.labels.tolist(), strict=True)
    return np.array([unseen(*row) for row in rows], bool)


@torch.inference_mode()
def roi_rows(network: MaskRCNN, pictures: FloatArray, evidence: EvidenceSettings) -> FloatArray:
    """Return the (V, N, 5) RoI batches of (V, S, S) pictures (spec §5.2)."""
    where = next(network.parameters()).device
    images = torch.from_numpy(pictures).to(where)[:, None].expand(-1, 3, -1, -1)
    features = network.features(images)
    regions = network.regions(images, features, network.propose(images, features))
    batches = []
    for one in regions:
        scores = one.scores.cpu().numpy()
        kept = rank_regions(
            one.boxes.cpu().numpy(),
            scores,
            one.labels.cpu().numpy(),
            score=evidence.score,
            nms_iou=evidence.nms_iou,
            min_area=evidence.min_area,
            limit=evidence.batch_size,
        )
        batch = roi_batch(
            scores,
            one.deltas.cpu().numpy(),
            kept,
            size=evidence.batch_size,
            mode=evidence.replication,
            seed=evidence.seed,
        )
        batches.append(batch.rows)
    return np.stack(batches)


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
    """How module S is trained on RoI batches: AdamW, BCE of each logit, the papers' loss.

    The defaults were the best of five settings in cross-validation within sources; ``noise`` is added to
    the RoI batches, because a few hundred slices are learned by heart otherwise.
    """

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.2
    noise: float = 0.1
    seed: int = 0


def train_head(
    data: RoiRows, chosen: IntArray, settings: HeadTraining, *, width: int, classes: int
) -> ImageHead:
    """Return module S trained on the ``chosen`` slices, all their views.

    Every (source, class) pair carries the same weight, so that no class is its source's size.
    """
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    head = ImageHead(roi_batch_size=data.rows.shape[2], width=width, classes=classes)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    share = _shares(data, chosen)
    steps = max(1, len(chosen) * data.rows.shape[1] // settings.batch)
    total = steps * settings.epochs
    for step in range(total):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * step / total))
        picks = generator.choice(chosen, size=settings.batch, p=share)
        view = generator.integers(0, data.rows.shape[1], settings.batch)
        rows = torch.from_numpy(data.rows[picks, view])
        rows = rows + settings.noise * torch.randn_like(rows)
        target = F.one_hot(torch.from_numpy(data.labels[picks]), classes).float()
        loss = F.binary_cross_entropy_with_logits(head(rows), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return head.eval()


def _shares(data: RoiRows, chosen: IntArray) -> FloatArray:
    keys = [(data.sources[i].split("_")[0], int(data.labels[i])) for i in chosen]
    counts = {key: keys.count(key) for key in set(keys)}
    classes: dict[int, int] = {}
    for _, label in counts:
        classes[label] = classes.get(label, 0) + 1
    weight = np.array([1.0 / (counts[key] * classes[key[1]]) for key in keys])
    shares: FloatArray = weight / weight.sum()
    return shares


@torch.inference_mode()
def head_logits(head: ImageHead, rows: FloatArray) -> FloatArray:
    """Return (n, classes) logits of (n, N, 5) RoI batches."""
    logits: Tensor = head(torch.from_numpy(rows))
    return logits.numpy()


def cross_validate(
    data: RoiRows,
    settings: HeadTraining,
    *,
    width: int,
    classes: int,
    folds: int = FOLDS,
    unseen: BoolArray | None = None,
) -> dict[str, Any]:
    """Return within-source balanced accuracy and AUC of the plain view, over folds of slices.

    Patients of one source are mostly unknown, so folds are slice-level and stratified by source and class.
    ``unseen`` (n,) are the slices that the frozen detector was not trained on: the entry `UNSEEN` holds the
    same measures of them alone.

    Raises
    ------
    DataError
        If there are fewer slices than folds.
    """
    if len(data.labels) < folds:
        raise DataError(f"{len(data.labels)} slices are too few for {folds} folds.")
    fold = _folds(data, folds, settings.seed)
    logits = np.zeros((len(data.labels), classes), np.float32)
    for index in range(folds):
        head = train_head(data, np.flatnonzero(fold != index), settings, width=width, classes=classes)
        held = np.flatnonzero(fold == index)
        logits[held] = head_logits(head, data.rows[held, 0])
    found = within_source(logits, data.labels, data.sources)
    if unseen is not None:
        sources = [data.sources[k] for k in np.flatnonzero(unseen)]
        found[UNSEEN] = within_source(logits[unseen], data.labels[unseen], sources)
    return found


def _folds(data: RoiRows, folds: int, seed: int) -> IntArray:
    generator = np.random.default_rng(seed)
    fold, done = np.zeros(len(data.labels), np.int64), 0
    for key in sorted(set(zip(data.sources, data.labels.tolist(), strict=True))):
        mine = np.array(
            [i for i, pair in enumerate(zip(data.sources, data.labels, strict=True)) if pair == key]
        )
        # From where the last group ended, so that small groups do not all fall into the first folds.
        fold[generator.permutation(mine)] = (done + np.arange(len(mine))) % folds
        done += len(mine)
    return fold


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
