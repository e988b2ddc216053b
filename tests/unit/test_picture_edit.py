"""A changed slice runs again and is compared with sham heals; the numbers are of what was run."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from model_core import plots
from model_core.base.errors import SettingsError
from model_core.base.jobs import finish
from model_core.base.picture_edit import (
    EditedPicture,
    PictureEffect,
    PictureOutcome,
    PictureRequest,
)
from model_core.base.results import RoiRow, SliceResult
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.engine.lungs import lungs_of
from model_core.explain import edit_picture, picture_effect
from model_core.explain.picture_edit import region_changes
from model_core.export import write_picture_edit
from model_core.export.picture_edit import picture_edit_entry
from model_core.phantom import make_phantom
from model_core.scene.picture_edit import area_words, effect_words, region_words, sham_words

INDEX = 2


@pytest.fixture(scope="module")
def pipeline(tiny_weights):
    return load_pipeline([str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")])


@pytest.fixture(scope="module")
def volume():
    found, _ = make_phantom(slices=5, size=128)
    finish(lungs_of(found))
    return found


@pytest.fixture(scope="module")
def result(pipeline, volume):
    (found,) = (item for item in run(pipeline, volume, [INDEX]) if isinstance(item, SliceResult))
    return found


@pytest.fixture
def nothing_marked(monkeypatch, volume):
    """Let the random network, which marks everything, mark nothing, so that there is healthy lung."""
    module = sys.modules[edit_picture.__module__]
    monkeypatch.setattr(module, "weakly_marked", lambda *_: np.zeros(volume.voxels.shape[1:], bool))


def box_in_the_lung(volume, half=5):
    (lungs,) = [item for item in finish(lungs_of(volume)) if hasattr(item, "mask")]
    deep = distance_transform_edt(lungs.mask(INDEX) & (volume.voxels[INDEX] < -700))
    row, column = (int(place) for place in np.unravel_index(deep.argmax(), deep.shape))
    left, top, right, bottom = column - half, row - half, column + half, row + half
    return (left, top), (right, top), (right, bottom), (left, bottom)


def edited_by(pipeline, volume, result, request):
    return finish(edit_picture(pipeline, volume, result, pipeline.detections, request))[-1]


def test_the_changed_slice_runs_and_so_does_each_sham(pipeline, volume, result, nothing_marked, monkeypatch):
    before = volume.voxels.copy()
    request = PictureRequest("plant", polygon=box_in_the_lung(volume), level_hu=-450.0)
    edited = edited_by(pipeline, volume, result, request)
    assert (edited.kind, edited.level_hu, edited.pieces) == ("plant", -450.0, 0)
    seen = []

    def watched(pipeline, volume, slices):
        seen.append(volume.voxels[slices[0]])
        yield from run(pipeline, volume, slices)

    monkeypatch.setattr(sys.modules["model_core.explain.stability"], "run", watched)
    job = picture_effect(
        pipeline, volume, result, pipeline.detections, pipeline.evidence, edited, shams=2, seed=1
    )
    effects = [item for item in finish(job) if isinstance(item, PictureEffect)]
    assert [len(effect.shams) for effect in effects] == [0, 1, 2]
    assert np.array_equal(seen[0], edited.after)
    effect = effects[-1]
    for picture, area in zip(seen[1:], effect.sham_areas, strict=True):
        changed = picture != volume.voxels[INDEX]
        assert changed.any()
        assert not (changed & ~area).any()
        assert area.sum() == edited.area.sum()
    assert np.array_equal(volume.voxels, before), "the series stays as it is"
    assert effect.complete
    assert effect.target in pipeline.image_classes, "weights without a calibration"
    assert effect.change == pytest.approx(effect.after.output - effect.before.output)
    entry = picture_edit_entry(effect, pipeline.image_classes)
    assert entry["kind"] == "plant"
    assert entry["ground_glass_hu"] == -450.0
    assert entry["before"]["ill_probability"] is None
    assert entry["shams"]["count"] == 2
    assert entry["shams"]["logit_changes"] == pytest.approx(effect.sham_changes)


def test_maps_that_were_given_up_are_made_again(pipeline, volume, result, nothing_marked):
    given_up = dataclasses.replace(result, features={})
    request = PictureRequest("heal", polygon=box_in_the_lung(volume))
    one, other = (edited_by(pipeline, volume, own, request) for own in (result, given_up))
    assert np.array_equal(one.after, other.after)
    assert one.pieces >= 1


def test_a_region_that_is_no_lesion_is_healed_by_its_box(pipeline, volume, result, nothing_marked):
    (left, top), _, (right, bottom), _ = box_in_the_lung(volume)
    strict = dataclasses.replace(pipeline.detections, score=0.999)
    request = PictureRequest("heal", regions=((7, (left, top, right, bottom)),))
    edited = finish(edit_picture(pipeline, volume, result, strict, request))[-1]
    assert edited.what == "the box of region 7"
    assert edited.area[top + 1 : bottom - 1, left + 1 : right - 1].mean() > 0.8


def test_without_anything_asked_for_nothing_is_changed(pipeline, volume, result):
    with pytest.raises(SettingsError, match="draw an area"):
        edited_by(pipeline, volume, result, PictureRequest("heal"))
    own = dataclasses.replace(result, evidence_candidates=None)
    with pytest.raises(SettingsError, match="no image class"):
        edited_by(pipeline, volume, own, PictureRequest("heal", polygon=((0, 0), (9, 0), (9, 9))))


def row(rank, box, score, label="Lesion"):
    return RoiRow(rank, rank, score, label, box, 1.0, None, 1, True)


def test_regions_are_matched_by_their_boxes_and_told_apart_by_their_fate():
    area = np.zeros((100, 100), bool)
    area[10:20, 10:20] = True
    before = [
        row(1, (10, 10, 20, 20), 0.9), row(2, (50, 50, 60, 60), 0.8), row(3, (70, 70, 80, 80), 0.5),
        row(4, (30, 30, 40, 40), 0.04), row(5, (0, 50, 10, 60), 0.6), row(6, (0, 80, 10, 90), 0.6, "GGO"),
    ]  # fmt: skip
    after = [
        row(1, (51, 50, 61, 60), 0.7), row(2, (70, 70, 80, 80), 0.5), row(3, (30, 30, 40, 40), 0.3),
        row(4, (10, 10, 20, 20), 0.02), row(5, (20, 50, 30, 60), 0.6), row(6, (0, 80, 10, 90), 0.6),
    ]  # fmt: skip
    told = [
        (one.fate, one.where, one.score_before, one.score_after)
        for one in region_changes(before, after, area)
    ]
    assert ("gone", "in the changed area", 0.9, 0.02) in told
    assert ("changed", "elsewhere", 0.8, 0.7) in told
    assert ("new", "elsewhere", 0.04, 0.3) in told
    assert ("gone", "elsewhere", 0.6, None) in told
    assert ("new", "elsewhere", None, 0.6) in told
    assert not any(before == after == 0.5 for _, _, before, after in told), "the same elsewhere is no news"
    assert len(told) == 7, "another class is another region"
    assert told[0][2] == 0.9
    assert region_changes([], [], area) == ()


def effect(change, shams, *, wanted=None, probability=(0.9, 0.1)):
    def outcome(logit, chance, area=None):
        return PictureOutcome(np.zeros(3), np.full(3, 0.5), logit, chance, 40, area)

    empty = np.zeros((4, 4), np.int16)
    edited = EditedPicture("heal", 3, "a drawn area", empty, empty, empty == 0, 1)
    before, after = outcome(1.0, probability[0], 1000.0), outcome(1.0 + change, probability[1], 50.0)
    wanted = len(shams) if wanted is None else wanted
    ran = tuple(outcome(1.0 + one, 0.9) for one in shams)
    return PictureEffect(edited, "ill", before, after, None, None, (), ran, (), wanted, 0)


@pytest.mark.parametrize(
    ("change", "shams", "beyond", "said"),
    [
        (-2.0, [0.1] * 8, True, "Beyond the shams: 8 sham heals of equal shape"),
        (-0.1, [0.3, -0.05] * 4, False, "Not more than a sham"),
        # Of equal size is no more.
        (0.3, [-0.3] * 8, False, "Not more than a sham"),
        (-2.0, [0.1, 0.2], True, "no more of 8 fit"),
        (-2.0, [], None, "No sham heal fits"),
    ],
)
def test_an_effect_counts_beyond_every_sham_alone(change, shams, beyond, said):
    found = effect(change, shams)
    assert found.beyond_shams is beyond
    assert said in sham_words(found)


def test_before_all_shams_have_run_nothing_is_said_of_them():
    found = effect(-2.0, [0.1] * 3, wanted=8)
    assert found.beyond_shams is None
    assert sham_words(found).startswith("3 of at most 8")


def test_words_say_what_changed():
    found = effect(-3.0, [0.0])
    assert effect_words(found) == "ill 0.90 → 0.10 (logit −3.00): the verdict changes"
    assert "the verdict stays" in effect_words(effect(0.001, [0.0], probability=(0.9, 0.9)))
    assert "(logit 0.00)" in effect_words(effect(0.001, [0.0], probability=(0.9, 0.9)))
    assert area_words(found) == "Marked area 10.0 → 0.5 cm²"
    assert region_words(found) == "Regions: none changed"


@pytest.mark.parametrize("inverted", [False, True])
def test_the_picture_has_the_greys_and_the_pixels_of_the_window(volume, tmp_path, monkeypatch, inverted):
    drawn = {}
    monkeypatch.setattr(
        plots, "picture_pair", lambda _figure, pictures, *_, **how: drawn.update(how, both=pictures)
    )
    nothing = SimpleNamespace(masks=np.zeros((0, 4, 4), bool))
    found = dataclasses.replace(effect(-2.0, [0.1]), shown_before=nothing, shown_after=nothing)
    dark_and_bright = np.array([[-2000, 2000]] * 2, np.int16)
    found = dataclasses.replace(found, edited=dataclasses.replace(found.edited, before=dark_and_bright))
    flat = dataclasses.replace(volume.geometry, spacing_mm=(None, None, None), stated_aspect=2.0)
    write_picture_edit(tmp_path, dataclasses.replace(volume, inverted=inverted, geometry=flat), found)
    assert drawn["both"][0][0].tolist() == ([255, 0] if inverted else [0, 255])
    assert drawn["aspect"] == 2.0
