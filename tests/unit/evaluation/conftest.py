"""Data sets of phantom slices, as folders of pictures."""

import numpy as np
import pytest
from PIL import Image

from model_core.phantom import make_phantom

LOW, HIGH = -1350.0, 150.0
SLICES = (3, 6, 8, 10, 13)


def grey(hu):
    return np.clip(np.rint((hu.astype(np.float32) - LOW) / (HIGH - LOW) * 255), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def phantom():
    return make_phantom(slices=16, size=128)


@pytest.fixture
def pairs_folder(tmp_path, phantom):
    """``images/``, ``masks/`` and ``index.tsv`` of five phantom slices of two patients."""
    volume, labels = phantom
    folder = tmp_path / "pairs"
    rows = ["file\tpatient\tsource\tapprox_hu_at_0\tapprox_hu_at_255"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, index in enumerate(SLICES):
        name = f"slice_{index:03d}.png"
        Image.fromarray(grey(volume.voxels[index])).save(folder / "images" / name)
        mask = labels[index] if number else np.zeros_like(labels[index])
        Image.fromarray(mask).save(folder / "masks" / name)
        rows.append(f"{name}\tp{number % 2}\ts{number % 2}\t{LOW:g}\t{HIGH:g}")
    (folder / "index.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def class_folder(tmp_path, phantom):
    """A folder per class with phantom slices."""
    volume, _ = phantom
    folder = tmp_path / "classes"
    for name, indices in (("normal", (1, 14)), ("other", (2, 12)), ("covid", (6, 8, 10))):
        (folder / name).mkdir(parents=True)
        for index in indices:
            Image.fromarray(grey(volume.voxels[index])).save(folder / name / f"phantom_{index:03d}.png")
    return folder
