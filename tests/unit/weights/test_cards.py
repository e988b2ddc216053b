"""A card that no network could follow is refused, with the field, what it holds and what it may hold."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from model_core.base.errors import WeightsError
from model_core.base.references import References
from model_core.cli.main import main
from model_core.weights.card import ModelCard, former_settings, read_card
from model_core.weights.store import shipped


@pytest.fixture
def values(tiny_weights):
    return json.loads((tiny_weights / "tiny-s.json").read_text("utf-8"))


def changed(values, field, value):
    values = copy.deepcopy(values)
    *parts, last = field.split(".")
    inside = values
    for part in parts:
        inside = inside[part]
    inside[last] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("architecture.kind", "segmenter", r'architecture\.kind is "segmenter".*"single_shot"'),
        ("architecture.backbone", "resnet101", r'architecture\.backbone is "resnet101".*"resnet34"'),
        ("detections.scoring", "Softmax", r'detections\.scoring is "Softmax".*"softmax" or "sigmoid"'),
        ("evidence.scoring", None, r"evidence\.scoring is null"),
        ("evidence.replication", "insertion", r'evidence\.replication .*"cut_points" or "insert"'),
        ("detections.mask_scale", "logits", r"detections\.mask_scale"),
        ("detections.logit_rule", 1, r"detections\.logit_rule is 1"),
        ("input.outside", "water", r"input\.outside"),
        ("input.grey", "guess", r"input\.grey"),
        ("input.size", 500, r"input\.size is 500.*multiple of 32"),
        ("input.size", 0, r"input\.size is 0"),
        ("input.size", 128.5, r"input\.size is 128\.5.*whole number"),
        ("input.size", True, r"input\.size is true"),
        ("input.low_hu", float("nan"), r"input\.low_hu is NaN"),
        ("input.mean", [0.4, 0.4], r"input\.mean .*3"),
        ("input.std", [0.2, float("inf"), 0.2], r"input\.std is Infinity"),
        ("input.std", [0.2, 0.0, 0.2], r"input: std"),
        ("input.high_hu", -2000.0, r"input: .*window"),
        ("detections.score", float("-inf"), r"detections\.score is -Infinity"),
        ("detections.score", "0.5", r'detections\.score is "0\.5".*number'),
        ("detections.nms_iou", 3.0, r"detections: .*IoU"),
        ("detections.temperature", 10**400, r"detections\.temperature"),
        ("detector.rpn_post_nms", 0, r"detector: rpn_post_nms"),
        ("detections.join_touching", "yes", r'detections\.join_touching is "yes".*true or false'),
        ("architecture.anchor_sizes", [], r"architecture: Anchor sizes"),
        ("region_classes", ["GGO", "Consolidation"], r"region_classes has 2 names for the 1 lesion"),
        ("image_classes", ["Control", "COVID-19"], r"image_classes has 2 names for 3"),
        ("image_classes", "COVID-19", r"image_classes .*list"),
        ("training", [], r"training is \[\].*object"),
        ("detections.shape", 1, r"detections\.shape is unknown"),
    ],
)
def test_a_field_that_no_network_could_follow(values, field, value, told):
    with pytest.raises(WeightsError, match=told):
        ModelCard.from_json(changed(values, field, value))


def test_a_segmentation_card_with_image_classes(tiny_weights):
    values = json.loads((tiny_weights / "tiny.json").read_text("utf-8"))
    with pytest.raises(WeightsError, match="image_classes has 1 names for 0"):
        ModelCard.from_json(changed(values, "image_classes", ["COVID-19"]))


def test_a_missing_field_is_named(values):
    del values["architecture"]["kind"]
    with pytest.raises(WeightsError, match=r"architecture\.kind is missing"):
        ModelCard.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "[]", "3", '{"name": ', "[" * 100_000])
def test_what_is_no_card(text):
    with pytest.raises(WeightsError, match="card is damaged"):
        ModelCard.from_json(text)


def test_what_is_allowed_stays(values):
    """No NMS is null; whole numbers are numbers; what a card says besides is free."""
    for field, value in (("detections.nms_iou", None), ("input.low_hu", -1000), ("metrics", {"auc": [None]})):
        card = ModelCard.from_json(changed(values, field, value))
        assert ModelCard.from_json(card.to_json()) == card


def test_what_an_earlier_version_did_besides_is_left_out_and_told(values):
    plain = ModelCard.from_json(changed(values, "notes", "Not validated."))
    for unused in ({"mirror": False}, {"mask_box_scale": 1.0}):
        detector = {**values["detector"], **unused}
        assert ModelCard.from_json(changed({**values, "notes": plain.notes}, "detector", detector)) == plain
    assert former_settings([plain]) == ""
    detector = {**values["detector"], "mirror": True, "mask_box_scale": 1.3}
    card = ModelCard.from_json(changed({**values, "notes": plain.notes}, "detector", detector))
    assert card.left_out == ("mirror", "mask_box_scale")
    assert dataclasses.replace(card, notes=plain.notes, left_out=()) == plain
    told = former_settings([plain, card, card])
    assert told.startswith(
        f"{card.name}: Thresholds and image class of these weights were chosen with the mean"
    )
    assert "its mirror image and masks in larger boxes" in told
    assert told.endswith("chosen anew (ctmasknet train export, train module-s).")
    assert card.notes == f"Not validated. {told.removeprefix(f'{card.name}: ')}"
    written = ModelCard.from_json(card.to_json())
    assert written == card, "noted once"
    assert former_settings([written]) == told, "a card that was written again still says it"
    boxes = {**values["detector"], "mask_box_scale": 1.3}
    told = former_settings([ModelCard.from_json(changed(values, "detector", boxes))])
    assert ": Thresholds of these weights" in told, "masks do not reach the class"


def test_references_are_kept_and_must_fit_module_s(values):
    kept = References.of(np.ones((2, 16, 5), np.float32), patients=2, sources=("made",))
    size = values["architecture"]["roi_batch_size"]
    fits = dataclasses.asdict(dataclasses.replace(kept, slices=2 * 16 // size, size=size))
    card = ModelCard.from_json(changed(values, "references", fits))
    assert ModelCard.from_json(card.to_json()) == card
    other = dataclasses.asdict(dataclasses.replace(kept, slices=4, size=8))
    with pytest.raises(WeightsError, match="references have 8 rows"):
        ModelCard.from_json(changed(values, "references", other))
    with pytest.raises(WeightsError, match="do not fit"):
        ModelCard.from_json(changed(values, "references", {**fits, "slices": 3}))


def test_every_shipped_card_loads():
    assert len(shipped()) == 9


def test_the_file_of_a_wrong_card_is_named(tiny_weights, values, tmp_path, capsys):
    for name in ("tiny-s.safetensors", "tiny.safetensors", "tiny.json"):
        (tmp_path / name).write_bytes((tiny_weights / name).read_bytes())
    (tmp_path / "tiny-s.json").write_text(changed(values, "detections.scoring", "tanh"), "utf-8")
    with pytest.raises(WeightsError, match=r"tiny-s\.json"):
        read_card(tmp_path / "tiny-s.json")
    assert main(["weights", "info", str(tmp_path / "tiny-s.safetensors")]) == 1
    assert "detections.scoring" in capsys.readouterr().err
