"""Decoders run elsewhere: a crash, an endless loop or nonsense ends one file, and the next one is read."""

import io
import os
import signal
import threading

import numpy as np
import pytest
from dicom_files import along_z, dataset
from pydicom.pixels import compress
from pydicom.uid import JPEGLSLossless

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import isolation, load, scan, wire
from model_core.read.dicom.header import read_header
from model_core.read.dicom.pixels import read_stored

NOISE = np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.int16)


def packed(path, picture=NOISE, **elements):
    item = dataset(picture, **elements)
    compress(item, JPEGLSLossless, generate_instance_uid=False)
    item.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def workers(monkeypatch):
    """Reader processes of this test's own."""
    own = isolation._Workers()
    monkeypatch.setattr(isolation, "_workers", own)
    yield own
    own.close()


def pids(workers):
    return [process._process.pid for process in workers._idle]


def read(path):
    header, _ = read_header(path)
    return next(iter(read_stored(header, [0])))


def test_one_process_serves_many_files(tmp_path, workers):
    first = packed(tmp_path / "a")
    np.testing.assert_array_equal(read(first), NOISE)
    started = pids(workers)
    for _ in range(5):
        read(first)
    assert pids(workers) == started
    assert started != [os.getpid()]


def test_a_crash_names_the_file_and_the_next_file_is_read(tmp_path, workers):
    path = packed(tmp_path / "a.dcm")
    read(path)
    (pid,) = pids(workers)
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(ReadError, match=r"The decoder crashed on a\.dcm"):
        read(path)
    np.testing.assert_array_equal(read(path), NOISE)
    assert pids(workers) != [pid]


def test_an_endless_loop_is_stopped(tmp_path, workers, monkeypatch):
    path = packed(tmp_path / "a.dcm")
    read(path)
    (pid,) = pids(workers)
    monkeypatch.setattr(isolation, "FILE_SECONDS", 0.5)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ReadError, match=r"Reading a\.dcm took longer than 0 s and was stopped"):
        read(path)
    # The other frames of such a file are not tried one by one; other files are.
    with pytest.raises(ReadError, match="took longer than"):
        read(path)
    assert pids(workers) == []
    monkeypatch.setattr(isolation, "FILE_SECONDS", 20.0)
    np.testing.assert_array_equal(read(packed(tmp_path / "b.dcm")), NOISE)


def test_a_crash_leaves_out_one_slice_of_a_series(tmp_path, workers, monkeypatch):
    for index, position in enumerate(along_z(3)):
        packed(tmp_path / f"{index}.dcm", ImagePositionPatient=list(position), InstanceNumber=index + 1)
    (entry,) = finish(scan(tmp_path))[-1].series
    real = isolation._Process.call

    def crash(self, request, **limits):
        if request["path"].endswith("1.dcm"):
            self._process.kill()
        return real(self, request, **limits)

    monkeypatch.setattr(isolation._Process, "call", crash)
    volume = finish(load(entry))[-1]
    assert volume.slices == 2
    assert any("The decoder crashed on 1.dcm" in problem.text for problem in volume.problems)


def many_frames(path, count=6):
    pictures = np.stack([NOISE + index for index in range(count)])
    item = dataset(pictures, NumberOfFrames=count)
    compress(item, JPEGLSLossless, generate_instance_uid=False)
    item.save_as(path, enforce_file_format=True)
    return pictures


def crash_at(monkeypatch, bad):
    """Let the process die when it comes to one of some frames."""
    real = isolation._Process.call

    def call(self, request, **limits):
        wanted = request["indices"]
        sound = [index for index in wanted if index not in bad]
        place = next((place for place, index in enumerate(wanted) if index in bad), None)
        if place is None:
            return real(self, request, **limits)
        answers = real(self, request | {"indices": sound[:place]}, **limits)
        self._process.kill()
        raise isolation._Broken(late=False, results=answers)

    monkeypatch.setattr(isolation._Process, "call", call)


@pytest.mark.parametrize("bad", [{0}, {3}, {1, 4}, {5}])
def test_a_crash_loses_one_frame_of_a_file(tmp_path, workers, monkeypatch, bad):
    pictures = many_frames(tmp_path / "a.dcm")
    (entry,) = finish(scan(tmp_path))[-1].series
    crash_at(monkeypatch, bad)
    volume = finish(load(entry))[-1]
    sound = [index for index in range(6) if index not in bad]
    np.testing.assert_array_equal(volume.voxels, pictures[sound] - 1024)
    (problem,) = (problem for problem in volume.problems if "cannot be read" in problem.text)
    assert problem.files == tuple(f"a.dcm#{index}" for index in sorted(bad))


def test_a_file_that_crashes_its_decoder_again_and_again_is_given_up(tmp_path, workers, monkeypatch):
    many_frames(tmp_path / "a.dcm")
    (entry,) = finish(scan(tmp_path))[-1].series
    crash_at(monkeypatch, {0, 1, 2, 3})
    with pytest.raises(ReadError, match="No slice of this series can be read: The decoder crashed"):
        finish(load(entry))


def test_without_processes_the_work_is_done_here(tmp_path, workers, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError("no process")

    monkeypatch.setattr(isolation.subprocess, "Popen", refuse)
    np.testing.assert_array_equal(read(packed(tmp_path / "a")), NOISE)
    assert "decoded in this one" in caplog.text


def test_many_threads_share_the_processes(tmp_path, workers):
    path = packed(tmp_path / "a")
    results = []
    threads = [threading.Thread(target=lambda: results.append(read(path))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    assert len(pids(workers)) <= isolation._PROCESSES


def test_uncompressed_files_start_no_process(tmp_path, workers):
    dataset(NOISE).save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path / "a"), NOISE)
    assert pids(workers) == []


@pytest.mark.parametrize("kind", ["u1", "<i2", ">u2", "f4", "f8", "?"])
def test_arrays_cross_unchanged(kind):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)[:, ::-1]
    stream = io.BytesIO()
    wire.send_array(stream, array)
    stream.seek(0)
    back = wire.receive_array(stream, wire.receive(stream), max_bytes=1000)
    np.testing.assert_array_equal(back, array)


def test_nonsense_is_not_believed():
    message = {"dtype": "<u2", "shape": [100, 100]}
    with pytest.raises(ValueError, match="asked for"):
        wire.receive_array(io.BytesIO(), message, max_bytes=100)
    with pytest.raises(ValueError, match="asked for"):
        wire.receive_array(io.BytesIO(), {"dtype": "O", "shape": [1]}, max_bytes=100)
    with pytest.raises(ValueError, match="too long"):
        wire.receive(io.BytesIO(b"\xff" * 8))
    assert wire.receive(io.BytesIO(b"\1")) is None
    assert wire.receive_array(io.BytesIO(b"\1"), {"dtype": "<u2", "shape": [2]}, max_bytes=100) is None
