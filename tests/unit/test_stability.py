"""The eight changes of a picture are what they are called, and the network sees each of them."""

import copy
import dataclasses
import sys

import numpy as np
import pytest

from model_core.base.calibration import Calibration
from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.base.volume import Volume
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.engine.lungs import lungs_of
from model_core.explain import stability
from model_core.export.report_pages import steady_words
from model_core.phantom import make_phantom

AXES = np.eye(3)


@pytest.fixture(scope="module")
def pipeline(tiny_weights):
    return load_pipeline([str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")])


def seen(pipeline, monkeypatch, volume, index, **more):
    """Return what comes out, and the pictures that were run."""
    pictures = []

    def watched(pipeline, volume, slices):
        pictures.append(volume.voxels[slices[0]].astype(int))
        yield from run(pipeline, volume, slices)

    monkeypatch.setattr(sys.modules[stability.__module__], "run", watched)
    (found,) = finish(stability(pipeline, volume, index, pipeline.detections, pipeline.evidence, **more))
    return found, dict(zip(found.changes, pictures, strict=True))


def volume_of(voxels, **fields):
    return Volume("s", "s", voxels.astype(np.int16), Geometry((2.0, 0.7, 0.7), (0, 0, 0), AXES), **fields)


def test_each_change_is_what_it_is_called(pipeline, monkeypatch):
    rng = np.random.default_rng(1)
    voxels = rng.integers(-900, 100, (3, 128, 128))
    volume = volume_of(voxels)
    found, pictures = seen(pipeline, monkeypatch, volume, 1)
    own = voxels[1]
    assert np.array_equal(pictures["one pixel right"][:, 1:], own[:, :-1])
    assert np.array_equal(pictures["one pixel left"][:, :-1], own[:, 1:])
    assert np.array_equal(pictures["one pixel down"][1:], own[:-1])
    assert np.array_equal(pictures["one pixel up"][:-1], own[1:])
    assert np.array_equal(pictures["+25 HU"], own + 25)
    assert np.array_equal(pictures["−25 HU"], own - 25)
    assert np.array_equal(pictures["mirror image"], own[:, ::-1])
    noise = pictures["noise of 20 HU"] - own
    assert np.std(noise) == pytest.approx(20, rel=0.05)
    assert abs(np.mean(noise)) < 1
    assert np.array_equal(volume.voxels, voxels), "the series stays as it is"
    assert found.logits.shape == (8, 3)
    assert len(np.unique(found.logits.round(6), axis=0)) > 4, "the network saw them"
    assert found.ill == (), "weights without a calibration"
    again, _ = seen(pipeline, monkeypatch, volume, 1)
    assert np.array_equal(again.logits, found.logits)


@pytest.mark.slow
def test_greys_stay_greys(pipeline, monkeypatch):
    voxels = np.random.default_rng(2).integers(0, 256, (2, 64, 64))
    _, pictures = seen(pipeline, monkeypatch, volume_of(voxels, unit="grey"), 0)
    assert all(picture.min() >= 0 and picture.max() <= 255 for picture in pictures.values())
    assert np.array_equal(pictures["+25 HU"], np.minimum(voxels[0] + 4, 255))


def test_values_of_no_known_scale_are_not_shifted(pipeline, monkeypatch):
    voxels = np.random.default_rng(3).integers(0, 4000, (2, 64, 64))
    found, pictures = seen(pipeline, monkeypatch, volume_of(voxels, unit="values"), 1)
    assert not any("25" in name for name in pictures)
    assert len(found.lesion_mm2) == 6
    assert found.changes[-1] == "noise of 2% of the spread", "HU mean nothing here"
    assert "25 HU" not in steady_words(found)


@pytest.mark.slow
def test_outside_the_lungs_no_change_gives_a_verdict(pipeline, monkeypatch):
    ill = Calibration(slope=1.0, bias=0.0, ill_classes=(1, 2), control_rate=0.0, control_limit=0.1)
    card = dataclasses.replace(pipeline.cards[-1], calibration=ill)
    own = copy.copy(pipeline)
    own.cards = (*pipeline.cards[:-1], card)
    volume, _ = make_phantom(slices=20, size=128)
    lungs = finish(lungs_of(volume))[-1]
    inside, outside = lungs.slices[0], next(k for k in range(20) if lungs.has_lung(k) is False)
    (with_lung,) = finish(stability(own, volume, inside, own.detections, own.evidence))
    (without,) = finish(stability(own, volume, outside, own.detections, own.evidence))
    assert len(with_lung.ill) == 8
    assert (without.ill, without.ill_range) == ((), None)
    assert "before the edit" in steady_words(with_lung, edited=True)
