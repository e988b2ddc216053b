"""Regions left out of the evidence or put into it: class, table, summaries and scan, documents, pictures."""

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model_core.base.asked import AskedAnswer, AskedRegion
from model_core.base.errors import SettingsError
from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.base.references import References
from model_core.base.results import Candidates, Detections, Placement, SliceResult, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceEdit, EvidenceSettings
from model_core.base.volume import Volume
from model_core.engine.evidence import evidence_batch, judge
from model_core.engine.module_s import ModuleS
from model_core.explain import explain_slice, scan_verdict, show, summarise, with_evidence
from model_core.export import in_words, render_slice, write_rois_csv
from model_core.export.predictions import slice_prediction
from model_core.scene import Overlays, SceneSettings, box_labels, rgb
from model_core.scene.palette import ASKED

ROWS = 8
SETTINGS = EvidenceSettings(score=0.1, batch_size=ROWS)
NONE = DetectionSettings(score=1.0)


def regions():
    """Make seven boxes apart from each other, and one (7) that lies on the best (2) and scores less."""
    boxes = np.array([[20 * k, 0, 20 * k + 10, 10] for k in range(7)] + [[41, 0, 51, 10]], np.float32)
    scores = np.array([0.5, 0.7, 0.9, 0.05, 0.6, 0.3, 0.2, 0.8], np.float32)
    rng = np.random.default_rng(3)
    return Candidates(
        proposals=boxes,
        boxes=boxes,
        deltas=rng.normal(size=boxes.shape).astype(np.float32),
        scores=scores,
        logits=np.zeros(8, np.float32),
        labels=np.ones(8, np.int64),
    )


class Backend:
    """Module S alone: whoever asks for anything that needs the backbone fails."""

    def __init__(self):
        rng = np.random.default_rng(1)
        layers = [(rng.normal(size=s).astype(np.float32), rng.normal(size=s[0]).astype(np.float32))
                  for s in ((16, 5 * ROWS), (3, 16))]  # fmt: skip
        self.image_head = self.module_s = ModuleS(tuple(layers))


@pytest.fixture
def case():
    candidates, backend = regions(), Backend()
    pipeline = SimpleNamespace(
        cards=(SimpleNamespace(architecture=SimpleNamespace(roi_batch_size=ROWS)),),
        evidence_backend=backend,
        evidence=SETTINGS,
        evidence_basis=lambda settings: "trained" if settings == SETTINGS else "edited",
        calibration=None,
        region_classes=("lesion",),
        image_classes=("Control", "Other", "COVID-19"),
        mask_logits=lambda result, indices: np.zeros((0, 28, 28), np.float32),
    )
    placement = Placement((150, 150), 150, 1.0, 1.0, 0.0, 0.0)
    result = SliceResult("s", "w", 0, placement, placement, candidates, candidates, None, {})
    volume = Volume(
        series_id="s", title="", voxels=np.zeros((1, 150, 150), np.int16), unit="HU", plane="axial",
        geometry=Geometry(spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), axes=np.eye(3)),
    )  # fmt: skip
    return SimpleNamespace(pipeline=pipeline, result=result, volume=volume, candidates=candidates)


def without(candidates, *numbers):
    """Return the candidates as a detector had found them that missed these."""
    rest = np.setdiff1d(np.arange(len(candidates)), numbers)
    names = ("proposals", "boxes", "deltas", "scores", "logits", "labels")
    return Candidates(**{name: getattr(candidates, name)[rest] for name in names})


@pytest.mark.parametrize("mode", ["cut_points", "insert"])
@pytest.mark.parametrize("number", [4, 5, 1])
def test_without_a_region_the_batch_is_that_of_a_detector_that_missed_it(mode, number):
    candidates = regions()
    settings = EvidenceSettings(score=0.1, batch_size=ROWS, replication=mode)
    batch = evidence_batch(candidates, settings, size=ROWS, edit=EvidenceEdit(excluded=frozenset({number})))
    by_hand = evidence_batch(without(candidates, number), settings, size=ROWS)
    assert np.array_equal(batch.rows, by_hand.rows)
    assert number not in batch.source


def test_suppressed_neighbours_stay_out_unless_nms_is_run_anew():
    candidates = regions()
    kept = {
        anew: evidence_batch(
            candidates, SETTINGS, size=None, edit=EvidenceEdit(excluded=frozenset({2}), nms_anew=anew)
        ).kept.tolist()
        for anew in (False, True)
    }
    assert kept == {False: [1, 4, 0, 5, 6], True: [7, 1, 4, 0, 5, 6]}


