"""Data sets of phantom slices, as folders of pictures."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from model_core.phantom import make_phantom

sys.path.insert(0, str(Path(__file__).parent))
from phantom_pairs import grey, write_pairs


@pytest.fixture(scope="session")
def phantom():
    return make_phantom(slices=16, size=128)


@pytest.fixture
def pairs_folder(tmp_path, phantom):
    """``images/``, ``masks/`` and ``index.tsv`` of three phantom slices of two patients, the first clean."""
    return write_pairs(tmp_path / "pairs", phantom)


@pytest.fixture
def class_folder(tmp_path, phantom):
    """A folder per class with phantom slices."""
    volume, _ = phantom
    folder = tmp_path / "classes"
    for name, indices in (("normal", (1,)), ("other", (2,)), ("covid", (8, 10))):
        (folder / name).mkdir(parents=True)
        for index in indices:
            Image.fromarray(grey(volume.voxels[index])).save(folder / name / f"phantom_{index:03d}.png")
    return folder
