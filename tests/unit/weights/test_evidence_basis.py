"""Only what equals one paper's computation to the last setting is called published."""

from dataclasses import replace

import pytest

from model_core.base.settings import PAPERS, Architecture, DetectorSettings, EvidenceSettings, InputSpec
from model_core.engine.load import load_pipeline
from model_core.networks import ImageHead, build
from model_core.train.systems.presets import PRESETS
from model_core.weights.card import ModelCard, evidence_basis
from model_core.weights.store import card_for, save_weights, shipped

IMAGE_CLASSES = ("Control", "Common Pneumonia", "COVID-19")


def card(kind="classifier", *, detector=None, evidence=None, spec=None, **shape):
    """The card of a network of P2, or another one."""
    return ModelCard(
        name="net",
        title="Net",
        architecture=Architecture(kind=kind, **shape),
        region_classes=("Lesion",),
        image_classes=() if kind == "segmentation" else IMAGE_CLASSES,
        detector=detector or DetectorSettings(),
        evidence=evidence or EvidenceSettings(),
        input=spec or InputSpec(),
    )


def basis(one, *, evidence=None):
    return evidence_basis(one, one, evidence or one.evidence)


P1 = {"backbone": "resnet50", "truncation": 0, "roi_batch_size": 256, "s_width": 1024}
SINGLE = {"detector": DetectorSettings(rpn_pre_nms=2000), "evidence": EvidenceSettings(min_area=1e-5)}
PAPER_NETWORKS = [
    card(**P1, evidence=EvidenceSettings(batch_size=256)),
    card(**P1, region_classes=3, extra_pool=True, evidence=EvidenceSettings(batch_size=256)),
    *(card(backbone=body, truncation=cut) for body in ("resnet18", "resnet34") for cut in (0, 1, 2)),
    card(region_classes=3),
    *(card("single_shot", **SINGLE, truncation=cut, branches=count) for cut in (1, 2) for count in (1, 2)),
    card("single_shot", **SINGLE, backbone="resnet34"),
]


@pytest.mark.parametrize("one", PAPER_NETWORKS)
def test_the_networks_of_the_papers_are_published(one):
    assert basis(one) == "published"
    # Which RoIs are drawn twice is drawn anew each time in the released code; the other changes no class.
    free = replace(one.evidence, seed=5, temperature=1.7)
    assert basis(replace(one, evidence=free)) == "published"
    # The papers have pictures, no HU.
    assert basis(replace(one, input=InputSpec(low_hu=-1350, high_hu=150))) == "published"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_train_what_is_published(name):
    preset, paper = PRESETS[name], PAPERS[name]
    assert preset.detector == paper.detector
    assert (preset.roi_batch_size, preset.s_width) == (paper.evidence.batch_size, paper.s_width)


DETECTORS = [
    {"rpn_nms_iou": 0.7},
    {"rpn_pre_nms": 2000},
    {"rpn_post_nms": 300},
    {"rpn_min_size": 1e-3},
]
EVIDENCE = [
    {"score": 0.05},
    {"nms_iou": 0.5},
    {"nms_iou": None},
    {"replication": "insert"},
    {"scoring": "sigmoid"},
    {"min_area": 1e-5},
]
SHAPES = [
    {"anchor_sizes": (8, 16, 32, 64, 128, 256)},
    {"aspect_ratios": (0.5, 1.0, 2.0)},
    {"s_width": 256},
    {"region_classes": 4},
    {"extra_pool": True},
    {"backbone": "resnet50", "truncation": 0},  # with the N and R of P2
]
INPUTS = [{"outside": "air"}, {"grey": "estimate"}, {"size": 256}, {"mean": (0.5, 0.5, 0.5)}]


@pytest.mark.parametrize(
    "other",
    [
        *(card(detector=DetectorSettings(**one)) for one in DETECTORS),
        *(card(evidence=EvidenceSettings(**one)) for one in EVIDENCE),
        *(card(**one) for one in SHAPES),
        *(card(spec=InputSpec(**one)) for one in INPUTS),
        card(evidence=EvidenceSettings(batch_size=64), roi_batch_size=64),
        card("single_shot"),  # with the proposals of P2
        card("single_shot", **SINGLE, truncation=0),
        card("single_shot", **SINGLE, region_classes=3),
    ],
)
def test_whatever_differs_is_as_the_weights_were_trained(other):
    assert basis(other) == "trained"


def test_the_detector_of_a_pair_counts():
    s_alone = card()
    assert evidence_basis(card("segmentation"), s_alone, EvidenceSettings()) == "published"
    for own in (
        {"detector": DetectorSettings(rpn_post_nms=300)},
        {"spec": InputSpec(outside="air")},
        {"anchor_sizes": (8, 16, 32, 64, 128)},
    ):
        assert evidence_basis(card("segmentation", **own), s_alone, EvidenceSettings()) == "trained"


def test_other_evidence_than_the_card_defines_is_edited_even_where_it_is_that_of_a_paper():
    one = card(evidence=EvidenceSettings(nms_iou=0.5))
    assert basis(card(), evidence=EvidenceSettings(nms_iou=0.5)) == "edited"
    assert basis(one, evidence=EvidenceSettings()) == "edited"
    assert basis(one, evidence=replace(one.evidence, score=0.3)) == "edited"


def test_no_shipped_weights_claim_to_be_published():
    by_hash = {one.sha256: one for one in shipped()}
    heads = [one for one in by_hash.values() if one.image_classes]
    assert heads
    for head in heads:
        network = by_hash.get(head.base_sha256, head)
        assert evidence_basis(network, head, head.evidence) == "trained"


@pytest.mark.parametrize("kind", ["classifier", "single_shot"])
def test_files_as_released_are_published(kind):
    network = build(Architecture(kind=kind))
    one = card_for("released", network.state_dict())
    assert basis(one) == "published"


def test_a_whole_classifier_beside_other_masks_is_judged_by_itself(tmp_path, tiny_weights):
    whole = build(Architecture(kind="classifier", truncation=2))
    save_weights(tmp_path / "whole.safetensors", whole.state_dict(), card(truncation=2))
    names = [str(tiny_weights / "tiny.safetensors"), str(tmp_path / "whole.safetensors")]
    pipeline = load_pipeline(names, device="cpu")
    assert pipeline.passes == 2
    assert pipeline.evidence_basis(pipeline.evidence) == "published"
    # One that reads the regions of those masks is not, whatever its own card says of them.
    head = ImageHead(roi_batch_size=128, width=512, classes=3)
    tensors = {f"s2new.{name}": tensor for name, tensor in head.state_dict().items()}
    save_weights(tmp_path / "s.safetensors", tensors, card(truncation=2, spec=InputSpec(size=128)))
    pipeline = load_pipeline([names[0], str(tmp_path / "s.safetensors")], device="cpu")
    assert pipeline.passes == 1
    assert pipeline.evidence_basis(pipeline.evidence) == "trained"
    # Without a class nothing is published.
    masks_only = load_pipeline([names[0]], device="cpu")
    assert masks_only.evidence_basis(masks_only.evidence) is None
