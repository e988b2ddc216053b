"""Small stand-ins for engine and reader: deterministic, counted, and slow only when told to be."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ctmasknet_gui.state import LungSlices
from model_core.base.asked import AskedAnswer, AskedRegion
from model_core.base.calibration import ScanCheck
from model_core.base.errors import ExportError, ReadError, SettingsError, WeightsError
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.picture_edit import EditedPicture, PictureEffect, PictureOutcome, RegionChange
from model_core.base.reasons import Carriers, Curve, DecisiveRegions, Group, Sensitivity, SliceReason
from model_core.base.results import (
    Candidates,
    Detections,
    ImageVerdict,
    Placement,
    RoiBatch,
    RoiRow,
    ScanVerdict,
    ShownAsked,
    ShownSlice,
    SliceResult,
    SliceSummary,
)
from model_core.base.settings import Architecture, DetectionSettings, EvidenceSettings
from model_core.base.stability import ScanStability, Stability
from model_core.base.volume import Catalogue, FileReport, PatientText, Problem, SeriesEntry, Volume, Window
from model_core.explain import RegionPixels, burden, lesion_regions
from model_core.scene.maps import RegionMap
from model_core.weights.card import ModelCard, evidence_basis

CANDIDATES = 6
IMAGE_CLASSES = ("Control", "Other", "COVID-19")


def make_volume(series_id="one", slices=7, shape=(64, 80), unit="HU", **changes):
    rng = np.random.default_rng(len(series_id) + slices)
    voxels = rng.integers(-1000, 400, (slices, *shape)).astype(np.int16)
    fields = {
        "series_id": series_id,
        "title": f"Series {series_id}",
        "voxels": voxels,
        "geometry": Geometry(spacing_mm=(2.0, 0.8, 0.8), origin_mm=(0.0, 0.0, 0.0), axes=np.eye(3)),
        "unit": unit,
        "plane": "axial",
        "slice_positions_mm": np.arange(slices) * 2.0,
        "windows": (Window(350, 50, "File's own"),),
        "patient": PatientText(name="Doe^Jane", patient_id="4711-99"),
    }
    return Volume(**{**fields, **changes})


def make_entry(volume, **changes):
    depth, height, width = volume.voxels.shape
    fields = {
        "series_id": volume.series_id,
        "title": volume.title,
        "modality": "CT",
        "size": (depth, height, width),
        "files": ("a.dcm",),
        "plane": "axial",
        "spacing_mm": volume.geometry.spacing_mm,
    }
    return SeriesEntry(**{**fields, **changes})


@dataclass
class FakeReader:
    """Every path holds the given volumes; ``gate`` holds loading back until it is set."""

    volumes: list = field(default_factory=lambda: [make_volume()])
    gate: threading.Event | None = None
    closed: list = field(default_factory=list)
    thumbnails: list = field(default_factory=list)
    masks: tuple = ()

    def scan(self, path, *more):
        if not path.exists():
            raise ReadError(f"Not found: '{path.name}'. Check the path.")
        if path.name == "empty":
            yield Catalogue(str(path), (), (FileReport("x.txt", "skipped", "not an image"),))
            return
        if path.name == "broken":
            raise ReadError("The file is cut off.", details="Doe^Jane in /home/somebody/Doe/x.dcm")
        yield Progress(1, 2, "Looking at files")
        yield Catalogue(str(path), tuple(make_entry(v) for v in self.volumes), ())

    def load(self, entry):
        try:
            for step in range(3):
                yield Progress(step, 3, "Reading slices")
            while self.gate is not None and not self.gate.wait(0.01):
                yield Progress(0, 0, "Reading slices")
            yield next(v for v in self.volumes if v.series_id == entry.series_id)
        finally:
            self.closed.append(entry.series_id)

    def straighten(self, entry):
        return entry

    def thumbnail(self, entry, size=64):
        self.thumbnails.append(entry.series_id)
        return np.full((48, 64), 90, np.uint8)

    def read_labels(self, path, volume):
        if path.name == "wrong.nii":
            raise ReadError("The mask has another size than the series.")
        labels = np.zeros(volume.voxels.shape, np.uint8)
        labels[:, 10:20, 10:20] = 1
        return labels

    def masks_among(self, catalogue, volume):
        return frozenset(self.masks)

    def mask_for(self, entry, volume):
        if entry.size != volume.voxels.shape:
            raise ReadError("The mask has another size than the series.")
        return self.read_labels(Path(entry.title), volume)

    def phantom(self):
        volume = make_volume("phantom", slices=9)
        labels = np.zeros(volume.voxels.shape, np.uint8)
        labels[6, 10:20, 10:20] = 1
        labels[5, 10:12, 10:12] = 2
        return volume, labels


@dataclass
class FakePipeline:
    name: str
    cards: tuple = ()
    weights_id: str = "w"
    detections: DetectionSettings = DetectionSettings(score=0.4)
    evidence: EvidenceSettings = EvidenceSettings(batch_size=16)
    passes: int = 1
    image_classes: tuple = IMAGE_CLASSES
    region_classes: tuple = ("lesion",)
    computes: str = "Fake, CPU"
    backend_note: str = ""

    def evidence_basis(self, settings):
        return evidence_basis(self.cards[0], self.cards[-1], settings)


def make_card(name="fake"):
    return ModelCard(
        name=name,
        title=f"Fake weights {name}",
        architecture=Architecture(kind="single_shot", roi_batch_size=16),
        region_classes=("lesion",),
        image_classes=IMAGE_CLASSES,
        detections=DetectionSettings(score=0.4),
        evidence=EvidenceSettings(batch_size=16),
    )


@dataclass
class FakeEngine:
    """Finds CANDIDATES boxes per slice with fixed scores; counts every call of the "backbone".

    ``maps`` is the size of the FPN maps of a slice; once they are dropped only known masks can be shown.
    """

    backbone_calls: list = field(default_factory=list)
    asks: list = field(default_factory=list)
    loads: list = field(default_factory=list)
    shows: int = 0
    runners: int = 0
    gate: threading.Event | None = None
    missing: bool = False
    maps: int = 0
    stray: SliceResult | None = None
    known: dict = field(default_factory=dict)
    controls: set = field(default_factory=set)
    threads: set = field(default_factory=set)
    explained: list = field(default_factory=list)
    edits: list = field(default_factory=list)
    reason_gate: threading.Event | None = None
    pixel_gate: threading.Event | None = None
    pixels: list = field(default_factory=list)
    steadied: list = field(default_factory=list)
    joined: list = field(default_factory=list)
    no_lung: set = field(default_factory=set)
    lung_threads: set = field(default_factory=set)

    def available(self):
        return () if self.missing else (make_card(),)

    def cards_of(self, names):
        return self.known.get(tuple(names), ())

    def load(self, names):
        self.loads.append(tuple(names))
        if self.missing or "nothing" in names:
            raise WeightsError("There are no weights. Install or train some, then choose them.")
        name = names[0] if names else "fake"
        return FakePipeline(name, (make_card(name),), f"id-{name}")

    def find_lungs(self, volume):
        self.lung_threads.add(threading.current_thread().name)
        yield Progress(0, volume.slices)
        yield LungSlices(tuple(k not in self.no_lung for k in range(volume.slices)))

    @contextmanager
    def runner(self, pipeline):
        """Runs slices as `run` does; ``runners`` counts those that are in use."""
        self.runners += 1
        try:
            yield SimpleNamespace(run=lambda volume, index, *, waiting: self.run(pipeline, volume, (index,)))
        finally:
            self.runners -= 1

    def run(self, pipeline, volume, slices):
        for index in slices:
            self.threads.add(threading.current_thread().name)
            yield Progress(0, 1, f"Slice {index + 1}")
            while self.gate is not None and not self.gate.wait(0.005):
                yield Progress(0, 1, "waiting")
            self.backbone_calls.append(index)
            if self.stray is not None:
                yield self.stray
            yield self.result(pipeline, volume, index)

    def result(self, pipeline, volume, index):
        height, width = volume.voxels.shape[1:]
        boxes = np.array(
            [[4 + 8 * k, 6 + 4 * k, 12 + 8 * k, 16 + 4 * k] for k in range(CANDIDATES)], np.float32
        )
        scores = np.linspace(0.95, 0.05, CANDIDATES).astype(np.float32) * (0.5 if index == 0 else 1.0)
        candidates = Candidates(
            proposals=boxes,
            boxes=boxes,
            deltas=np.zeros_like(boxes),
            scores=scores.astype(np.float32),
            logits=np.zeros(CANDIDATES, np.float32),
            labels=np.ones(CANDIDATES, np.int64),
        )
        placement = Placement((height, width), max(height, width), 1.0, 1.0, 0.0, 0.0)
        return SliceResult(
            series_id=volume.series_id,
            weights_id=pipeline.weights_id,
            slice_index=index,
            placement=placement,
            evidence_placement=placement,
            detection_candidates=candidates,
            evidence_candidates=candidates,
            verdict=None,
            features={"0": np.zeros(self.maps, np.float16)} if self.maps else {},
        )

    def show(self, pipeline, volume, result, detections, evidence, *, edit=None):
        self.shows += 1
        return self.shown(pipeline, volume, result, detections, evidence, edit=edit)

    def show_known(self, pipeline, volume, result, detections, evidence, *, edit=None):
        return self.shown(pipeline, volume, result, detections, evidence, edit=edit, known=True)

    def make_masks(self, pipeline, result, detections):
        yield from ()

    def shown(self, pipeline, volume, result, detections, evidence, *, edit, known=False):
        candidates = result.detection_candidates
        kept = np.flatnonzero(candidates.scores > detections.score)
        if detections.nms_iou is not None and detections.nms_iou < 0.1:
            kept = kept[:1]
        waiting = {k for k in kept.tolist() if known and k not in result.mask_cache}
        if not known:
            result.mask_cache.update(dict.fromkeys(kept.tolist(), np.zeros((28, 28), np.float32)))
        height, width = volume.voxels.shape[1:]
        masks = np.zeros((len(kept), height, width), bool)
        logit_map = np.full((height, width), np.nan, np.float32)
        for row, index in enumerate(kept):
            x1, y1, x2, y2 = candidates.boxes[index].astype(int)
            if int(index) in waiting:
                continue
            masks[row, y1:y2, x1:x2] = True
            logit_map[y1:y2, x1:x2] = 1.5
        shown = Detections(
            indices=kept,
            boxes=candidates.boxes[kept],
            scores=candidates.scores[kept],
            labels=candidates.labels[kept],
            mask_boxes=candidates.boxes[kept],
            mask_logits=np.zeros((len(kept), 28, 28), np.float32),
            settings=detections,
        )
        rois, verdict = self.judged(pipeline, result, kept, evidence, edit)
        area = int(masks.any(0).sum()) if len(masks) else 0
        summary = SliceSummary(
            result.slice_index,
            len(kept),
            area,
            area * 0.64,
            tuple(float(p) for p in verdict.probabilities),
            lung=result.slice_index not in self.no_lung,
            edited=bool(edit),
        )
        asked = self.asked(result, edit)
        return ShownSlice(
            result.slice_index, shown, masks, logit_map, rois, verdict, summary, asked, pending=len(waiting)
        )

    def asked(self, result, edit):
        regions = edit.asked if edit else ()
        first = len(result.evidence_candidates)
        return tuple(ShownAsked(first + k, one.box, None) for k, one in enumerate(regions))

    def judged(self, pipeline, result, kept, evidence, edit):
        candidates = result.detection_candidates
        evident = np.flatnonzero(candidates.scores > evidence.score)
        rois = tuple(
            RoiRow(
                rank=rank + 1,
                candidate=int(index),
                score=float(candidates.scores[index]),
                label="lesion",
                box=tuple(float(v) for v in candidates.boxes[index]),
                area_px=80.0,
                area_mm2=80.0 * 0.64,
                copies=0 if edit and edit.leaves_out(index) else 2,
                detected=int(index) in kept,
                excluded=bool(edit and edit.leaves_out(index)),
            )
            for rank, index in enumerate(evident)
        )
        for one in self.asked(result, edit):
            which = one.candidate - len(candidates)
            found = edit.asked[which].answers[0]
            row = replace(rois[0], rank=len(rois) + 1, candidate=one.candidate, score=found.score, copies=2)
            rois += (
                replace(row, box=found.box, detected=False, excluded=False, asked=which, unshown="asked"),
            )
        return rois, self.judge(pipeline, result, evidence, edit)

    def judge(self, pipeline, result, evidence, edit):
        candidates = result.evidence_candidates
        evident = np.flatnonzero(candidates.scores > evidence.score)
        evident = np.array([k for k in evident if not (edit and edit.leaves_out(k))], np.int64)
        asked = [one.candidate for one in self.asked(result, edit)]
        evident = np.array([*evident, *asked], np.int64)
        probability = len(evident) / (CANDIDATES + len(asked))
        rows = np.zeros((evidence.batch_size, 5), np.float32)
        return ImageVerdict(
            logits=np.array([0, -9, len(evident) - 3], np.float32),
            probabilities=np.array([1 - probability, 0.2, probability], np.float32),
            batch=RoiBatch(rows, np.zeros(len(rows), np.int64), evident),
            settings=evidence,
            basis="edited" if edit else pipeline.evidence_basis(evidence),
            edit=edit or None,
        )

    def edit_picture(self, pipeline, volume, result, detections, request):
        """Fill the box around what was asked for with 7; the upper left is no lung, -600 HU are too few."""
        self.edits.append(request)
        yield Progress(0, 1, "Looking for healthy lung")
        if request.regions:
            left, top, right, bottom = (int(edge) for edge in request.regions[0][1])
        else:
            across, down = zip(*request.polygon, strict=True)
            left, top, right, bottom = int(min(across)), int(min(down)), int(max(across)), int(max(down))
        if (left, top) == (0, 0):
            raise SettingsError("There is hardly any lung in this area.")
        if request.level_hu == -600:
            raise SettingsError("The lung of this area is as dense as -600 HU already.")
        before = volume.voxels[result.slice_index]
        area = np.zeros(before.shape, bool)
        area[top:bottom, left:right] = True
        level = request.level_hu if request.kind == "plant" else None
        after = np.where(area, 7, before).astype(np.int16)
        yield EditedPicture(request.kind, result.slice_index, "a drawn area", before, after, area, 1, level)

    def picture_effect(self, pipeline, volume, result, detections, evidence, edited):
        """Give what the slice gives: the class halves, and each of two shams changes the logit by 0.1."""
        shown = self.shown(pipeline, volume, result, detections, evidence, edit=None)

        def outcome(logit, probability):
            return PictureOutcome(np.zeros(3), np.full(3, 0.5), logit, probability, 100, 50.0)

        region = RegionChange("lesion", (30, 20, 40, 30), None, 0.9, None, inside=True)
        found = PictureEffect(
            edited, "ill", outcome(1.0, 0.9), outcome(-1.0, 0.2), shown, shown, (region,), (), (), 2, 0
        )
        yield found
        for number in range(2):
            yield Progress(number, 2, f"Sham heal {number + 1}")
            while self.gate is not None and not self.gate.wait(0.005):
                yield Progress(number, 2, "waiting")
            self.backbone_calls.append(edited.slice_index)
            found = replace(found, shams=(*found.shams, outcome(1.1, 0.9)))
            yield found

    def needs_backbone(self, pipeline, result):
        return self.maps > 0 and not result.features

    def ask(self, pipeline, volume, result, box):
        if self.needs_backbone(pipeline, result):
            yield Progress(0, 1, f"Slice {result.slice_index + 1} again")
            while self.gate is not None and not self.gate.wait(0.005):
                yield Progress(0, 1, "waiting")
            self.backbone_calls.append(result.slice_index)
            yield replace(result, features={"0": np.zeros(self.maps, np.float16)})
        self.asks.append((tuple(box), threading.current_thread().name))
        answer = AskedAnswer(label=1, score=0.6, logit=0.0, deltas=(0.0,) * 4, box=tuple(box))
        yield AskedRegion(box=tuple(box), proposal=tuple(box), answers=(answer,))

    def with_evidence(self, pipeline, volume, result, detections, evidence, *, shown, edit=None):
        kept = np.flatnonzero(result.detection_candidates.scores > detections.score)
        rois, verdict = self.judged(pipeline, result, kept, evidence, edit)
        probabilities = tuple(float(p) for p in verdict.probabilities)
        summary = replace(shown.summary, probabilities=probabilities, edited=bool(edit))
        return shown.changed(rois=rois, verdict=verdict, summary=summary, asked=self.asked(result, edit))

    def explain(self, pipeline, volume, result, shown, way):
        """Each region contributes its score; the first two are a lesion without which the verdict changes."""
        self.explained.append((shown.slice_index, way))
        yield Progress(0, 1, "Explaining")
        while self.reason_gate is not None and not self.reason_gate.wait(0.005):
            yield Progress(0, 1, "waiting")
        yield make_reason(shown, way)

    def explain_region(self, pipeline, volume, result, detections, roi):
        """Mask logits first, then cells that add up to the logit, then the rest."""
        self.pixels.append((result.slice_index, roi.candidate, threading.current_thread().name))
        parts = make_region_pixels(roi, result.placement)
        for done, part in enumerate(parts):
            yield Progress(done, len(parts), "Pixels")
            while done and self.pixel_gate is not None and not self.pixel_gate.wait(0.005):
                yield Progress(done, len(parts), "waiting")
            yield part

    def stability(self, pipeline, volume, index, detections, evidence):
        self.steadied.append((index, threading.current_thread().name))
        for done in range(8):
            yield Progress(done, 8, "Changes")
            while done and self.pixel_gate is not None and not self.pixel_gate.wait(0.005):
                yield Progress(done, 8, "waiting")
        logits = np.array([[-1.0, -9.0, k - 2.0] for k in range(8)], np.float32)
        yield Stability(tuple("abcdefgh"), logits, (), tuple(30.0 + k for k in range(8)), True)

    def scan_stability(self, pipeline, volume, summaries, detections, evidence):
        """Of three slices one or two look ill, and the mirror image turns the verdict."""
        self.steadied.append((tuple(s.slice_index for s in summaries), threading.current_thread().name))
        for done in range(24):
            yield Progress(done, 24, "Changes")
            while done and self.pixel_gate is not None and not self.pixel_gate.wait(0.005):
                yield Progress(done, 24, "waiting")
        ill, verdicts = (2,) * 7 + (1,), ("ill",) * 7 + ("uncertain",)
        changes = (*"abcdefg", "mirror image")
        yield ScanStability((0, 2, 4), changes, tuple(160.0 + k for k in range(8)), 2, ill, "ill", verdicts)

    def lesions(self, pipeline, volume, results, detections):
        self.joined.append((tuple(sorted(results)), detections, threading.current_thread().name))
        labels = np.zeros(volume.voxels.shape, np.uint8)
        for index, result in sorted(results.items()):
            yield Progress(index, len(results), "Lesions")
            boxes, scores = result.detection_candidates.boxes, result.detection_candidates.scores
            for x1, y1, x2, y2 in boxes[scores > detections.score].astype(int):
                labels[index, y1:y2, x1 : x2 - 3] = 1  # apart from the next
        yield from burden(volume, labels)

    def lesion_regions(self, shown, candidate):
        return lesion_regions(shown, candidate)

    def sensitivity(self, pipeline, result, verdict):
        yield Progress(0, 1, "Class along the thresholds")
        yield make_sensitivity(result.slice_index, verdict)

    def summarise(self, pipeline, volume, result, detections, evidence, *, edit=None):
        edited = {"edit": edit} if edit else {}
        return self.show(pipeline, volume, result, detections, evidence, **edited).summary

    def can_show(self, result, detections):
        wanted = np.flatnonzero(result.detection_candidates.scores > detections.score)
        return self.maps == 0 or bool(result.features) or result.mask_cache.keys() >= set(wanted.tolist())

    def scan_verdict(self, summaries, *, basis, control="Control", **_known):
        self.controls.add(control)
        summaries = list(summaries)
        basis = "edited" if any(s.edited for s in summaries) else basis
        rows = [s.probabilities for s in summaries if s.probabilities is not None]
        if not rows:
            return None
        mean = tuple(float(v) for v in np.mean(rows, axis=0))
        used = tuple(range(len(rows)))
        return ScanVerdict(mean, int(np.argmax(mean)), used, "Mean of the slices.", basis)


def make_region_pixels(roi, placement):
    """Make the maps of a region as they become known; its logit is 2, and each cell gives 2/49 of it."""
    box = np.array(roi.box, np.float32)
    x1, y1, x2, y2 = (int(edge) for edge in roi.box)
    mask = RegionMap("mask", np.full((y2 - y1, x2 - x1), 3.0, np.float32), (x1, y1, x2, y2), kind="mask")
    pixels = np.zeros((placement.size, placement.size))
    pixels[y1:y2, x1:x2] = 0.01
    first = RegionPixels(
        roi=roi, proposal=box, logit=2.0, mask=mask, cells=None, grid=box, fixed=None, found=None, score=0.9,
        pixels=None, healed=None, error=None, steps=0, filling=None, why_grey="", placement=placement,
    )  # fmt: skip
    cells = replace(first, cells=np.full((7, 7), 2 / 49))
    path = replace(cells, pixels=pixels, healed=0.5, error=0.015, steps=20, filling="texture")
    return first, cells, path, replace(path, fixed=np.eye(6), found=-0.5 * np.eye(6))


def make_reason(shown, way="integrated_gradients", **changes):
    """Make a reason in which each region contributes its score to COVID-19, and half of that to Other."""
    rois = shown.evidence_rois
    scores = np.array([roi.score for roi in rois]).reshape(-1, 1)
    values = scores * [-1.0, 0.5, 1.0]
    logits = np.array([0.0, -1.0, 2.0]) if len(rois) else np.array([0.0, -1.0, -2.0])
    candidates = tuple(roi.candidate for roi in rois)

    def group(rows, **fields):
        numbers = tuple(candidates[k] for k in rows)
        return Group(rois[rows[0]].rank, numbers, values[list(rows)].sum(axis=0), **fields)

    groups, carriers = {"region": tuple(group([k]) for k in range(len(rois)))}, {}
    lesion = range(min(2, len(rois)))
    if len(rois) > 2:
        groups["lesion"] = group(list(lesion)), group(list(range(2, len(rois))), rest=True)
        carriers["lesion"] = (None, None, Carriers((0,), 0.9, np.array([1.0, 0.0, -1.0])))
    decisive = DecisiveRegions(
        (1,), tuple(candidates[k] for k in lesion), np.array([1.0, 0, -1]), np.array([0.0, 0, 1]), True
    )
    fields = {
        "slice_index": shown.slice_index,
        "way": way,
        "outputs": IMAGE_CLASSES,
        "calibration": None,
        "logits": logits,
        "baseline": logits - values.sum(axis=0),
        "candidates": candidates,
        "ranks": tuple(roi.rank for roi in rois),
        "values": values if len(rois) else None,
        "groups": groups,
        "carriers": carriers,
        "verdict": 2 if len(rois) > 2 else None,
        "without": decisive if len(rois) > 2 else None,
        "alone": decisive if len(rois) > 2 else None,
        "lesions": True,
        "references": 32,
    }
    return SliceReason(**{**fields, **changes})


def make_sensitivity(slice_index, verdict):
    """Make a class that turns at a score of one half, and stays along NMS."""
    places = np.linspace(0, 1, 11)
    turning = np.where(places[:, None] < 0.5, [0.0, -1.0, 2.0], [1.0, -1.0, -2.0])
    usual = places < 0.2

    def curve(logits, flips, now):
        return Curve(places, logits, np.full(11, 6), usual, flips, now, 0.0)

    return Sensitivity(
        slice_index,
        verdict.settings,
        IMAGE_CLASSES,
        None,
        curve(turning, (5,), max(0.0, verdict.settings.score)),
        curve(np.tile(turning[:1], (11, 1)), (), 0.8),
    )


def make_verdict(**changes):
    """Make the verdict of an ill scan of calibrated weights."""
    fields = {
        "probabilities": (0.05, 0.4, 0.9),
        "class_index": None,
        "slices_used": (1, 3, 4),
        "rule": "Mean of the slices.",
        "basis": "trained",
        "verdict": "ill",
        "lung_slices": 128,
        "ill_slices": 90,
        "control_rate": 0.06,
        "lesion_ml": 168.2,
        "lung_ml": 4200.0,
        "kind": "undecided",
        "deciding": (3, 4, 1),
        "verdict_rule": "Ill where more slices look ill than in controls and at least 1 ml is marked.",
        "checked": ScanCheck(scans=40, right=36, low=0.763, high=0.972),
        "mostly": "lower",
    }
    return ScanVerdict(**{**fields, **changes})


def warning(text="One slice is missing."):
    return Problem("warning", text, "Distances use the gaps as they are.", ("im7.dcm",))


@dataclass
class FakeExporter:
    """Writes a line of text per slice; ``gate`` holds it back until it is set."""

    jobs: list = field(default_factory=list)
    gate: threading.Event | None = None
    closed: int = 0

    def targets(self, job):
        request = job.request
        if request.kind == "png" and request.slices != "current":
            return tuple(request.target / f"slice_{k:04d}.png" for k in job.slices)
        if request.kind == "plots":
            return (request.target / "plot.png",)
        return (request.target,)

    def export(self, job):
        self.jobs.append(job)
        try:
            for path in self.targets(job):
                yield Progress(0, len(job.slices), "Exporting")
                while self.gate is not None and not self.gate.wait(0.005):
                    yield Progress(0, 0, "waiting")
                if not path.parent.is_dir():
                    raise ExportError("The folder does not exist. Choose another.")
                path.write_text("x")
                yield path
        finally:
            self.closed += 1
