"""A disk without room: one clear message per kind of file, nothing half written, finished files stay.

The system's limit on the size of a file stands in for the disk: writes fail in the same place, in Python and
in the libraries' own code alike.
"""

import contextlib

import numpy as np
import pytest
from PIL import Image

from model_core.base.errors import ExportError
from model_core.base.jobs import finish
from model_core.base.volume import Window
from model_core.export import export_slices, write_lesions, write_png, write_rois_csv
from model_core.export.plots import write_plot
from model_core.export.predictions import write_json

resource = pytest.importorskip("resource", reason="the system cannot limit the size of files")

NOISE = np.random.default_rng(0)


@contextlib.contextmanager
def room(size):
    """Let no file grow beyond a size in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def lesions(path, volume, _shown):
    write_lesions(path, volume, NOISE.integers(0, 3, volume.voxels.shape).astype(np.uint8))


def png(path, _volume, _shown):
    write_png(path, NOISE.integers(0, 256, (200, 200, 3)).astype(np.uint8))


def table(path, volume, shown):
    write_rois_csv(path, volume, [shown] * 50)


def plot(path, _volume, shown):
    write_plot(path, "score-histogram", shown, image_classes=("A", "B", "C"))


def document(path, _volume, _shown):
    write_json(path, {"rows": list(range(5000))})


WRITERS = [
    ("lesions.nii", lesions),
    ("lesions.nii.gz", lesions),
    ("slice.png", png),
    ("rois.csv", table),
    ("plot.png", plot),
    ("plot.svg", plot),
    ("predictions.json", document),
]


@pytest.mark.parametrize(("name", "write"), WRITERS, ids=[name for name, _ in WRITERS])
@pytest.mark.parametrize("size", [0, 1000])
def test_no_room(tmp_path, make_volume, make_shown, rectangle, name, write, size):
    volume = make_volume()
    shown = make_shown(volume, [rectangle(volume, (5, 20), (10, 30))])
    (tmp_path / "before.txt").write_text("stays")
    with room(size), pytest.raises(ExportError) as caught:
        write(tmp_path / name, volume, shown)
    assert name in caught.value.message
    assert "space" in caught.value.message or "too large" in caught.value.message
    assert "\n" not in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["before.txt"]
    write(tmp_path / name, volume, shown)
    assert (tmp_path / name).stat().st_size > 1000


def test_pictures_written_before_the_disk_was_full_stay(tmp_path, make_volume):
    volume = make_volume(shape=(3, 80, 80))
    volume.voxels[2] = NOISE.integers(-1000, 1000, (80, 80))
    job = export_slices(tmp_path, volume, [0, 1, 2], window=Window(1500, -600), scale=4)
    with room(20_000), pytest.raises(ExportError, match=r"slice.*3\.png' cannot be written"):
        finish(job)
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            picture.load()
