"""The engine over a small phantom with small random networks: what runs, what is kept, what thresholds do."""

import dataclasses
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.special import expit
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image

from model_core.base.errors import SettingsError, WeightsError
from model_core.base.jobs import Progress, finish
from model_core.base.results import SliceResult
from model_core.base.settings import (
    ROI_BOX_WEIGHTS,
    Architecture,
    DetectionSettings,
    DetectorSettings,
    EvidenceSettings,
    InputSpec,
)
from model_core.engine import detect, judge, run
from model_core.engine.load import load_pipeline
from model_core.engine.onnx_backend import OnnxBackend
from model_core.engine.pipeline import Pipeline
from model_core.engine.preprocess import network_input
from model_core.engine.select import make_masks, rank, why_unshown
from model_core.engine.torch_backend import TorchBackend
from model_core.explain import mask_pixels, scan_verdict, show, summarise, with_evidence
from model_core.networks import build
from model_core.phantom import make_phantom
from model_core.weights.card import ModelCard
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
def backbone_calls(monkeypatch):
    calls = []
    original = OnnxBackend.look

    def counted(self, picture, **how):
        if self.in_use:  # not in the self-test
            calls.append(picture.shape)
        return original(self, picture, **how)

    monkeypatch.setattr(OnnxBackend, "look", counted)
    return calls


def test_one_pass_serves_detections_and_class_where_the_classifier_stores_s_alone(
    pipeline, volume, backbone_calls
):
    assert pipeline.passes == 1
    (found,) = finish(run(pipeline, volume, [2]))
    assert len(backbone_calls) == 1
    assert found.evidence_candidates is found.detection_candidates
    assert found.verdict.basis == "trained"
    assert found.verdict.batch.rows.shape == (16, 5)


def test_thresholds_never_run_the_backbone(pipeline, volume, result, backbone_calls):
    low = dataclasses.replace(pipeline.detections, score=0.0, nms_iou=None, max_detections=40)
    linked = dataclasses.replace(pipeline.evidence, score=0.4, nms_iou=0.2)
    few = show(pipeline, volume, result, pipeline.detections, pipeline.evidence)
    many = show(pipeline, volume, result, low, linked)
    assert backbone_calls == []
    assert len(many.detections) == 40 >= len(few.detections)
    assert many.masks.shape == (40, 96, 96)
    assert few.verdict.basis == "trained"
    assert many.verdict.basis == "edited"
    assert {row.candidate for row in few.rois if row.detected} <= set(few.detections.indices.tolist())
    assert summarise(pipeline, volume, result, low, linked) == many.summary


def test_class_and_table_alone_are_those_of_all(pipeline, volume, result, backbone_calls, monkeypatch):
    low = dataclasses.replace(pipeline.detections, score=0.0, nms_iou=None, max_detections=40)
    linked = dataclasses.replace(pipeline.evidence, score=0.4, nms_iou=0.2)
    few = show(pipeline, volume, result, pipeline.detections, pipeline.evidence)
    monkeypatch.setattr(type(pipeline.backend), "masks", None)
    mixed = with_evidence(pipeline, volume, result, low, linked, shown=few)
    assert mixed.masks is few.masks
    assert mixed.detections is few.detections
    assert mixed.summary.lesion_px == few.summary.lesion_px
    monkeypatch.undo()
    many = show(pipeline, volume, result, low, linked)
    assert mixed.rois == many.rois
    assert np.array_equal(mixed.verdict.logits, many.verdict.logits)
    assert mixed.summary.probabilities == many.summary.probabilities
    assert np.array_equal(mixed.logit_map, few.logit_map, equal_nan=True)