def test_the_next_ranked_region_comes_in_where_the_batch_was_full():
    settings = EvidenceSettings(score=0.1, batch_size=3)
    edit = EvidenceEdit(excluded=frozenset({1}))
    assert evidence_batch(regions(), settings, size=3).kept.tolist() == [2, 1, 4]
    assert evidence_batch(regions(), settings, size=3, edit=edit).kept.tolist() == [2, 4, 0]
    only = EvidenceEdit(only=frozenset({6, 2}))
    assert evidence_batch(regions(), settings, size=3, edit=only).kept.tolist() == [2, 6]


def test_edits_say_what_they_leave_out():
    edit = EvidenceEdit(only=frozenset({1, 2})).exclude([2])
    assert [edit.leaves_out(k) for k in (1, 2, 3)] == [False, True, True]
    back = edit.restore([2, 3])
    assert not any(back.leaves_out(k) for k in (1, 2, 3))
    assert back.leaves_out(4)
    assert not EvidenceEdit(nms_anew=True)
    assert not EvidenceEdit().exclude([5]).restore([5])
    assert edit.numbered_from(10).leaves_out(12)
    assert not edit.numbered_from(10).leaves_out(11)


@pytest.mark.parametrize("number", [8, -1])
def test_a_region_that_does_not_exist_is_refused(case, number):
    with pytest.raises(SettingsError, match="0 to 7"):
        judge(case.pipeline, case.result, SETTINGS, EvidenceEdit(excluded=frozenset({number})))


def test_the_class_of_edited_evidence_is_marked_and_that_of_no_edit_is_not(case):
    plain = judge(case.pipeline, case.result, SETTINGS)
    edited = judge(case.pipeline, case.result, SETTINGS, EvidenceEdit(excluded=frozenset({2})))
    nothing = judge(case.pipeline, case.result, SETTINGS, EvidenceEdit(nms_anew=True))
    assert (plain.basis, edited.basis, nothing.basis) == ("trained", "edited", "trained")
    assert np.array_equal(plain.logits, nothing.logits)
    assert not np.allclose(plain.logits, edited.logits)
    every = judge(case.pipeline, case.result, SETTINGS, EvidenceEdit(only=frozenset()))
    assert every.from_bias
    empty = np.zeros((ROWS, 5), np.float32)
    assert np.array_equal(every.logits, case.pipeline.evidence_backend.image_head(empty))


def test_excluded_regions_stay_in_the_table_at_their_rank(case):
    whole = show(case.pipeline, case.volume, case.result, NONE, SETTINGS)
    assert [roi.candidate for roi in whole.rois] == [2, 1, 4, 0, 5, 6]
    edit = EvidenceEdit(excluded=frozenset({1}))
    edited = with_evidence(case.pipeline, case.volume, case.result, NONE, SETTINGS, shown=whole, edit=edit)
    assert [(roi.rank, roi.candidate, roi.score) for roi in edited.rois] == [
        (roi.rank, roi.candidate, roi.score) for roi in whole.rois
    ]
    assert [roi.excluded for roi in edited.rois] == [False, True, False, False, False, False]
    assert [roi.copies for roi in edited.rois if roi.excluded] == [0]
    assert sum(roi.copies for roi in edited.rois) == ROWS
    assert edited.masks is whole.masks
    again = show(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=edit)
    assert again.rois == edited.rois
    assert again.summary == edited.summary
    assert summarise(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=edit) == edited.summary
    anew = EvidenceEdit(excluded=frozenset({2}), nms_anew=True)
    rois = show(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=anew).rois
    assert [(roi.candidate, roi.excluded) for roi in rois][:2] == [(2, True), (7, False)]


def test_a_scan_with_an_edited_slice_says_so(case):
    edit = EvidenceEdit(excluded=frozenset({1}))
    plain = summarise(case.pipeline, case.volume, case.result, NONE, SETTINGS)
    edited = summarise(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=edit)
    assert (plain.edited, edited.edited) == (False, True)
    assert scan_verdict([plain], basis="trained").basis == "trained"
    scan = scan_verdict([plain, edited], basis="trained")
    assert scan.basis == "edited"
    assert "edited by hand in 1 slice." in scan.rule
    outside = SliceSummary(3, 0, 0, 0.0, (0.1, 0.2, 0.3), lung=False, edited=True)
    assert scan_verdict([plain, outside], basis="trained").basis == "trained", "it takes no part"


