"""Decoders run elsewhere: a crash, an endless loop or nonsense ends one file, and the next one is read."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from dicom_files import along_z, dataset
from PIL import Image
from pydicom.pixels import compress
from pydicom.uid import JPEGLSLossless

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import load, pictures, sandbox, scan
from model_core.read.dicom import pixels
from model_core.read.dicom.header import read_header
from model_core.read.dicom.pixels import read_stored
from model_core.read.errors import FileError
from model_core.read.volumes import series as volume_series

NOISE = np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.int16)

# Decoders that fail, in a module that the processes can import.
FAILING = """
import json, os, pathlib, signal, sys, time
import numpy
from model_core.read.dicom import pixels

ROW = numpy.zeros((1, 32), numpy.int16)
NONSENSE = {
    "nothing": [], "words": ["yes"], "rows": [ROW], "cube": [numpy.zeros((24, 32, 2), numpy.int16)],
    "flood": [numpy.zeros((24, 32), numpy.int16)] * 1000,
}

def decode(path, *, values, indices, palette):
    bad = json.loads((pathlib.Path(__file__).parent / "bad.json").read_text())
    for index in indices:
        if bad.get(path.name) == "hang":
            time.sleep(60)
        if str(bad.get(path.name)) in NONSENSE:
            yield from NONSENSE[bad[path.name]]
            continue
        if index in bad.get(path.name, ()):
            os.kill(os.getpid(), signal.SIGSEGV)
        yield from pixels.decode(path, values=values, indices=[index], palette=palette)

def tell(path, **arguments):
    path.with_suffix(".json").write_text(json.dumps(arguments))
    return NONSENSE["flood"][0]

def leave_a_folder(path):
    from model_core.read.sandbox import PrivateFolder
    folder = PrivateFolder()
    (folder.path / "copy").write_bytes(b"1")
    os.kill(os.getpid(), signal.SIGSEGV)

def chatter(path):
    print("among the answers?", flush=True)
    os.write(1, b"among the answers?")
    return {"streams": [os.fstat(number).st_mode for number in (0, 1, 2)]}
"""


def packed(path, picture=NOISE, **elements):
    item = dataset(picture, **elements)
    compress(item, JPEGLSLossless, generate_instance_uid=False)
    item.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def own(monkeypatch):
    """Processes of this test's own."""
    mine = sandbox.Sandbox()
    monkeypatch.setattr(sandbox, "shared", mine)
    yield mine
    mine.close()


@pytest.fixture
def failing(tmp_path, monkeypatch, own):
    """Decode with the failing decoders; call it with the frames of each file that end the process."""
    folder = tmp_path / "decoders"
    folder.mkdir()
    (folder / "failing.py").write_text(FAILING)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    sys.modules.pop("failing", None)
    import failing

    monkeypatch.setattr(pixels, "decode", failing.decode)

    def ends(**files):
        bad = {f"{name}.dcm": frames for name, frames in files.items()}
        (folder / "bad.json").write_text(json.dumps(bad))

    yield ends
    sys.modules.pop("failing", None)


def read(path):
    header, _ = read_header(path)
    return next(iter(read_stored(header, [0])))


def test_one_process_serves_many_files(tmp_path, own):
    first = packed(tmp_path / "a")
    np.testing.assert_array_equal(read(first), NOISE)
    started = own.pids
    for _ in range(5):
        read(first)
    assert own.pids == started
    assert started != [os.getpid()]


def test_a_crash_names_the_file_and_the_next_file_is_read(tmp_path, own, failing):
    failing(a=[0])
    path = packed(tmp_path / "a.dcm")
    with pytest.raises(ReadError, match=r"The decoder crashed on a\.dcm"):
        read(path)
    assert own.pids == []
    np.testing.assert_array_equal(read(packed(tmp_path / "b.dcm")), NOISE)


@pytest.mark.parametrize("answer", ["nothing", "words", "rows", "cube"])
def test_answers_that_are_no_frames_are_an_error_of_their_file(tmp_path, own, failing, answer):
    failing(a=answer)
    packed(tmp_path / "a.dcm")
    (entry,) = finish(scan(tmp_path))[-1].series
    with pytest.raises(ReadError, match="no answer that can be used"):
        finish(load(entry))


