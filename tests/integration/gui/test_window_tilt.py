"""The tilt of a series is corrected on request, in the window and on the command line."""

import json

import numpy as np
import pydicom
import pytest

from ctmasknet_gui.controller.ports import Reader
from model_core.cli.main import main
from model_core.phantom import make_phantom, write_dicom

SLICES, SIZE = 8, 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tilted")
    for file in write_dicom(make_phantom(slices=SLICES, size=SIZE)[0], path):
        item = pydicom.dcmread(file)
        x, y, z = (float(value) for value in item.ImagePositionPatient)
        item.ImagePositionPatient = [x, y + 0.3 * z, z]
        item.save_as(file)
    return path


@pytest.fixture
def rig(make_app):
    return make_app(reader=Reader())


def test_the_menu_opens_the_corrected_series_beside_the_other(rig, folder):
    correct = rig.commands.correct_tilt
    assert not correct.isEnabled()
    rig.open(folder)
    plain = rig.state.case.volume
    assert correct.isEnabled()
    assert "areas and volumes hold, distances across slices" in rig.texts[0]
    correct.trigger()
    rig.settle()
    straight = rig.state.case.volume
    assert straight.title.endswith(", tilt corrected")
    assert straight.voxels.shape[1] > plain.voxels.shape[1]
    assert not straight.geometry.sheared
    assert not correct.isEnabled()
    assert rig.texts == []
    listed = rig.window.series.list
    assert listed.count() == 2
    assert listed.currentRow() == 1
    rig.window.use.open_series(plain.series_id)
    rig.settle()
    assert np.array_equal(rig.state.case.volume.voxels, plain.voxels)
    correct.trigger()
    rig.settle()
    assert listed.count() == 2


def test_a_case_of_a_corrected_series_corrects_it_again(rig, make_app, folder, tmp_path):
    rig.open(folder)
    rig.commands.correct_tilt.trigger()
    rig.settle()
    corrected = rig.state.case.volume
    rig.window.use.show_slice(2)
    rig.controllers.case_files.save(tmp_path / "straight.ctmn")
    rig.settle()
    later = make_app(reader=Reader())
    later.open(tmp_path / "straight.ctmn")
    assert np.array_equal(later.state.case.volume.voxels, corrected.voxels)
    assert later.state.display.slice_index == 2
    assert later.texts == []


def test_series_that_stand_straight_have_nothing_to_correct(rig, tmp_path):
    write_dicom(make_phantom(slices=SLICES, size=SIZE)[0], tmp_path / "case")
    rig.open(tmp_path / "case")
    assert rig.state.case.volume is not None
    assert not rig.commands.correct_tilt.isEnabled()


def test_the_command_line_corrects_and_otherwise_says_what_is_off(folder, tiny_weights, tmp_path, capsys):
    def predict(name, *options):
        command = ["predict", str(folder), "-o", str(tmp_path / name), "--device", "cpu", "--slices", "0:1"]
        assert main([*command, "--weights", str(tiny_weights / "tiny.safetensors"), *options]) == 0
        document = json.loads((tmp_path / name / "predictions.json").read_text())
        return document["series"], capsys.readouterr().err

    series, told = predict("plain")
    assert "gantry tilt" in told
    texts = [problem["text"] for problem in series["problems"]]
    assert any("sheared" in text for text in texts)
    assert any("gantry tilt" in text for text in texts)
    series, told = predict("straight", "--correct-tilt")
    assert told == ""
    assert series["size"][1] > SIZE
    assert {problem["level"] for problem in series["problems"]} == {"info"}
