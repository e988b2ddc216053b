"""Shared fixtures. The platform is set before Qt can be imported, what OpenMP does before torch."""

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["CTMASKNET_CACHE"] = "off"  # the user's own is not for tests

from pathlib import Path

import pytest

from model_core.base.threads import wait_without_spinning

wait_without_spinning()

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


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


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Folder with a small random segmentation model and a classifier that stores module S alone.

    Deterministic; what they find means nothing.
    """
    import torch

    from model_core.base.settings import Architecture, DetectionSettings, EvidenceSettings, InputSpec
    from model_core.networks import ImageHead, build
    from model_core.weights.card import ModelCard
    from model_core.weights.store import save_weights

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
    return folder
