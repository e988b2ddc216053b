"""A series is looked at while it is read: the wanted slice first, the same volume in the end."""

import threading
from pathlib import Path

import numpy as np
import pytest
from dicom_files import along_z, dataset, write_stack
from pydicom.pixels import compress
from pydicom.uid import JPEGLSLossless

from model_core.base.errors import ReadError
from model_core.base.jobs import Progress, finish
from model_core.base.volume import PartialVolume
from model_core.read import load, load_gradually, sandbox, scan
from model_core.read.dicom import filling
from model_core.read.dicom.pixels import import_decoders

SLICES = 60


@pytest.fixture
def compressed(tmp_path):
    """A series of compressed files; slice k holds k."""
    for index, position in enumerate(along_z(SLICES)):
        picture = np.full((8, 10), index, np.int16)
        item = dataset(picture, ImagePositionPatient=list(position), InstanceNumber=index + 1)
        compress(item, JPEGLSLossless, generate_instance_uid=False)
        item.save_as(tmp_path / f"{index:02d}.dcm", enforce_file_format=True)
    return tmp_path


def cut(path):
    path = Path(path)
    path.write_bytes(path.read_bytes()[:-40])


def entry_of(path):
    (entry,) = finish(scan(path))[-1].series
    return entry


class Gates:
    """Hold the decoders back until a slice was looked at; files are numbered from the feet on."""

    def __init__(self, monkeypatch):
        self.first, self.last = threading.Event(), threading.Event()
        decode = filling.read_each

        def held(header, frames):
            index = SLICES - 1 - int(header.path.stem)
            assert index == SLICES // 2 or self.first.wait(60)
            assert index != SLICES - 1 or self.last.wait(60)
            return decode(header, frames)

        monkeypatch.setattr(filling, "read_each", held)


def test_the_wanted_slice_comes_first_and_the_rest_follows(compressed, monkeypatch):
    entry = entry_of(compressed)
    gates = Gates(monkeypatch)
    seen = []
    for item in load_gradually(entry):
        if isinstance(item, PartialVolume):
            if not seen:
                assert np.flatnonzero(item.ready).tolist() == [SLICES // 2], "before any other"
                gates.first.set()
            assert item.ready[item.wanted]
            assert not item.ready[SLICES - 1], "before all is read"
            seen.append((item.wanted, item.volume.voxels[item.wanted].copy()))
            item.wanted = [5, 50, 5, 5][len(seen) - 1]
            if len(seen) == 4:
                gates.last.set()
    assert [wanted for wanted, _ in seen] == [SLICES // 2, 5, 50, 5]
    volume = finish(load(entry))[-1]
    np.testing.assert_array_equal(item.voxels, volume.voxels)
    for wanted, picture in seen:
        np.testing.assert_array_equal(picture, volume.voxels[wanted])


def test_a_slice_that_cannot_be_read_is_left_out_in_the_end(compressed):
    entry = entry_of(compressed)
    cut(entry.files[SLICES // 2])
    *before, volume = load_gradually(entry)
    (partial,) = (item for item in before if isinstance(item, PartialVolume))
    assert not partial.ready[SLICES // 2]
    assert partial.volume.slices == SLICES
    assert volume.slices == SLICES - 1
    assert [problem.code for problem in volume.problems] == ["unreadable_slices", "gap"]


def test_a_series_of_which_nothing_can_be_read_says_so(compressed):
    entry = entry_of(compressed)
    for path in entry.files:
        cut(path)
    with pytest.raises(ReadError, match="No slice of this series can be read"):
        finish(load_gradually(entry))


@pytest.mark.parametrize(("after", "shown"), [(0.0, 1), (1e9, 0)])
def test_uncompressed_slices_are_shown_early_only_where_the_disk_is_slow(tmp_path, monkeypatch, after, shown):
    monkeypatch.setattr(filling, "_PARTIAL_AFTER_SECONDS", after)
    write_stack(tmp_path, along_z(40))
    items = list(load_gradually(entry_of(tmp_path)))
    assert sum(isinstance(item, PartialVolume) for item in items) == shown


def test_values_that_are_fitted_in_the_end_are_not_shown_before(tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "_PARTIAL_AFTER_SECONDS", 0.0)
    write_stack(tmp_path, along_z(4), Modality="MR", RescaleSlope="0.25")
    items = list(load_gradually(entry_of(tmp_path)))
    assert not any(isinstance(item, PartialVolume) for item in items)


def test_progress_counts_every_slice(compressed):
    steps = [item for item in load_gradually(entry_of(compressed)) if isinstance(item, Progress)]
    assert [step.done for step in steps] == list(range(SLICES + 1))


def test_processes_can_be_started_before_there_is_a_file(qtbot, monkeypatch, compressed):
    mine = sandbox.Sandbox()
    monkeypatch.setattr(sandbox, "shared", mine)
    mine.warm_up(import_decoders)
    qtbot.waitUntil(lambda: len(mine.pids) == sandbox.PROCESSES, timeout=60_000)
    started = set(mine.pids)
    finish(load(entry_of(compressed)))
    assert set(mine.pids) == started
    mine.close()