@pytest.fixture
def explained(case):
    """The case with RoI batches of controls, and lesions shown around the boxes of candidates 4, 1 and 2."""
    rows = np.random.default_rng(5).normal(0, 0.3, (4, ROWS, 5)).astype(np.float32)
    case.pipeline.cards[-1].references = References.of(rows, patients=2, sources=("made",))
    boxes = case.candidates.boxes[[4, 1, 2]]
    lesions = Detections(
        indices=np.array([4, 1, 2]), boxes=boxes, scores=np.full(3, 0.6, np.float32),
        labels=np.ones(3, np.int64), mask_boxes=boxes, mask_logits=np.zeros((3, 28, 28), np.float32),
        settings=NONE,
    )  # fmt: skip

    def run(result, edit=None, *, lesions=lesions):
        shown = show(case.pipeline, case.volume, result, NONE, SETTINGS, edit=edit)
        if lesions is not None:
            shown = shown.changed(detections=lesions)
        (found,) = finish(explain_slice(case.pipeline, result, shown))
        return found

    return run


@pytest.mark.parametrize("excluded", [{2}, {1}, {0, 4}])
def test_edited_evidence_is_explained_as_that_of_a_detector_that_missed_the_excluded(
    case, explained, excluded
):
    edited = explained(case.result, EvidenceEdit(excluded=frozenset(excluded)))
    # Candidate 7 is suppressed by 2, and stays out.
    missed = without(case.candidates, *excluded, *([7] if 2 in excluded else []))
    other = explained(
        SliceResult("s", "w", 0, case.result.placement, case.result.placement, missed, missed, None, {})
    )
    assert edited.players == other.players
    assert edited.decisive == other.decisive
    np.testing.assert_array_equal(edited.outcomes, other.outcomes)
    np.testing.assert_array_equal(edited.closed.without, other.closed.without)
    for method, values in other.contributions.items():
        np.testing.assert_array_equal(edited.contributions[method].values, values.values)


def test_regions_of_edited_evidence_are_called_by_their_number_in_the_table(case, explained):
    edited = explained(case.result, EvidenceEdit(excluded=frozenset({2})), lesions=None)
    assert edited.ranks == (2, 3, 4, 5, 6)
    assert edited.decisive.without is not None
    first = edited.players[edited.decisive.without.players[0]][0]
    words = in_words(edited, case.pipeline.image_classes)
    assert words.startswith(f"Without region{'s' * (len(edited.decisive.without.players) > 1)} {first + 2}")


# --------------------------------------------------------------------------- regions that are asked about


def asked(*scores, box=(41.0, 0.0, 51.0, 10.0), deltas=(1.0, 2.0, 3.0, 4.0)):
    answers = tuple(
        AskedAnswer(label=k + 1, score=score, logit=0.0, deltas=deltas, box=box)
        for k, score in enumerate(scores)
    )
    return AskedRegion(box=box, proposal=box, answers=answers)


def test_an_asked_region_enters_by_its_score_and_pushes_out_the_last_row():
    settings = EvidenceSettings(score=0.1, batch_size=3)
    edit = EvidenceEdit().ask(asked(0.75))
    batch = evidence_batch(regions(), settings, size=3, edit=edit)
    assert batch.kept.tolist() == [2, 8, 1], "row 4, the last of three before, is out"
    assert batch.rows[1].tolist() == [0.75, 1.0, 2.0, 3.0, 4.0]
    low = EvidenceEdit().ask(asked(0.55))
    plain = evidence_batch(regions(), settings, size=3)
    assert np.array_equal(evidence_batch(regions(), settings, size=3, edit=low).rows, plain.rows)
    below = EvidenceEdit().ask(asked(0.05))
    assert 8 not in evidence_batch(regions(), SETTINGS, size=None, edit=below).kept


@pytest.mark.parametrize("anew", [False, True])
def test_an_asked_region_neither_suppresses_nor_is_suppressed(anew):
    """It lies on region 7, which lies on the better region 2."""
    edit = EvidenceEdit(excluded=frozenset({1}), nms_anew=anew).ask(asked(0.85))
    assert evidence_batch(regions(), SETTINGS, size=None, edit=edit).kept.tolist() == [2, 8, 4, 0, 5, 6]
    best = EvidenceEdit(nms_anew=anew).ask(asked(0.99, box=(40.0, 0.0, 50.0, 10.0)))
    assert evidence_batch(regions(), SETTINGS, size=None, edit=best).kept.tolist()[:2] == [8, 2]


def test_every_class_of_an_asked_region_enters_and_it_may_be_all_that_stays():
    edit = EvidenceEdit(only=frozenset()).ask(asked(0.2, 0.65)).ask(asked(0.4, box=(0, 0, 9, 9)))
    batch = evidence_batch(regions(), SETTINGS, size=ROWS, edit=edit)
    assert batch.kept.tolist() == [9, 10, 8]
    assert set(batch.source.tolist()) == {8, 9, 10}
    assert edit.ask(asked(0.3)) == edit, "the same box is asked about once"
    assert [one.box for one in edit.forget([0]).asked] == [(0, 0, 9, 9)]
    assert not EvidenceEdit().ask(asked(0.3)).forget([0])


