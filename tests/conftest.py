"""Shared fixtures. The platform is set before Qt can be imported, what OpenMP does before torch.

Whole folders of tests run in two processes at a time where pytest-xdist is there, each on one thread; files
and tests that are named run in this one, where a debugger can be. ``-n 0`` is one process, ``-n 4`` four.
"""

import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["CTMASKNET_CACHE"] = "off"  # the user's own is not for tests
# Of torch, ONNX Runtime and numba: two test processes share the cores, and sums come out the same everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A hundred programs that tests start would each compile all modules again.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

from functools import partial
from pathlib import Path

import pytest

from model_core.base.cache import Cache
from model_core.base.threads import wait_without_spinning

wait_without_spinning()
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


PROCESSES = 2
# What a test waits for comes at once or, on a machine that does much else, late; never is rare.
PATIENCE_MS = 60_000


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Share the tests of whole folders among processes, unless the command line says how."""
    option = config.option
    if (
        not config.pluginmanager.hasplugin("xdist")
        or hasattr(config, "workerinput")
        or option.numprocesses is not None
        or option.dist != "no"
        or option.usepdb
        or option.collectonly
        or not all(Path(argument).is_dir() for argument in config.args)
    ):
        return
    option.numprocesses = min(PROCESSES, os.cpu_count() or 1)
    option.dist = "worksteal"


@pytest.fixture
def qtbot(qtbot):
    """Widgets and events; waits as long as a busy machine may need."""
    for name in ("waitUntil", "waitSignal", "waitSignals", "waitExposed"):
        setattr(qtbot, name, partial(getattr(qtbot, name), timeout=PATIENCE_MS))
    return qtbot


def pytest_addoption(parser):
    whole, small = SHARED / "golden", ROOT / "tests" / "golden" / "data"
    default = whole if whole.is_dir() else small
    parser.addoption("--golden-dir", type=Path, default=default, help="folder of golden cases")


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real CT data beside the checkout; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("real CT data (../shared/data) is not on this machine")
    return folder


class HeldGraphs(Cache):
    """Keeps graphs in memory, as the program keeps them in the user's cache."""

    def __init__(self):
        self._held = {}

    def read(self, key):
        return self._held.get(key)

    def write(self, key, data):
        if len(data) < 20 << 20:  # not those of shipped weights
            self._held[key] = data


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Folder with a small random segmentation model and a classifier that stores module S alone.

    Deterministic; what they find means nothing. Their graphs are made once, not by each test that loads them.
    """
    import torch

    from model_core.base.settings import Architecture, DetectionSettings, EvidenceSettings, InputSpec
    from model_core.engine import prepared
    from model_core.networks import ImageHead, build
    from model_core.weights.card import ModelCard
    from model_core.weights.store import save_weights

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(prepared, "_CACHE", HeldGraphs())
    folder = tmp_path_factory.mktemp("weights")
    spec = InputSpec(size=128)
    shape = {
        "truncation": 2,
        "anchor_sizes": (8, 16, 32),
        "aspect_ratios": (0.5, 1.0, 2.0),
        "roi_batch_size": 16,
        "s_width": 16,
    }
    torch.manual_seed(3)
    segmentation = ModelCard(
        name="tiny",
        title="Tiny random detector",
        architecture=Architecture(kind="segmentation", **shape),
        region_classes=("Lesion",),
        input=spec,
        detections=DetectionSettings(score=0.5, nms_iou=0.3, max_detections=20),
        licence="none",
    )
    network = build(segmentation.architecture)
    card = save_weights(folder / "tiny.safetensors", network.state_dict(), segmentation)
    head = ImageHead(roi_batch_size=16, width=16, classes=3)
    classifier = ModelCard(
        name="tiny-s",
        title="Tiny random classifier",
        architecture=Architecture(kind="classifier", **shape),
        region_classes=("Lesion",),
        image_classes=("Control", "Other (non-COVID)", "COVID-19"),
        input=spec,
        evidence=EvidenceSettings(batch_size=16),
        base_sha256=card.sha256,
    )
    tensors = {f"s2new.{name}": tensor for name, tensor in head.state_dict().items()}
    save_weights(folder / "tiny-s.safetensors", tensors, classifier)
    yield folder
    monkeypatch.undo()