def test_new_masks_follow_strongest_first_and_end_as_all_at_once(
    pipeline, volume, backbone_calls, monkeypatch
):
    (result,) = finish(run(pipeline, volume, [1]))
    low = dataclasses.replace(pipeline.detections, score=0.0, nms_iou=None, max_detections=60)
    looks = len(backbone_calls)
    ranked = rank(result.detection_candidates, low)
    new = [k for k in ranked.tolist() if k not in result.mask_cache]
    few = len(ranked) - len(new)
    assert new
    monkeypatch.setattr(type(pipeline.backend), "masks", None)
    known = show(pipeline, volume, result, low, pipeline.evidence, known=True)
    monkeypatch.undo()
    assert (len(known.detections), known.pending) == (len(ranked), len(new))
    assert known.detections.indices[few:].tolist() == new
    assert not known.masks[few:].any()
    seen = []
    for _ in make_masks(pipeline, result, low, few=6):
        part = show(pipeline, volume, result, low, pipeline.evidence, known=True)
        seen.append(part.pending)
        assert set(new[: len(new) - part.pending]) <= result.mask_cache.keys()
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0
    whole = show(pipeline, volume, result, low, pipeline.evidence)
    assert part.detections.indices.tolist() == ranked.tolist()
    for name in ("indices", "boxes", "scores", "mask_logits"):
        assert np.array_equal(getattr(part.detections, name), getattr(whole.detections, name))
    assert np.array_equal(part.masks, whole.masks)
    assert (part.summary, part.rois) == (whole.summary, whole.rois)
    assert len(backbone_calls) == looks


def test_two_threads_may_ask_for_masks_at_once(pipeline, volume):
    low = dataclasses.replace(pipeline.detections, score=0.0, nms_iou=None, max_detections=40)
    (shared,) = finish(run(pipeline, volume, [2]))
    start = threading.Barrier(4)

    def ask(_thread):
        start.wait()
        return show(pipeline, volume, shared, low, pipeline.evidence)

    with ThreadPoolExecutor(4) as threads:
        shown = list(threads.map(ask, range(4)))
    for other in shown[1:]:
        assert np.array_equal(shown[0].detections.mask_logits, other.detections.mask_logits)
        assert np.array_equal(shown[0].masks, other.masks)
        assert np.array_equal(shown[0].logit_map, other.logit_map, equal_nan=True)


def test_detections_obey_their_settings(pipeline, result):
    found = detect(pipeline, result, DetectionSettings(score=0.3, nms_iou=0.3))
    assert (found.scores > 0.3).all()
    assert (np.diff(found.scores) <= 0).all()
    nothing = detect(pipeline, result, DetectionSettings(score=1.0))
    assert len(nothing) == 0
    assert nothing.mask_logits.shape == (0, 28, 28)


def greedy(candidates, settings):
    """NMS as the papers write it, one box after the other: the fate of every candidate, and by whom."""
    boxes, scores = candidates.boxes.astype(float), candidates.scores
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    fates, kept = {}, []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not area[index] > settings.min_area:
            fates[index] = ("area", None)
        elif not scores[index] > settings.score:
            fates[index] = ("score", None)
        else:
            for better in kept:
                common = np.prod(
                    np.clip(
                        np.minimum(boxes[index, 2:], boxes[better, 2:])
                        - np.maximum(boxes[index, :2], boxes[better, :2]),
                        0,
                        None,
                    )
                )
                iou = common / (area[index] + area[better] - common)
                if candidates.labels[index] == candidates.labels[better] and iou > settings.nms_iou:
                    fates[index] = ("overlap", better)
                    break
            else:
                kept.append(index)
    return fates | dict.fromkeys(kept[settings.max_detections :], ("limit", None))


@pytest.mark.parametrize(
    "settings",
    [
        DetectionSettings(score=0.3, nms_iou=0.3, max_detections=3),
        DetectionSettings(score=0.45, nms_iou=0.6, max_detections=100),
        DetectionSettings(score=0.2, nms_iou=0.1, max_detections=5, min_area=400.0),
    ],
)
def test_each_candidate_that_is_not_shown_says_why(pipeline, result, settings):
    rng = np.random.default_rng(4)
    own = result.detection_candidates
    candidates = dataclasses.replace(
        own,
        scores=rng.permutation(np.linspace(0.01, 0.99, len(own))).astype(np.float32),
        labels=rng.integers(1, 3, len(own)),
    )
    found = why_unshown(candidates, settings, range(len(own)))
    expected = greedy(candidates, settings)
    assert {index: (why.reason, why.suppressor) for index, why in found.items()} == expected
    assert {"score", "overlap"} <= {why.reason for why in found.values()}
    shown = set(range(len(own))) - found.keys()
    assert shown == set(rank(candidates, settings).tolist())


