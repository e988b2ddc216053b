"""What the command line says where the system denies it something: one clear line, exit code 1."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from model_core.cli.main import main
from model_core.phantom import make_phantom, write_dicom

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="streams of Linux")
LONG = "n" * 300


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "pairs"
    for name, value in (("images", 90), ("masks", 1)):
        (folder / name).mkdir(parents=True)
        picture = np.zeros((40, 40), np.uint8)
        picture[5:25, 5:25] = value
        Image.fromarray(picture).save(folder / name / "a.png")
    return folder


@pytest.fixture
def series(tmp_path):
    write_dicom(make_phantom(slices=4, size=64)[0], tmp_path / "series")
    return tmp_path / "series"


@on_linux
@pytest.mark.parametrize("command", ["weights list", "info series", "predict series -o out"])
def test_a_closed_output_is_told_before_anything_is_done(series, tmp_path, command):
    program = [sys.executable, "-m", "model_core.cli.main", *command.split()]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "ctmasknet: the standard output is closed, so that nothing can be told: open it.\n"
    assert not (tmp_path / "out").exists()


@on_linux
@pytest.mark.parametrize(("streams", "code"), [(">&- 2>&-", 1), ("2>&-", 0), ("<&-", 0), (">/dev/full", 1)])
def test_other_streams_that_take_nothing_are_no_traceback(streams, code):
    program = [sys.executable, "-m", "model_core.cli.main", "weights", "list"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", *program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    told = "ctmasknet: the system reports: No space left on device.\n" if "full" in streams else ""
    assert done.stderr == told


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "series", "-o", LONG],
        ["predict", LONG, "-o", "out"],
        ["info", LONG],
        ["weights", "info", LONG],
        ["weights", "export", "lesion-r18t2", "-o", f"{LONG}.pth"],
        ["weights", "export", "lesion-r18t2", "-o", f"{LONG}.safetensors"],
        ["data", "check", "pairs", "-o", LONG],
        ["data", "check", LONG],
        ["evaluate", "segmentation", "--data", "pairs", "-o", LONG],
        ["evaluate", "segmentation", "--data", LONG, "-o", "out"],
        ["train", "segmentation", "--data", "pairs", "-o", LONG, "--size", "64", "--truncation", "2"],
    ],
    ids=lambda command: " ".join(word[:12] for word in command[:4]),
)
def test_names_of_300_letters(series, pairs, tmp_path, monkeypatch, capsys, tiny_weights, command):
    monkeypatch.chdir(tmp_path)
    if command[0] in ("predict", "evaluate"):
        command = [*command, "--weights", str(tiny_weights / "tiny.safetensors"), "--device", "cpu"]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("ctmasknet")
    assert "too long" in told
    assert {path.name for path in tmp_path.iterdir()} == {"series", "pairs"}