def test_the_table_lists_what_was_asked_also_where_it_is_too_low(case):
    edit = EvidenceEdit(excluded=frozenset({1})).ask(asked(0.65)).ask(asked(0.02, box=(0, 20, 9, 29)))
    plain = show(case.pipeline, case.volume, case.result, NONE, SETTINGS)
    seen = show(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=edit)
    assert [roi.candidate for roi in seen.rois] == [2, 1, 8, 4, 0, 5, 6, 9]
    assert [roi.asked for roi in seen.rois] == [None, None, 0, None, None, None, None, 1]
    assert [roi.excluded for roi in seen.rois] == [False, True, *[False] * 6]
    assert seen.rois[2].copies > 0
    assert (seen.rois[-1].copies, seen.rois[-1].rank) == (0, 8)
    assert "asked" in seen.rois[2].why_unshown
    assert seen.rois[2].box == (41.0, 0.0, 51.0, 10.0)
    assert [(one.drawn, row.rank) for one, row in seen.asked_rois()] == [
        ((41.0, 0.0, 51.0, 10.0), 3),
        ((0, 20, 9, 29), 8),
    ]
    assert seen.verdict.basis == "edited"
    assert seen.summary.edited
    again = with_evidence(case.pipeline, case.volume, case.result, NONE, SETTINGS, shown=plain, edit=edit)
    assert again.rois == seen.rois
    assert [one.candidate for one in again.asked] == [8, 9]
    back = with_evidence(case.pipeline, case.volume, case.result, NONE, SETTINGS, shown=again)
    assert back.rois == plain.rois
    assert back.asked == ()


def test_documents_say_what_was_edited(case):
    edit = EvidenceEdit(excluded=frozenset({1})).ask(asked(0.65)).ask(asked(0.02, box=(0, 20, 9, 29)))
    seen = show(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=edit)
    entry = slice_prediction(case.volume, seen, pipeline=case.pipeline)["edit"]
    assert [(row["rank"], row["box"]) for row in entry["excluded"]] == [(2, [20.0, 0.0, 30.0, 10.0])]
    assert entry["asked"][0]["box"] == [41.0, 0.0, 51.0, 10.0]
    assert [[row["in_evidence"] for row in one["answers"]] for one in entry["asked"]] == [[True], [False]]
    plain = show(case.pipeline, case.volume, case.result, NONE, SETTINGS)
    assert slice_prediction(case.volume, plain, pipeline=case.pipeline)["edit"] is None
    json.dumps(entry)


def test_the_table_file_marks_each_edited_row(case, tmp_path):
    edit = EvidenceEdit(excluded=frozenset({1})).ask(asked(0.65))
    seen = show(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=edit)
    write_rois_csv(tmp_path / "rois.csv", case.volume, [seen])
    rows = list(csv.DictReader((tmp_path / "rois.csv").read_text("utf-8").splitlines()))
    assert [row["edit"] for row in rows] == ["", "excluded", "asked", "", "", "", ""]
    assert {row["evidence"] for row in rows} == {"edited"}


def test_pictures_show_the_drawn_and_the_decoded_box(case):
    region = asked(0.65, box=(40.0, 60.0, 80.0, 100.0))
    region = replace(region, box=(50.0, 50.0, 90.0, 110.0))
    seen = show(case.pipeline, case.volume, case.result, NONE, SETTINGS, edit=EvidenceEdit().ask(region))
    asked_colour = np.array(rgb(ASKED))
    for flipped in (False, True):
        picture = render_slice(case.volume, 0, shown=seen, text=False, flip_horizontal=flipped)
        found = (picture == asked_colour).all(axis=2)[:, :: -1 if flipped else 1]
        for left, top, right, bottom in ((50, 50, 90, 110), (40, 60, 80, 100)):
            edge = np.concatenate((found[top, left:right], found[top:bottom, left]))
            assert edge.mean() > 0.4, (flipped, left)
        assert not found[55:58, 41:49].any(), "nothing where neither box is"
    labels = box_labels(seen, SceneSettings(region_classes=("lesion",)))
    assert [label.texts[0] for label in labels] == ["3 · asked: lesion 0.65"]
    hidden = SceneSettings(overlays=Overlays(outlines=False, labels=False))
    assert box_labels(seen, hidden) == []
    plain = render_slice(case.volume, 0, shown=seen, text=False, overlays=hidden.overlays)
    assert not (plain == asked_colour).all(axis=2).any()
