"""Boxes that are asked about, over a small phantom with small random networks."""

import dataclasses

import numpy as np
import pytest
import torch

from model_core.base.asked import AskedRegion
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress, finish
from model_core.base.results import SliceResult
from model_core.base.settings import DetectorSettings, EvidenceEdit
from model_core.engine import ask, judge, needs_backbone, run
from model_core.engine.load import load_pipeline
from model_core.engine.onnx_backend import OnnxBackend
from model_core.engine.pipeline import Pipeline
from model_core.engine.torch_backend import TorchBackend
from model_core.explain import show
from model_core.networks import build
from model_core.phantom import make_phantom
from model_core.weights.store import load_weights, save_weights


@pytest.fixture(scope="module")
def volume():
    return make_phantom(slices=6, size=96)[0]


@pytest.fixture(scope="module")
def pipeline(tiny_weights):
    names = [str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")]
    return load_pipeline(names, device="cpu")


@pytest.fixture(scope="module")
def result(pipeline, volume):
    return finish(run(pipeline, volume, [3]))[0]


@pytest.fixture
def looks(monkeypatch):
    calls = []
    for backend in (TorchBackend, OnnxBackend):

        def counted(self, picture, *, original=backend.look, **how):
            calls.append(picture.shape)
            return original(self, picture, **how)

        monkeypatch.setattr(backend, "look", counted)
    return calls


def proposal_of(result, candidate):
    """The proposal of a candidate, in slice pixels."""
    proposals = result.evidence_candidates.proposals
    return result.evidence_placement.to_slice(proposals[candidate : candidate + 1])[0].tolist()


def test_the_proposal_of_a_region_is_answered_as_in_the_run_and_no_backbone_runs(
    pipeline, volume, result, looks
):
    candidates = result.evidence_candidates
    assert not needs_backbone(pipeline, result)
    for number in np.flatnonzero(candidates.proposals.min(axis=1) >= 0)[:3]:
        items = list(ask(pipeline, volume, result, proposal_of(result, number)))
        assert [type(item) for item in items] == [AskedRegion]
        (answer,) = items[0].answers
        # The stored maps are float16.
        assert answer.score == pytest.approx(candidates.scores[number], abs=2e-3)
        np.testing.assert_allclose(answer.deltas, candidates.deltas[number], atol=2e-2)
        np.testing.assert_allclose(answer.box, candidates.boxes[number], atol=0.5)
        own = pipeline.mask_logits(result, np.array([number]))[0]
        np.testing.assert_allclose(answer.mask_logits, own, atol=0.05)
    assert looks == []


def test_given_up_maps_come_back_and_the_answer_is_the_same(pipeline, volume, result, looks):
    box = (10.0, 12.0, 40.0, 50.0)
    (known,) = ask(pipeline, volume, result, box)
    gone = dataclasses.replace(result, features={})
    assert needs_backbone(pipeline, gone)
    progress, back, answered = ask(pipeline, volume, gone, box)
    assert isinstance(progress, Progress)
    assert "Slice 4 again" in progress.text
    assert isinstance(back, SliceResult)
    assert back.features.keys() == result.features.keys()
    assert back.evidence_candidates is result.evidence_candidates
    assert answered.answers == known.answers
    assert np.array_equal(answered.answers[0].mask_logits, known.answers[0].mask_logits)
    assert len(looks) == 1


def test_class_table_and_mask_take_the_answer_in(pipeline, volume, result, looks):
    number = int(result.verdict.batch.kept[0])
    (region,) = ask(pipeline, volume, result, proposal_of(result, number))
    edit = EvidenceEdit().ask(region)
    verdict = judge(pipeline, result, pipeline.evidence, edit)
    assert not np.allclose(verdict.logits, result.verdict.logits)
    seen = show(pipeline, volume, result, pipeline.detections, pipeline.evidence, edit=edit)
    ((one, row),) = seen.asked_rois()
    assert row.score == pytest.approx(seen.rois[0].score, abs=2e-3)
    assert one.mask.shape == volume.voxels.shape[1:]
    assert one.candidate not in seen.detections.indices
    assert looks == []


def test_a_second_network_is_asked_anew_and_the_mask_is_the_detectors_for_the_same_box(
    tiny_weights, tmp_path, volume, looks
):
    head = load_weights(str(tiny_weights / "tiny-s.safetensors"))
    torch.manual_seed(8)
    other = build(head.card.architecture).state_dict()
    save_weights(tmp_path / "own.safetensors", other, dataclasses.replace(head.card, base_sha256=""))
    first = str(tiny_weights / "tiny.safetensors")
    two = load_pipeline([str(tmp_path / "own.safetensors"), first], device="cpu")
    (found,) = finish(run(two, volume, [2]))
    looks.clear()
    assert needs_backbone(two, found)
    number = int(found.verdict.batch.kept[0])
    *_, region = ask(two, volume, found, proposal_of(found, number))
    assert len(looks) == 1
    # The second network's maps were not rounded.
    assert region.answers[0].score == pytest.approx(found.evidence_candidates.scores[number], abs=1e-5)
    assert region.answers[0].mask_logits.shape == (28, 28)
    alone = two.without_class(two.detections)
    (detector,) = finish(run(alone, volume, [2]))
    candidates = detector.detection_candidates
    proposal = found.placement.to_slice(candidates.proposals[:1])[0]
    *_, region = ask(two, volume, found, proposal)
    box = np.array([region.answers[0].mask_box], np.float32)
    np.testing.assert_allclose(found.placement.to_network(box)[0], candidates.boxes[0], atol=0.5)
    gone = dataclasses.replace(found, features={})
    looks.clear()
    assert list(ask(two, volume, gone, proposal))[-1].answers == region.answers
    assert len(looks) == 2


def test_with_two_branches_each_class_is_answered_by_the_branch_of_the_class(pipeline, volume):
    torch.manual_seed(3)
    shape = dataclasses.replace(
        pipeline.cards[0].architecture, kind="single_shot", region_classes=3, branches=2, roi_batch_size=16
    )
    card = dataclasses.replace(
        pipeline.cards[1], architecture=shape, region_classes=("GGO", "Consolidation"), base_sha256=""
    )
    network = build(shape, DetectorSettings(rpn_post_nms=40))
    single = Pipeline(backend=TorchBackend(network, head=network.s2new), cards=(card,), has_class=True)
    (found,) = finish(run(single, volume, [3]))
    assert not needs_backbone(single, found)
    number = 2 * int(found.verdict.batch.kept[0] // 2)
    (region,) = ask(single, volume, found, proposal_of(found, number))
    assert [answer.label for answer in region.answers] == [1, 2]
    scores = [answer.score for answer in region.answers]
    np.testing.assert_allclose(scores, found.evidence_candidates.scores[number : number + 2], atol=2e-3)
    seen = show(single, volume, found, single.detections, single.evidence, edit=EvidenceEdit().ask(region))
    assert sorted(roi.label for roi in seen.rois if roi.asked == 0) == ["Consolidation", "GGO"]
    assert {roi.detected for roi in seen.rois} == {None}
    assert len(seen.asked) == 1, "the likelier class is drawn"
    # The mask lies in the box of the other branch for the same proposal.
    own = found.placement.in_slice(found.detection_candidates.boxes[number : number + 2])
    np.testing.assert_allclose([answer.mask_box for answer in region.answers], own, atol=0.5)


@pytest.mark.parametrize("box", [(20, 20, 21, 60), (30, 30, 10, 60), (200, 200, 260, 260)])
def test_what_is_no_box_in_the_slice_is_refused(pipeline, volume, result, box):
    with pytest.raises(SettingsError, match="96 x 96"):
        list(ask(pipeline, volume, result, box))


def test_without_a_class_there_is_nothing_to_ask(pipeline, volume):
    alone = pipeline.without_class(pipeline.detections)
    (found,) = finish(run(alone, volume, [3]))
    with pytest.raises(SettingsError, match="no image class"):
        list(ask(alone, volume, found, (10, 10, 40, 40)))
