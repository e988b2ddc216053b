"""The window, the networks on a CPU, and all that thresholds make of their results do without torch."""

import os
import subprocess
import sys

PROGRAM = """
import dataclasses, sys
import numpy as np
import ctmasknet_gui.app, ctmasknet_gui.controller
from ctmasknet_gui.controller.ports import Engine
from model_core.base.settings import DetectionSettings
from model_core.engine import Look, ModuleS, Pipeline, run
from model_core.engine.evidence import judge
from model_core.phantom import make_phantom
from model_core.base.jobs import finish
from model_core.base.results import Candidates, SliceResult


class Backend:
    name, device = "test", "none"

    def look(self, picture):
        boxes = np.array([[10, 10, 60, 60], [12, 12, 60, 60], [80, 20, 120, 90]], np.float32)
        return Look(size=len(picture), maps={"0": picture[None, ::8, ::8]}, proposals=boxes)

    def regions(self, look, proposals, *, branch="detections"):
        count = len(proposals)
        return Candidates(
            proposals=proposals,
            boxes=proposals,
            deltas=np.ones((count, 4), np.float32),
            scores=np.linspace(0.9, 0.7, count, dtype=np.float32),
            logits=np.ones(count, np.float32),
            labels=np.ones(count, np.int64),
        )

    def masks(self, maps, boxes, labels, *, size):
        return np.full((len(boxes), 28, 28), 3, np.float32)

    def image_head(self, rows):
        return ModuleS(((np.ones((3, rows.size), np.float32), np.arange(3, dtype=np.float32)),))(rows)


engine = Engine()
card = next(card for card in engine.available() if card.architecture.has_image_head)
size = card.architecture.roi_batch_size
pipeline = Pipeline(backend=Backend(), cards=(card,), has_class=True)
volume, _ = make_phantom(slices=4, size=128)
(result,) = finish(run(pipeline, volume, [1]))
settings = DetectionSettings(score=0.5, nms_iou=0.5)
shown = engine.show(pipeline, volume, result, settings, pipeline.evidence)
assert len(shown.detections) == 2 and shown.masks.any() and shown.rois, shown
tighter = dataclasses.replace(pipeline.evidence, score=0.85)
assert len(judge(pipeline, result, tighter).batch.kept) == 1
summary = engine.summarise(pipeline, volume, result, settings, pipeline.evidence)
assert engine.scan_verdict([summary], basis="trained", control="Control") is not None
assert engine.can_show(result, settings)
pipeline = engine.load(())
assert pipeline.computes == "ONNX Runtime, CPU", pipeline.backend_note
(result,) = finish(run(pipeline, volume, [1]))
shown = engine.show(pipeline, volume, result, pipeline.detections, pipeline.evidence)
assert shown.verdict is not None
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "torchvision"))
assert not loaded, loaded[:5]
"""


def test_up_to_the_shown_slice_no_torch_is_imported():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
