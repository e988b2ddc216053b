"""Why a slice has its class, as the window says it: groups, who carries it, sets to try, curves, words."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model_core.base.asked import AskedAnswer, AskedRegion
from model_core.base.calibration import Calibration
from model_core.base.jobs import finish
from model_core.base.reasons import WAYS
from model_core.base.references import References
from model_core.base.results import Candidates, Detections, Placement, ShownSlice, SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceEdit, EvidenceSettings
from model_core.engine.evidence import (
    asked_numbers,
    evidence_batch,
    judge,
    listed_candidates,
    with_asked,
)
from model_core.engine.module_s import ModuleS
from model_core.explain.reasons import reason_of
from model_core.explain.rois import roi_table
from model_core.explain.sensitivity import sensitivity
from model_core.scene.reasons import (
    reason_areas,
    sentence,
    stays_excluded,
    what_carries_it,
    what_changes_it,
)

SIZE, COUNT = 12, 6
NAMES = ("Control", "Other", "COVID-19")
EVIDENCE = EvidenceSettings(batch_size=SIZE)
# Scores add up to the logit of COVID-19; Control and Other stay.
SLOPE = 2.0


class Pipeline:
    """Module S that adds scores up, with references of low ones."""

    def __init__(self, *, referenced=True, calibrated=True):
        weights = np.zeros((3, 5 * SIZE), np.float32)
        weights[2, ::5] = SLOPE
        backend = SimpleNamespace(
            module_s=ModuleS(((weights, np.array([0, -9, -6], np.float32)),)),
            image_head=lambda rows: self.evidence_backend.module_s(rows[None])[0],
        )
        batches = np.zeros((4, SIZE, 5), np.float32)
        batches[..., 0] = 0.125
        references = References.of(batches, patients=1, sources=("x",)) if referenced else None
        self.evidence_backend = backend
        self.cards = (
            SimpleNamespace(references=references, architecture=SimpleNamespace(roi_batch_size=SIZE)),
        )
        self.calibration = None
        if calibrated:
            self.calibration = Calibration(
                slope=1.0, bias=0.0, ill_classes=(1, 2), control_rate=0.1, control_limit=0.2
            )
        self.image_classes, self.evidence = NAMES, EVIDENCE

    def evidence_basis(self, settings):
        return "trained" if settings == self.evidence else "edited"


class Volume:
    """Stands for a volume whose lungs nobody looked for."""


def slice_of(pipeline, scores=(0.9, 0.8, 0.7, 0.2, 0.1, 0.05), *, edit=None, evidence=EVIDENCE):
    """Make two lesions, of the regions 1 and 3 and of region 2; the rest lies elsewhere."""
    boxes = np.array(
        [[0, 0, 20, 20], [40, 0, 60, 20], [2, 2, 17, 17], [80, 80, 90, 90], [100, 0, 110, 9], [0, 90, 9, 99]],
        np.float32,
    )
    candidates = Candidates(
        proposals=boxes, boxes=boxes, deltas=np.zeros_like(boxes), scores=np.array(scores, np.float32),
        logits=np.zeros(COUNT, np.float32), labels=np.ones(COUNT, np.int64),
    )  # fmt: skip
    placement = Placement((128, 128), 128, 1.0, 1.0, 0.0, 0.0)
    result = SliceResult("s", "w", 3, placement, placement, candidates, candidates, None, {})
    verdict = judge(pipeline, result, evidence, edit)
    batch = evidence_batch(candidates, evidence, size=SIZE, edit=edit)
    listed = np.argsort(-candidates.scores, kind="stable") if edit else None
    detections = Detections(
        indices=np.array([0, 1]), boxes=boxes[:2], scores=candidates.scores[:2],
        labels=np.ones(2, np.int64), mask_boxes=boxes[:2], mask_logits=np.zeros((2, 28, 28), np.float32),
        settings=DetectionSettings(),
    )  # fmt: skip
    rois = roi_table(
        batch, candidates, placement=placement, names=("lesion",), pixel_area_mm2=None, listed=listed
    )
    shown = ShownSlice(
        3, detections, np.zeros((2, 128, 128), bool), np.zeros((128, 128), np.float32), rois, verdict,
        SliceSummary(3, 2, 0, None, None, lung=True),
    )  # fmt: skip
    return result, shown


def explained(pipeline, result, shown, way="integrated_gradients"):
    return finish(reason_of(pipeline, Volume(), result, shown, way=way))[-1]


@pytest.fixture
def pipeline():
    return Pipeline()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_region_adds_is_what_a_sum_of_scores_says(pipeline, way):
    result, shown = slice_of(pipeline)
    reason = explained(pipeline, result, shown, way)
    assert reason.outputs == (*NAMES, "ill")
    assert reason.references == 4
    copies = np.array([roi.copies for roi in shown.rois])
    exact = SLOPE * copies * (np.array([roi.score for roi in shown.rois]) - 0.125)
    if way == "closed_up":
        assert reason.groups.keys() == {"region"}
        return
    np.testing.assert_allclose(reason.values[:, 2], exact, atol=1e-6)
    whole = reason.baseline[2] + reason.values[:, 2].sum()
    assert reason.adds_up == (way != "leave_one_out")
    assert whole == pytest.approx(reason.logits[2])
    first, second, rest = reason.groups["lesion"]
    assert (first.candidates, second.candidates, rest.candidates) == ((0, 2), (1,), (3, 4, 5))
    assert rest.rest
    assert first.values[2] == pytest.approx(exact[[0, 2]].sum(), abs=1e-6)


def test_the_lesions_that_carry_the_class_are_named_and_what_is_left_without_them(pipeline):
    reason = explained(pipeline, *slice_of(pipeline))
    carriers = reason.carriers["lesion"][-1]
    without = reason.probability(3, carriers.outcome)
    words = sentence(reason, "lesion", 3)
    assert words.startswith("“ill” rests on lesion")
    assert words.endswith(f"({without:.2f})." if without >= 0.01 else "(< 0.01).")
    assert carriers.share >= 0.8
    of_regions = sentence(reason, "region", 3)
    assert of_regions.startswith("“ill” rests on regions 1 and 2 (91 %); without them not ill")
    assert sentence(reason, "lesion", 0).startswith("Nothing speaks for Control")
    weaker = explained(pipeline, *slice_of(pipeline, scores=(0.54, 0.48, 0.42, 0.12, 0.06, 0.03)))
    assert sentence(weaker, "lesion", 3) == (
        "What speaks for ill (0.44): lesion 1 (100 %); without it 0.04."
    ), "nothing rests on what is not so"


def test_a_decisive_set_says_what_excluding_it_gives(pipeline):
    result, shown = slice_of(pipeline)
    reason = explained(pipeline, result, shown)
    assert reason.verdict == 1
    found = reason.without
    edited = judge(pipeline, result, EVIDENCE, EvidenceEdit(excluded=frozenset(found.candidates)))
    np.testing.assert_allclose(found.edited[:3], edited.logits, atol=1e-6)
    assert what_changes_it(reason).startswith("Without lesion")
    assert what_carries_it(reason)
    left_ill = reason.probability(3, found.edited) > 0.5
    assert stays_excluded(reason).startswith("ill") == left_ill


def test_a_decisive_region_that_was_asked_about_is_forgotten_not_excluded(pipeline):
    """It is no candidate of the slice."""
    box = (1.0, 1.0, 19.0, 19.0)
    answer = AskedAnswer(label=1, score=0.95, logit=3.0, deltas=(0.0,) * 4, box=box)
    edit = EvidenceEdit(asked=(AskedRegion(box=box, proposal=box, answers=(answer,)),))
    result, shown = slice_of(pipeline)
    own = result.evidence_candidates
    verdict = judge(pipeline, result, EVIDENCE, edit)
    rois = roi_table(
        verdict.batch, with_asked(own, edit), placement=result.placement, names=("lesion",),
        pixel_area_mm2=None, listed=listed_candidates(own, EVIDENCE, edit, verdict.batch.kept),
        asked=asked_numbers(own, edit),
    )  # fmt: skip
    reason = explained(pipeline, result, shown.changed(rois=rois, verdict=verdict))
    assert COUNT in reason.without.candidates, "the first lesion is the answer, too"
    excluded = EvidenceEdit(excluded=frozenset(reason.without.candidates) - {COUNT})
    np.testing.assert_allclose(
        reason.without.edited[:3], judge(pipeline, result, EVIDENCE, excluded).logits, atol=1e-6
    )
    kept = frozenset(reason.alone.candidates)
    only = replace(edit, only=kept - {COUNT}, asked=edit.asked if COUNT in kept else ())
    np.testing.assert_allclose(
        reason.alone.edited[:3], judge(pipeline, result, EVIDENCE, only).logits, atol=1e-6
    )


def test_where_nothing_is_ill_no_set_changes_it(pipeline):
    reason = explained(pipeline, *slice_of(pipeline, scores=(0.13, 0.12, 0.11, 0.1, 0.09, 0.08)))
    assert reason.verdict == 0
    assert what_changes_it(reason) == "No small set changes it: it stands without all lesions."
    assert what_carries_it(reason).startswith("It needs none of them")
    assert sentence(reason, "lesion", 3).startswith("Nothing speaks for ill")


def test_excluded_regions_contribute_nothing_and_keep_their_numbers(pipeline):
    result, shown = slice_of(pipeline, edit=EvidenceEdit(excluded=frozenset({0})))
    reason = explained(pipeline, result, shown)
    assert reason.candidates == (1, 2, 3, 4, 5)
    assert reason.ranks == (2, 3, 4, 5, 6)
    assert reason.value_of(0, 3) is None
    assert 0 not in {area.candidate for area in reason_areas(shown, reason, 3)}
    edited = reason.without.edited
    both = EvidenceEdit(excluded=frozenset({0, *reason.without.candidates}))
    np.testing.assert_allclose(edited[:3], judge(pipeline, result, EVIDENCE, both).logits, atol=1e-6)


def test_weights_without_references_close_ranks_and_say_so():
    pipeline = Pipeline(referenced=False, calibrated=False)
    reason = explained(pipeline, *slice_of(pipeline))
    assert reason.way == "closed_up"
    assert not reason.adds_up
    assert "train calibrate" in reason.why_none
    assert reason.verdict is None
    np.testing.assert_allclose(reason.baseline, [0, -9, -6], atol=1e-6)
    assert reason.values.shape == (COUNT, 3)
    assert reason.own_output == 2


def test_with_every_region_excluded_nothing_is_said_to_contribute(pipeline):
    edit = EvidenceEdit(excluded=frozenset(range(COUNT)))
    reason = explained(pipeline, *slice_of(pipeline, edit=edit))
    assert reason.candidates == ()
    assert reason.groups == {}
    assert reason.references == 4
    assert "No region is left" in reason.why_none
    assert reason.baseline[2] == pytest.approx(SLOPE * SIZE * 0.125 - 6)


def test_candidates_counted_from_elsewhere_are_the_same_regions(pipeline):
    reason = explained(pipeline, *slice_of(pipeline))
    moved = reason.numbered_from(100)
    assert moved.value_of(100, 3) == reason.value_of(0, 3)
    assert moved.groups["lesion"][0].candidates == (100, 102)
    assert moved.without.candidates == tuple(k + 100 for k in reason.without.candidates)


def test_areas_end_with_the_strongest_and_pile_up_to_no_more_than_one(pipeline):
    result, shown = slice_of(pipeline)
    areas = reason_areas(shown, explained(pipeline, result, shown), 3)
    strengths = [abs(area.value) for area in areas]
    assert strengths == sorted(strengths)
    fills = {area.candidate: area.fill for area in areas}
    assert fills[0] + fills[2] < 0.6, "one lies in the other"


def test_the_curves_are_what_the_sliders_give(pipeline):
    result, _ = slice_of(pipeline)
    now = replace(EVIDENCE, score=0.15)
    found = finish(sensitivity(pipeline, result, now))[-1]
    for curve, field in ((found.score, "score"), (found.nms_iou, "nms_iou")):
        for k in range(0, len(curve.places), 7):
            moved = replace(now, **{field: float(curve.places[k])})
            verdict = judge(pipeline, result, moved)
            np.testing.assert_allclose(curve.logits[k, :3], verdict.logits, atol=1e-6)
            assert curve.regions[k] == len(verdict.batch.kept)
    assert found.score.now == 0.15
    assert found.score.trained == 0.0
    trained = found.score.places[found.score.as_trained]
    assert trained.max() <= 0.05, "above, a region is gone"
    assert not found.nms_iou.as_trained.any(), "the score threshold is not the trained one"
    ill = [found.calibration.probability(logit) > 0.5 for logit in found.score.logits[:, -1]]
    assert list(found.score.flips) == [k for k in range(1, len(ill)) if ill[k] != ill[k - 1]]