def test_pictures_and_volumes_of_another_shape_are_an_error_of_their_file(tmp_path, monkeypatch):
    """Whatever a decoder that was taken over answers, the error is one of the file."""
    Image.fromarray(NOISE.astype(np.uint8)).save(tmp_path / "a.png")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.stack([NOISE] * 3)), tmp_path / "b.mha")
    header = volume_series.read_header(tmp_path / "b.mha")
    for answer in (np.zeros(5), np.zeros((2, 3, 4, 5)), {"a": 1}, "no", None, [[1, 2], [3]]):
        monkeypatch.setattr(sandbox, "call", lambda *_, **__: answer)  # noqa: B023
        for read_it in (pictures.read_picture, pictures.read_channels, volume_series.read_header):
            with pytest.raises(FileError):
                read_it(tmp_path / "a.png")
        with pytest.raises(FileError):
            volume_series.read_values(header)


def test_frames_that_nobody_asked_for_are_not_kept(tmp_path, own, failing):
    failing(a="flood")
    header, _ = read_header(packed(tmp_path / "a.dcm"))
    arguments = {"values": {}, "indices": [0], "palette": True}
    kept, error = own.run(pixels.decode, header.path, arguments, count=2, max_bytes=NOISE.nbytes)
    assert len(kept) == 2
    assert error is not None


def test_a_process_that_ended_while_it_was_idle_is_no_fault_of_the_next_file(tmp_path, own):
    path = packed(tmp_path / "a.dcm")
    read(path)
    (pid,) = own.pids
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    np.testing.assert_array_equal(read(path), NOISE)
    assert own.pids != [pid]


def test_an_endless_loop_is_stopped(tmp_path, own, failing, monkeypatch):
    failing(a="hang")
    path = packed(tmp_path / "a.dcm")
    monkeypatch.setattr(sandbox, "FILE_SECONDS", 1.0)
    with pytest.raises(ReadError, match=r"Reading a\.dcm took longer than 1 s and was stopped"):
        read(path)
    # The other frames of such a file are not tried one by one; other files are.
    monkeypatch.setattr(sandbox, "FILE_SECONDS", 60.0)
    with pytest.raises(ReadError, match="took longer than 1 s"):
        read(path)
    assert own.pids == []
    np.testing.assert_array_equal(read(packed(tmp_path / "b.dcm")), NOISE)


def test_a_process_that_does_not_even_listen_is_stopped(tmp_path, own, monkeypatch):
    path = packed(tmp_path / "a.dcm")
    read(path)
    (pid,) = own.pids
    monkeypatch.setattr(sandbox, "FILE_SECONDS", 0.4)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ReadError, match=r"Reading a\.dcm took longer than 0 s and was stopped"):
        read(path)
    assert own.pids == []


def test_a_crash_leaves_out_one_slice_of_a_series(tmp_path, failing):
    failing(**{"1": [0]})
    for index, position in enumerate(along_z(3)):
        packed(tmp_path / f"{index}.dcm", ImagePositionPatient=list(position), InstanceNumber=index + 1)
    (entry,) = finish(scan(tmp_path))[-1].series
    volume = finish(load(entry))[-1]
    assert volume.slices == 2
    assert any("The decoder crashed on 1.dcm" in problem.text for problem in volume.problems)


def many_frames(path, count=6):
    pictures = np.stack([NOISE + index for index in range(count)])
    item = dataset(pictures, NumberOfFrames=count)
    compress(item, JPEGLSLossless, generate_instance_uid=False)
    item.save_as(path, enforce_file_format=True)
    return pictures


@pytest.mark.parametrize("bad", [{0}, {3}, {1, 4}, {5}])
def test_a_crash_loses_one_frame_of_a_file(tmp_path, failing, bad):
    failing(a=sorted(bad))
    pictures = many_frames(tmp_path / "a.dcm")
    (entry,) = finish(scan(tmp_path / "a.dcm"))[-1].series
    volume = finish(load(entry))[-1]
    sound = [index for index in range(6) if index not in bad]
    np.testing.assert_array_equal(volume.voxels, pictures[sound] - 1024)
    (problem,) = (problem for problem in volume.problems if "cannot be read" in problem.text)
    assert problem.files == tuple(f"a.dcm#{index}" for index in sorted(bad))


def test_a_file_that_crashes_its_decoder_again_and_again_is_given_up(tmp_path, failing):
    failing(a=[0, 1, 2, 3])
    many_frames(tmp_path / "a.dcm")
    (entry,) = finish(scan(tmp_path / "a.dcm"))[-1].series
    with pytest.raises(ReadError, match="No slice of this series can be read: The decoder crashed"):
        finish(load(entry))


