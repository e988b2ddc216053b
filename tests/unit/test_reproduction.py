"""docs/reproduction.md: every command is one of ours, and every count in its tables is exact."""

import re
import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.base.settings import Architecture, InputSpec
from model_core.cli.main import build_parser
from model_core.data import read_segmentation
from model_core.networks import build
from model_core.train.examples import SegmentationExamples
from model_core.train.systems.presets import preset
from model_core.train.systems.trainable import classifier_moves, image_stage_moves, segmentation_stage_moves

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "reproduction.md").read_text("utf-8")
COMMANDS = [
    line.removeprefix("time ")
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
WEIGHTS = re.compile(r"runs/([^/]+)/([^/]+)-last\.safetensors")
# Names of tables, not of weights: any row of the table above stands for them.
PLACEHOLDERS = {"NAME", "SEG"}


@pytest.fixture(scope="module")
def parsed():
    parser = build_parser()
    found = []
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "ctmasknet"
        try:
            found.append(parser.parse_args(arguments))
        except SystemExit:
            pytest.fail(f"does not parse: {command}")
    return found


@pytest.fixture(scope="module")
def trainings(parsed):
    """Arguments of each training by the name of its weights, in the order of the document."""
    return {one.name: one for one in parsed if one.command == "train"}


def rows_of(header):
    """Rows of the table whose header line starts like this, as lists of cells."""
    lines = TEXT.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith(header)) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def architecture(name, trainings):
    """What the command that trains `name` builds."""
    one = trainings[name]
    if one.what == "classifier":
        base, *_ = WEIGHTS.findall(one.segmentation)
        shape = architecture(base[0], trainings)
        settings = preset(one.preset)
        return Architecture(
            kind="classifier",
            backbone=shape.backbone,
            truncation=shape.truncation,
            region_classes=shape.region_classes,
            roi_batch_size=one.roi_batch_size or settings.roi_batch_size,
            s_width=one.s_features or settings.s_width,
        )
    return Architecture(
        kind="segmentation" if one.what == "segmentation" else "single_shot",
        backbone=one.backbone,
        truncation=0 if one.backbone == "resnet50" else one.truncation,
        region_classes=3 if getattr(one, "mask_type", "merge") == "both" else 2,
        branches=getattr(one, "branches", 1),
    )


@cache
def network(shape):
    with torch.device("meta"):
        return build(shape)


def test_every_command_parses(parsed):
    assert len(parsed) > 45
    assert {one.command for one in parsed} == {"data", "train", "evaluate", "predict"}


def test_weights_are_used_after_they_were_trained(parsed):
    trained = set(PLACEHOLDERS)
    for one, command in zip(parsed, COMMANDS, strict=True):
        for folder, file in WEIGHTS.findall(command):
            assert folder == file
            assert file in trained, command
        if one.command == "train":
            assert one.name not in trained
            assert one.output.as_posix() == f"runs/{one.name}"
            trained.add(one.name)


def test_every_row_names_weights_of_a_command(trainings):
    named = set(re.findall(r"^\|[^|]*\| `([a-z0-9-]+)` ", TEXT, re.MULTILINE))
    assert named == {name for name in trainings if not name.startswith("p3-pre-")}


def test_parameter_counts(trainings):
    rows = rows_of("| model | `NAME` | parameters")
    assert len(rows) == 29
    for _, name, parameters, state, *_ in rows:
        built = network(architecture(name.strip("`"), trainings))
        assert sum(p.numel() for p in built.parameters()) == int(parameters.replace(" ", "")), name
        assert sum(t.numel() for t in built.state_dict().values()) == int(state.replace(" ", "")), name


def test_moving_counts(trainings):
    rules = {
        "S": lambda name: classifier_moves(name, "s"),
        "S+BN": lambda name: classifier_moves(name, "s_bn"),
        "all": lambda name: classifier_moves(name, "full"),
        "stage 1": segmentation_stage_moves,
        "stage 2": lambda name: image_stage_moves(name, "s_backbone"),
    }
    modes = {"S": "s", "S+BN": "s_bn", "all": "full"}
    rows = rows_of("| model | `NAME` | moves")
    assert len(rows) == 17
    for _, cell, moves, count, *_ in rows:
        name = cell.strip("`")
        if moves in modes:
            assert trainings[name].mode == modes[moves]
        built = network(architecture(name, trainings))
        moving = sum(p.numel() for key, p in built.named_parameters() if rules[moves](key))
        assert moving == int(count.replace(" ", "")), (name, moves)


def test_remarks_are_explained():
    explained = set(re.findall(r"^\| ([DN]\d+) \|", TEXT, re.MULTILINE))
    assert set(re.findall(r"\b[DN]\d+\b", TEXT)) == explained


@pytest.mark.parametrize("file", re.findall(r"`(?:pytest )?((?:tests|model_core)/[\w/]+\.py)", TEXT))
def test_files_it_points_to_exist(file):
    assert (ROOT / file).is_file()


@pytest.mark.parametrize(("low", "high", "shift"), [(-1250, 250, 0.0), (-1350, 150, -0.0667)])
def test_what_it_says_of_greys(tmp_path, low, high, shift):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(grey).save(tmp_path / "images" / "1_1.png")
    Image.fromarray(grey * 0).save(tmp_path / "masks" / "1_1.png")
    table = f"file\tapprox_hu_at_0\tapprox_hu_at_255\n1_1.png\t{low}\t{high}\n"
    (tmp_path / "index.tsv").write_text(table)
    examples = SegmentationExamples(
        read_segmentation(tmp_path), spec=InputSpec(size=16), mask_type="merge", min_area=100
    )
    found = examples[0].image
    np.testing.assert_allclose(found, np.clip(grey / 255 + shift, 0, 1), atol=1 / 3000 + 1e-4)
