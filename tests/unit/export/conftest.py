"""A small volume with known pixels, and results drawn over it."""

import numpy as np
import pytest

from model_core.base.geometry import Geometry
from model_core.base.results import Detections, ImageVerdict, RoiBatch, RoiRow, ShownSlice, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import PatientText, Volume

AXIAL = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


@pytest.fixture
def make_volume():
    def make(shape=(3, 40, 50), spacing=(2.0, 0.7, 0.7), value=-600, **fields):
        voxels = np.full(shape, value, np.int16)
        geometry = Geometry(spacing, (10.0, 20.0, 30.0), AXIAL, native_flips=(True, False, False))
        defaults = {
            "slice_positions_mm": 30.0 - 2.0 * np.arange(shape[0]),
            "patient": PatientText(name="DOE^JANE", patient_id="PID-77", study_date="2020-01-01"),
        }
        title = fields.pop("title", "Chest 1.0")
        return Volume("abc123", title, voxels, geometry, **(defaults | fields))

    return make


@pytest.fixture
def make_shown():
    def make(volume, masks=(), labels=None, *, index=1, basis="published", verdict=True):
        height, width = volume.voxels.shape[1:]
        masks = np.array(masks, bool).reshape(len(masks), height, width)
        count = len(masks)
        labels = np.array([1] * count if labels is None else labels, np.int64)
        boxes = np.zeros((count, 4), np.float32)
        logits = np.full((height, width), np.nan, np.float32)
        for number, mask in enumerate(masks):
            ys, xs = np.nonzero(mask)
            boxes[number] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
            logits[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = np.linspace(-4, 6, np.ptp(xs) + 1)
        scores = np.linspace(0.95, 0.6, count).astype(np.float32)
        detections = Detections(
            indices=np.arange(count, dtype=np.int64),
            boxes=boxes,
            scores=scores,
            labels=labels,
            mask_boxes=boxes,
            mask_logits=np.zeros((count, 28, 28), np.float32),
            settings=DetectionSettings(),
        )
        rois = tuple(
            RoiRow(
                rank=rank + 1,
                candidate=100 + rank,
                score=0.9 / (rank + 1),
                label="Lesion",
                box=(1.0, 2.0, 11.25, 8.0),
                area_px=61.5,
                area_mm2=None if volume.geometry.pixel_area_mm2 is None else 30.13,
                copies=2,
                detected=rank == 0,
            )
            for rank in range(4)
        )
        probabilities = np.array([0.05, 0.25, 0.9], np.float32)
        found = ImageVerdict(
            logits=np.log(probabilities / (1 - probabilities)),
            probabilities=probabilities,
            batch=RoiBatch(np.full((8, 5), 0.5, np.float32), np.arange(8) // 2, np.arange(4)),
            settings=EvidenceSettings(batch_size=8),
            basis=basis,
        )
        pixels = int(masks.any(axis=0).sum()) if count else 0
        return ShownSlice(
            slice_index=index,
            detections=detections,
            masks=masks,
            logit_map=logits,
            rois=rois if verdict else (),
            verdict=found if verdict else None,
            summary=SliceSummary(index, count, pixels, None, tuple(map(float, probabilities))),
        )

    return make


@pytest.fixture
def rectangle():
    def make(volume, rows, columns):
        mask = np.zeros(volume.voxels.shape[1:], bool)
        mask[slice(*rows), slice(*columns)] = True
        return mask

    return make
