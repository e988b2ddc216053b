"""Shared fixtures. The platform is set before Qt can be imported."""

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser):
    parser.addoption("--golden-dir", type=Path, default=SHARED / "golden", help="folder of golden cases")


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real CT data beside the checkout; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("real CT data (../shared/data) is not on this machine")
    return folder
