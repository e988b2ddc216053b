"""Exact parameter, state and entry counts of every network of the papers (spec §2.1, §9)."""

import pytest
import torch

from model_core.base.settings import Architecture, SettingsError
from model_core.networks import build
from model_core.weights.names import published_name
from model_core.weights.recognise import recognise

# kind, backbone, truncation, region classes, branches -> parameters, state entries' total, number of entries
ROWS = [
    ("segmentation", "resnet50", 0, 3, 1, 31_728_744, 31_781_917, 360),
    ("segmentation", "resnet50", 0, 2, 1, 31_727_842, 31_781_015, 360),
    ("segmentation", "resnet18", 0, 2, 1, 14_511_074, 14_520_694, 144),
    ("segmentation", "resnet18", 1, 2, 1, 6_051_810, 6_056_305, 114),
    ("segmentation", "resnet18", 2, 2, 1, 3_919_330, 3_921_260, 84),
    ("segmentation", "resnet34", 0, 2, 1, 24_619_234, 24_636_294, 240),
    ("segmentation", "resnet34", 1, 2, 1, 11_439_330, 11_449_215, 198),
    ("segmentation", "resnet34", 2, 2, 1, 4_584_162, 4_587_378, 120),
    ("classifier", "resnet50", 0, 3, 1, 31_469_672, 31_522_845, 354),
    ("classifier", "resnet18", 0, 2, 1, 14_742_499, 14_752_119, 144),
    ("classifier", "resnet18", 1, 2, 1, 6_283_235, 6_287_730, 114),
    ("classifier", "resnet18", 2, 2, 1, 4_150_755, 4_152_685, 84),
    ("classifier", "resnet34", 0, 2, 1, 24_850_659, 24_867_719, 240),
    ("classifier", "resnet34", 1, 2, 1, 11_670_755, 11_680_640, 198),
    ("classifier", "resnet34", 2, 2, 1, 4_815_587, 4_818_803, 120),
    ("single_shot", "resnet18", 2, 2, 1, 4_511_717, 4_513_647, 90),
    ("single_shot", "resnet18", 1, 2, 1, 6_644_197, 6_648_692, 120),
    ("single_shot", "resnet34", 2, 2, 1, 5_176_549, 5_179_765, 126),
    ("single_shot", "resnet34", 1, 2, 1, 12_031_717, 12_041_602, 204),
    ("single_shot", "resnet18", 2, 2, 2, 6_135_279, 6_137_209, 98),
    ("single_shot", "resnet18", 1, 2, 2, 8_267_759, 8_272_254, 128),
    ("single_shot", "resnet34", 2, 2, 2, 6_800_111, 6_803_327, 134),
    ("single_shot", "resnet34", 1, 2, 2, 13_655_279, 13_665_164, 212),
]


def architecture(kind, backbone, truncation, classes, branches):
    large = (
        {"roi_batch_size": 256, "s_width": 1024} if backbone == "resnet50" and kind != "segmentation" else {}
    )
    return Architecture(
        kind=kind,
        backbone=backbone,
        truncation=truncation,
        region_classes=classes,
        branches=branches,
        **large,
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda r: "-".join(str(v) for v in r[:5]))
def test_counts_and_recognition(row):
    *about, parameters, state, entries = row
    with torch.device("meta"):
        network = build(architecture(*about))
    tensors = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(t.numel() for t in tensors.values()) == state
    assert len(tensors) == entries
    published = {published_name(name): t.shape for name, t in tensors.items()}
    assert recognise(published) == architecture(*about)


def test_anchors_of_the_released_code():
    network = build(Architecture(kind="segmentation"))
    generator = network.rpn.anchor_generator
    cells = generator.cell_anchors[0]
    pairs = [tuple(int(v) for v in (c[2] - c[0], c[3] - c[1])) for c in cells]
    expected = {
        0.1: [(6, 0), (12, 2), (26, 2), (50, 6), (102, 10)],
        0.25: [(4, 0), (8, 2), (16, 4), (32, 8), (64, 16)],
        0.5: [(2, 2), (6, 2), (12, 6), (22, 12), (46, 22)],
        1.0: [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32)],
        1.5: [(2, 2), (4, 4), (6, 10), (14, 20), (26, 40)],
        2.0: [(2, 2), (2, 6), (6, 12), (12, 22), (22, 46)],
    }
    assert pairs == [pair for ratio in (0.1, 0.25, 0.5, 1.0, 1.5, 2.0) for pair in expected[ratio]]
    features = network.features(torch.zeros(1, 3, 512, 512))
    assert features["0"].shape == (1, 256, 32, 32)
    assert len(cells) * 32 * 32 == 30_720


@pytest.mark.parametrize(
    "wrong",
    [
        {"backbone": "vgg16"},
        {"truncation": 3},
        {"backbone": "resnet50", "truncation": 1},
        {"region_classes": 1},
    ],
)
def test_impossible_architectures_are_refused(wrong):
    with pytest.raises(SettingsError):
        Architecture(kind="segmentation", **wrong)