def test_rows_of_the_table_name_the_region_that_suppressed_them(pipeline, volume, result):
    evidence = dataclasses.replace(pipeline.evidence, nms_iou=None)
    settings = dataclasses.replace(pipeline.detections, score=0.0, nms_iou=0.05)
    rows = show(pipeline, volume, result, settings, evidence).rois
    by_rank = {row.rank: row for row in rows}
    suppressed = [row for row in rows if row.unshown == "overlap"]
    assert suppressed
    for row in suppressed:
        better = by_rank[row.suppressor]
        assert better.rank < row.rank
        assert better.detected
        assert f"region {better.rank}" in row.why_unshown
    assert all((row.unshown is None) == row.detected for row in rows)
    no_nms = dataclasses.replace(settings, nms_iou=None, max_detections=2)
    reasons = [row.unshown for row in show(pipeline, volume, result, no_nms, evidence).rois]
    assert reasons == [None, None, *["limit"] * (len(reasons) - 2)]
    high = dataclasses.replace(settings, score=1.0)
    assert {row.unshown for row in show(pipeline, volume, result, high, evidence).rois} == {"score"}


def test_masks_of_candidates_do_not_depend_on_when_they_are_asked_for(pipeline, volume, result):
    wanted = np.array([5, 0, 17])
    (fresh,) = finish(run(pipeline, volume, [3]))
    together = pipeline.mask_logits(fresh, wanted)
    one_by_one = [pipeline.mask_logits(result, wanted[k : k + 1])[0] for k in (2, 0, 1)]
    np.testing.assert_allclose(together[[2, 0, 1]], one_by_one, atol=1e-5)


def test_masks_from_stored_half_precision_maps_are_those_of_the_full_ones():
    pipeline = load_pipeline(device="cpu")
    volume, _ = make_phantom(slices=12, size=192)
    (result,) = finish(run(pipeline, volume, [7]))
    assert {maps.dtype for maps in result.features.values()} == {np.dtype(np.float16)}
    full = pipeline.backend.look(network_input(volume, 7, pipeline.input)).maps
    assert all(
        np.array_equal(full[level].astype(np.float16), maps) for level, maps in result.features.items()
    )
    exact = dataclasses.replace(result, features=full, mask_cache={})
    stored = dataclasses.replace(result, mask_cache={})
    every = dataclasses.replace(pipeline.detections, score=-0.01, nms_iou=None, max_detections=128)
    found, wanted = (detect(pipeline, one, every) for one in (stored, exact))
    assert len(found) > 100
    assert np.array_equal(found.scores, wanted.scores)  # computed before the maps are stored
    error = np.abs(found.mask_logits - wanted.mask_logits)
    assert 0 < error.max() < 0.01
    assert error.mean() < 3e-4
    assert np.abs(expit(found.mask_logits) - expit(wanted.mask_logits)).max() < 1e-3
    shape = result.placement.slice_shape
    masks, others = mask_pixels(found, shape), mask_pixels(wanted, shape)
    assert masks.sum() > 1000
    assert (masks != others).sum() <= 1e-3 * masks.sum()


