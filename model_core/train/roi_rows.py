"""Ranked regions of labelled slices under a frozen detector: what module S learns from, extracted once."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from model_core.base.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from model_core.base.jobs import Progress
from model_core.base.settings import EvidenceSettings
from model_core.data import ClassifiedSlice
from model_core.data.classes import CLASS_FOLDERS, COVIDX
from model_core.engine import Pipeline
from model_core.engine.backend import Look
from model_core.engine.novelty import features_of
from model_core.engine.preprocess import network_input
from model_core.measure.slices import one_slice_volume, with_grey_map
from model_core.ranking import rank_regions
from model_core.train.recipe import held_out
from model_core.weights.card import PAPER_IMAGE_CLASSES

# Entry of a detector's card: shares of the control pictures it never saw; and of a classifier's measures.
HELD_OUT_CONTROLS = "held_out_controls"
# The same of pictures with disease that it, or what it started from, labelled itself: of earlier versions.
SELF_TRAINED = "self_trained"
# The same of pictures that a single-shot model learned the class from.
HELD_OUT_PICTURES = "held_out_pictures"
# Regions kept of a slice, in RoI batches: those that refill a batch of which some were dropped.
KEPT_BATCHES = 2
# Their labels are of the study: a slice may show nothing of it.
WEAK_SOURCES = ("mosmed_ct1", "mosmed_ct2")
NORMAL, OTHER, COVID = range(3)


@dataclass(frozen=True, eq=False)
class RoiRows:
    """Ranked regions of slices.

    Attributes
    ----------
    rows:
        (n, M, 5) score and encoded deltas, best first, as the RoI batch has them but each once; zeros where
        there are fewer.
    labels:
        (n,) classes.
    patients:
        n names of whose slices they are; empty where each slice is a patient of its own.
    features:
        (n, F) of the picture and its regions, see `engine.novelty`; None where nobody looked.
    """

    rows: FloatArray
    labels: IntArray
    sources: tuple[str, ...]
    names: tuple[str, ...]
    patients: tuple[str, ...] = ()
    features: DoubleArray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def groups(self) -> list[str]:
        """Whose slice each is."""
        return list(self.patients or map(str, range(len(self))))

    @property
    def families(self) -> list[str]:
        """The source of each slice without its part ("mosmed" of "mosmed_ct0")."""
        return [source.split("_")[0] for source in self.sources]

    @property
    def confirmed(self) -> BoolArray:
        """(n,) whether a slice is of class 1 and of confirmed common pneumonia."""
        found: BoolArray = (self.labels == OTHER) & (np.array(self.sources) == COVIDX)
        return found

    @property
    def weak(self) -> BoolArray:
        """(n,) whether the label is that of the study."""
        weak: BoolArray = np.isin(self.sources, WEAK_SOURCES)
        return weak

    @property
    def image_classes(self) -> tuple[str, ...]:
        """Names of the classes: class 1 is "Common Pneumonia" only where confirmed cases train it."""
        return PAPER_IMAGE_CLASSES if self.confirmed.any() else tuple(CLASS_FOLDERS.values())

    @property
    def ill_classes(self) -> tuple[int, ...]:
        """Classes that count as pneumonia: class 1 only where confirmed cases train it."""
        return (OTHER, COVID) if self.confirmed.any() else (COVID,)

    @property
    def ill(self) -> DoubleArray:
        """(n,) 1 for pneumonia of any kind, 0 for controls, NaN for other patients: many look normal."""
        known = np.where(self.labels == NORMAL, 0.0, 1.0)
        return np.where((self.labels == OTHER) & ~self.confirmed, np.nan, known)

    def at(self, which: IntArray | BoolArray) -> RoiRows:
        """Return some of the slices: those of these positions, or where it is true."""
        picks = np.arange(len(self))[which]
        return RoiRows(
            self.rows[picks],
            self.labels[picks],
            tuple(self.sources[k] for k in picks),
            tuple(self.names[k] for k in picks),
            tuple(self.patients[k] for k in picks) if self.patients else (),
            None if self.features is None else self.features[picks],
        )


def ill_logits(logits: FloatArray, ill_classes: Sequence[int]) -> DoubleArray:
    """Return (n,) logsumexp of the logits of pneumonia minus that of Control, of (n, classes) logits."""
    several = np.asarray(logits, np.float64)
    found: DoubleArray = logsumexp(several[:, list(ill_classes)], axis=1) - several[:, NORMAL]
    return found


def limited(slices: Sequence[ClassifiedSlice], limit: int | None) -> list[ClassifiedSlice]:
    """Return at most ``limit`` slices of each source and class, evenly spread over their order."""
    groups: dict[tuple[str, int], list[ClassifiedSlice]] = {}
    for item in slices:
        groups.setdefault((item.source, item.label), []).append(item)
    kept: list[ClassifiedSlice] = []
    for group in groups.values():
        count = len(group) if limit is None else min(limit, len(group))
        kept += [group[int(k)] for k in np.linspace(0, len(group) - 1, count).round()]
    return kept


def extract(
    pipeline: Pipeline, slices: Sequence[ClassifiedSlice], evidence: EvidenceSettings
) -> Generator[Progress | RoiRows, None, None]:
    """Run a detector over pictures as in use and yield, last, their ranked regions."""
    card = pipeline.cards[0]
    rows, features = [], []
    for done, item in enumerate(slices):
        yield Progress(done, len(slices), "Regions")
        (shown,) = with_grey_map([item], card.input.grey)
        picture = network_input(one_slice_volume(shown.image_hu(), name=item.name), 0, card.input)
        rows.append(_ranked(pipeline, pipeline.backend.look(picture), evidence))
        features.append(features_of(picture, rows[-1]))
    yield RoiRows(
        np.stack(rows),
        np.array([one.label for one in slices], np.int64),
        tuple(one.source for one in slices),
        tuple(one.name for one in slices),
        tuple(one.patient for one in slices),
        np.stack(features),
    )


def _ranked(pipeline: Pipeline, look: Look, evidence: EvidenceSettings) -> FloatArray:
    """Return (M, 5) ranked rows, zeros where there are fewer."""
    found = pipeline.backend.regions(look, look.proposals, branch="evidence")
    kept = rank_regions(
        found.boxes,
        found.scores,
        found.labels,
        score=evidence.score,
        nms_iou=evidence.nms_iou,
        min_area=evidence.min_area,
        limit=KEPT_BATCHES * evidence.batch_size,
    )
    rows = np.zeros((KEPT_BATCHES * evidence.batch_size, 5), np.float32)
    rows[: len(kept)] = np.column_stack((found.scores[kept], found.deltas[kept]))
    return rows


def unseen_slices(data: RoiRows, training: Mapping[str, Any]) -> BoolArray | None:
    """Return (n,) which slices a detector never saw in its training, or None where it held no control out.

    ``training`` is what the detector's card says of its training: shares held out, by the prefix of the
    source (`recipe.held_out`), of the controls, of the pictures with disease that it labelled itself, and of
    those that it learned the class from. Other slices are taken as unseen.
    """
    controls: dict[str, float] = training.get(HELD_OUT_CONTROLS) or {}
    taught: dict[str, float] = training.get(SELF_TRAINED) or {}
    if not controls:
        return None

    classes = tuple(CLASS_FOLDERS)
    learned: dict[str, float] = training.get(HELD_OUT_PICTURES) or {}

    def unseen(name: str, source: str, label: int) -> bool:
        kind = classes[label]
        shares = [learned, *({"normal": [controls], "covid": [taught]}.get(kind, []))]
        mine = [share for some in shares for prefix, share in some.items() if source.startswith(prefix)]
        # A control of a source that is not told of was trained on; other pictures were not.
        return held_out(name, min(mine)) if mine else kind != "normal"

    rows = zip(data.names, data.sources, data.labels.tolist(), strict=True)
    return np.array([unseen(*row) for row in rows], bool)