def test_a_crash_leaves_no_temporary_folder(tmp_path, failing, monkeypatch):
    from failing import leave_a_folder

    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    with pytest.raises(FileError, match="The decoder crashed"):
        sandbox.call(leave_a_folder, tmp_path / "a")
    assert list(place.iterdir()) == []


def test_nothing_of_the_patient_is_sent(tmp_path, failing, monkeypatch):
    from failing import tell

    header, _ = read_header(packed(tmp_path / "a.dcm", PatientName="SECRET^NAME", PatientID="SECRET-ID"))
    assert header.patient.name == "SECRET^NAME"
    monkeypatch.setattr(pixels, "decode", tell)
    read(header.path)
    sent = (tmp_path / "a.json").read_text()
    assert not {"patient", "concatenation", "path"} & set(json.loads(sent)["values"])
    assert "SECRET" not in sent


def test_what_a_library_prints_does_not_end_up_among_the_answers(tmp_path, failing):
    from failing import chatter

    assert len(sandbox.call(chatter, tmp_path / "a")["streams"]) == 3
    assert len(sandbox.call(chatter, tmp_path / "a")["streams"]) == 3


PROGRAM = """
import sys
from pathlib import Path
from model_core.base.jobs import finish
from model_core.read import load, scan
(entry,) = finish(scan(Path(sys.argv[1])))[-1].series
volume = finish(load(entry))[-1]
from model_core.read import sandbox
Path(sys.argv[2]).write_text(f"{volume.slices} {len(sandbox.shared.pids)}")
"""
CLOSING = """
import os, sys
os.closerange(int(sys.argv[1]), 3)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("way", ["-c", "-", "file"])
@pytest.mark.parametrize("streams", ["open", "closed"])
def test_programs_need_no_guard_and_no_standard_streams(tmp_path, way, streams):
    packed(tmp_path / "a.dcm")
    (tmp_path / "program.py").write_text(PROGRAM)
    started = {"-c": ["-c", PROGRAM], "-": ["-"], "file": [str(tmp_path / "program.py")]}[way]
    command = [sys.executable, *started, str(tmp_path / "a.dcm"), str(tmp_path / "out")]
    if streams == "closed":
        command = [sys.executable, "-c", CLOSING, "1" if way == "-" else "0", *command]
    environment = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).resolve().parents[2])}
    source = (tmp_path / "program.py").read_text() if way == "-" else ""
    subprocess.run(command, input=source, text=True, env=environment, check=True, timeout=120)
    assert (tmp_path / "out").read_text() == "1 1"


def test_without_processes_the_work_is_done_here(tmp_path, own, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError("no process")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    np.testing.assert_array_equal(read(packed(tmp_path / "a")), NOISE)
    assert "decoded in this one" in caplog.text


def test_many_threads_share_the_processes(tmp_path, own):
    path = packed(tmp_path / "a")
    results = []
    threads = [threading.Thread(target=lambda: results.append(read(path))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    assert 1 <= len(own.pids) <= sandbox.PROCESSES


def test_uncompressed_files_start_no_process(tmp_path, own):
    dataset(NOISE).save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path / "a"), NOISE)
    assert own.pids == []


@pytest.mark.parametrize("kind", ["u1", "<i2", ">u2", "f4", "f8", "?"])
def test_arrays_cross_unchanged(kind):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)[:, ::-1]
    pipe = io.BytesIO()
    sandbox.send(pipe, array)
    pipe.seek(0)
    np.testing.assert_array_equal(sandbox.receive(pipe, max_bytes=1000), array)


def message(head, rest=b""):
    data = json.dumps(head).encode()
    return io.BytesIO(len(data).to_bytes(8, "little") + data + rest)


def test_nonsense_is_not_believed():
    for head in ({"dtype": "<u2", "shape": [100, 100]}, {"dtype": "O", "shape": [1]}):
        with pytest.raises(ValueError, match="asked for"):
            sandbox.receive(message(head, bytes(20000)), max_bytes=100)
    with pytest.raises(ValueError, match="too long"):
        sandbox.receive(io.BytesIO(b"\xff" * 8))
    for cut in (io.BytesIO(b"\1"), message({"dtype": "<u2", "shape": [2]}, b"\1")):
        with pytest.raises(EOFError):
            sandbox.receive(cut, max_bytes=100)