def test_calibrated_scores_are_shown_but_module_s_reads_its_own(pipeline, volume, result):
    plain = show(pipeline, volume, result, pipeline.detections, pipeline.evidence)
    hot = dataclasses.replace(pipeline.evidence, temperature=0.5)
    both = show(pipeline, volume, result, dataclasses.replace(pipeline.detections, temperature=0.5), hot)
    assert np.array_equal(both.verdict.logits, plain.verdict.logits)
    assert np.array_equal(both.verdict.batch.rows, plain.verdict.batch.rows)
    for before, after in zip(plain.rois, both.rois, strict=True):
        odds = (before.score / (1 - before.score)) ** 2
        assert after.score == pytest.approx(odds / (1 + odds), abs=1e-5)
    # The table and the picture say the same of one region.
    shown = dict(zip(both.detections.indices.tolist(), both.detections.scores.tolist(), strict=True))
    assert any(roi.detected for roi in both.rois)
    for roi in both.rois:
        if roi.detected:
            assert roi.score == pytest.approx(shown[roi.candidate], abs=1e-6)
    # A threshold of the evidence is on the scale that is shown.
    middle = sorted(roi.score for roi in both.rois)[len(both.rois) // 2]
    fewer = judge(pipeline, result, dataclasses.replace(hot, score=float(middle) + 1e-6))
    assert len(fewer.batch.kept) == sum(roi.score > middle + 1e-6 for roi in both.rois)


def test_results_name_series_weights_and_slice(pipeline, volume, result):
    assert (result.series_id, result.weights_id, result.slice_index) == (
        volume.series_id,
        pipeline.weights_id,
        3,
    )
    assert result.placement.slice_shape == (96, 96)


@pytest.mark.parametrize(
    "change",
    [
        {"detector": DetectorSettings(rpn_post_nms=50)},
        {"evidence": EvidenceSettings(batch_size=16, nms_iou=0.5)},
        {"input": InputSpec(size=96)},
        {"sha256": "another"},
    ],
)
def test_weights_are_told_apart_by_all_that_changes_their_results(pipeline, change):
    segmentation, classifier = pipeline.cards

    def weights_id(**fields):
        cards = (dataclasses.replace(segmentation, **fields), classifier)
        return Pipeline(backend=pipeline.backend, cards=cards).weights_id

    assert weights_id() == weights_id(title="another name", detections=DetectionSettings(score=0.9))
    assert weights_id(**change) != weights_id()


def test_weights_that_looked_at_the_mirror_image_load_with_one_warning(tiny_weights, tmp_path, caplog):
    for name in ("tiny", "tiny-s"):
        shutil.copy(tiny_weights / f"{name}.safetensors", tmp_path)
        values = json.loads((tiny_weights / f"{name}.json").read_text("utf-8"))
        values["detector"] |= {"mirror": True, "mask_box_scale": 1.3}
        (tmp_path / f"{name}.json").write_text(json.dumps(values), "utf-8")
    found = load_pipeline([str(tmp_path / "tiny-s.safetensors")], device="cpu")
    assert [card.name for card in found.cards] == ["tiny", "tiny-s"]
    (told,) = (one.getMessage() for one in caplog.records)
    assert told.startswith("tiny: Thresholds and image class of these weights were chosen with the mean")


def test_case_files_and_kept_results_of_earlier_versions_name_the_same_weights():
    network = Architecture(kind="segmentation")
    card = ModelCard(name="a", title="A", architecture=network, region_classes=("Lesion",), sha256="0" * 64)
    assert Pipeline(backend=None, cards=(card,)).weights_id == "70747fed74b7d228"


@pytest.mark.parametrize("branch", ["detections", "evidence"])
def test_candidates_keep_the_proposals_that_their_boxes_are_decoded_from(branch, pipeline, volume):
    torch.manual_seed(3)
    shape = dataclasses.replace(
        pipeline.cards[0].architecture, kind="single_shot", region_classes=3, branches=2, roi_batch_size=16
    )
    network = build(shape, DetectorSettings(rpn_post_nms=40))
    backend = TorchBackend(network, head=network.s2new)
    look = backend.look(network_input(volume, 3, pipeline.input))
    candidates = backend.regions(look, look.proposals, branch=branch)
    assert candidates.labels.tolist() == [1, 2] * len(look.proposals)
    assert np.array_equal(candidates.proposals[::2], look.proposals)
    assert candidates.proposals.dtype == np.float32
    deltas, proposals = torch.from_numpy(candidates.deltas), torch.from_numpy(candidates.proposals)
    decoded = BoxCoder(ROI_BOX_WEIGHTS).decode_single(deltas, proposals)
    clipped = clip_boxes_to_image(decoded, (look.size, look.size)).numpy()
    np.testing.assert_allclose(candidates.boxes, clipped, rtol=0, atol=1e-4)
    # Boxes of others are looked at just so.
    some = backend.regions(look, look.proposals[5:7], branch=branch)
    np.testing.assert_allclose(some.scores, candidates.scores[10:14], atol=1e-6)
    rows = np.column_stack((candidates.scores, candidates.deltas))[:16]
    with torch.inference_mode():
        wanted = network.s2new(torch.from_numpy(rows)[None])[0].numpy()
    np.testing.assert_allclose(backend.image_head(rows), wanted, rtol=1e-5, atol=1e-5)


def test_order_progress_and_cancel(pipeline, volume):
    job = run(pipeline, volume, [4, 1, 5])
    seen = []
    for item in job:
        seen.append(item)
        if isinstance(item, SliceResult) and item.slice_index == 1:
            job.close()
    assert [item.slice_index for item in seen if isinstance(item, SliceResult)] == [4, 1]
    assert [item.done for item in seen if isinstance(item, Progress)] == [0, 1]
    assert seen[0].total == 3


def test_the_class_is_deterministic(pipeline, volume, result):
    (again,) = finish(run(pipeline, volume, [3]))
    assert np.array_equal(again.verdict.logits, result.verdict.logits)
    assert judge(pipeline, result, pipeline.evidence) is result.verdict


def test_a_slice_that_does_not_exist(pipeline, volume):
    with pytest.raises(SettingsError, match="slices 0 to 5"):
        finish(run(pipeline, volume, [0, 6]))


def test_a_classifier_with_a_detector_of_its_own_runs_two_passes(
    tiny_weights, tmp_path, volume, backbone_calls
):
    base = load_weights(str(tiny_weights / "tiny.safetensors"))
    head = load_weights(str(tiny_weights / "tiny-s.safetensors"))
    torch.manual_seed(8)
    other = build(head.card.architecture).state_dict()
    save_weights(tmp_path / "own.safetensors", other, dataclasses.replace(head.card, base_sha256=""))
    shared = {**{k: v for k, v in base.tensors.items() if ".mask_" not in k}, **head.tensors}
    save_weights(tmp_path / "shared.safetensors", shared, dataclasses.replace(head.card, base_sha256=""))

    first = str(base.path)
    two = load_pipeline([str(tmp_path / "own.safetensors"), first], device="cpu")
    assert two.passes == 2
    items = list(run(two, volume, [0]))
    assert len(backbone_calls) == 2
    (found,) = [item for item in items if isinstance(item, SliceResult)]
    assert found.evidence_candidates is not found.detection_candidates
    seen = show(two, volume, found, two.detections, two.evidence)
    assert seen.rois
    assert {roi.detected for roi in seen.rois} == {None}, "a candidate's number means another region there"
    assert [item.total for item in items if isinstance(item, Progress)] == [2, 2, 2]
    assert load_pipeline([first, str(tmp_path / "shared.safetensors")], device="cpu").passes == 1


def test_regions_of_a_classifier_have_the_names_of_its_own_classes(tiny_weights, tmp_path, volume):
    """A classifier in the released form tells two lesion classes, masks come from weights with one."""
    head = load_weights(str(tiny_weights / "tiny-s.safetensors"))
    base = load_weights(str(tiny_weights / "tiny.safetensors"))
    assert base.card.region_classes == ("Lesion",)
    torch.manual_seed(8)
    shape = dataclasses.replace(head.card.architecture, region_classes=3)
    tensors = build(shape).state_dict()
    tensors["roi_heads.box_predictor.cls_score.bias"] += torch.tensor([0.0, 0.0, 3.0])
    names = ("GGO", "Consolidation")
    card = dataclasses.replace(head.card, architecture=shape, region_classes=names, base_sha256="")
    save_weights(tmp_path / "whole.safetensors", tensors, card)
    pipeline = load_pipeline([str(base.path), str(tmp_path / "whole.safetensors")], device="cpu")
    (found,) = finish(run(pipeline, volume, [2]))
    seen = show(pipeline, volume, found, pipeline.detections, pipeline.evidence)
    assert "Consolidation" in {roi.label for roi in seen.rois} <= set(names)


def test_boxes_end_at_the_edges_of_slices_that_are_not_square(tiny_weights):
    """The network sees a square: what it finds in the border around the slice is cut off."""
    names = [str(tiny_weights / name) for name in ("tiny.safetensors", "tiny-s.safetensors")]
    pipeline = load_pipeline(names, device="cpu")
    whole, _ = make_phantom(slices=4, size=96)
    narrow = dataclasses.replace(whole, voxels=np.ascontiguousarray(whole.voxels[:, :, 30:62]))
    (found,) = finish(run(pipeline, narrow, [1]))
    settings = DetectionSettings(score=0.0, nms_iou=0.9, max_detections=60)
    assert (found.placement.to_slice(found.detection_candidates.boxes)[:, 0] < 0).any()
    seen = show(pipeline, narrow, found, settings, pipeline.evidence)
    boxes = np.concatenate([seen.detections.boxes, [roi.box for roi in seen.rois]])
    assert boxes.min() >= 0
    assert (boxes[:, [0, 2]] <= 32).all()
    assert (boxes[:, [1, 3]] <= 96).all()
    assert all(roi.area_px <= 32 * 96 for roi in seen.rois)


def test_segmentation_alone_has_no_class(tiny_weights, volume):
    alone = load_pipeline([str(tiny_weights / "tiny.safetensors")], device="cpu")
    (found,) = finish(run(alone, volume, [3]))
    assert alone.image_classes == ()
    assert found.verdict is None
    assert found.evidence_candidates is None
    seen = show(alone, volume, found, alone.detections, alone.evidence)
    assert seen.verdict is None
    assert seen.summary.probabilities is None
    assert scan_verdict([seen.summary], basis="trained") is None


def test_segmentation_alone_ranks_the_regions_a_classifier_would_read(tiny_weights, volume):
    alone = load_pipeline([str(tiny_weights / "tiny.safetensors")], device="cpu")
    pair = load_pipeline(
        [str(tiny_weights / name) for name in ("tiny.safetensors", "tiny-s.safetensors")], device="cpu"
    )
    (found,) = finish(run(alone, volume, [3]))
    (read,) = finish(run(pair, volume, [3]))
    few = dataclasses.replace(pair.evidence, nms_iou=0.3)
    own = show(alone, volume, found, alone.detections, few).rois
    evidence = show(pair, volume, read, pair.detections, few).rois
    assert own == tuple(dataclasses.replace(roi, copies=0) for roi in evidence)
    assert 1 < len(own) < len(show(alone, volume, found, alone.detections, alone.evidence).rois)
    none = dataclasses.replace(few, score=1.0)
    assert show(alone, volume, found, alone.detections, none).rois == ()


def test_s_alone_finds_its_segmentation_file(tiny_weights):
    assert load_pipeline([str(tiny_weights / "tiny-s.safetensors")], device="cpu").passes == 1


def test_s_refuses_another_segmentation_model(tiny_weights, tmp_path):
    base = load_weights(str(tiny_weights / "tiny.safetensors"))
    tensors = {k: v + 0.01 if v.is_floating_point() else v for k, v in base.tensors.items()}
    save_weights(tmp_path / "other.safetensors", tensors, base.card)
    with pytest.raises(WeightsError, match="other segmentation weights"):
        load_pipeline([str(tmp_path / "other.safetensors"), str(tiny_weights / "tiny-s.safetensors")])


def test_two_segmentation_files_do_not_go_together(tiny_weights):
    name = str(tiny_weights / "tiny.safetensors")
    with pytest.raises(WeightsError, match="one segmentation and one classifier"):
        load_pipeline([name, name])


@pytest.mark.parametrize("device", ["tpu", "cuda:7"])
def test_a_device_that_is_not_there(tiny_weights, device):
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SettingsError, match=r"[Uu]nknown device|not available"):
        load_pipeline([str(tiny_weights / "tiny.safetensors")], device=device)
