"""Features of what the network sees, and slices that are unlike the training data."""

import dataclasses

import numpy as np

from model_core.base.calibration import Calibration, TrainingCloud
from model_core.base.jobs import finish
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.engine.novelty import FEATURES, distance, features_of
from model_core.phantom import make_phantom

ROWS = np.zeros((16, 5), np.float32)


def chest(size=128):
    """Air, a body, two lungs: greys of the network's input."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    picture = np.where((x / 0.45) ** 2 + (y / 0.33) ** 2 < 1, 0.86, 0.0)
    for side in (-0.2, 0.2):
        picture[((x - side) / 0.14) ** 2 + (y / 0.2) ** 2 < 1] = 0.25
    return picture.astype(np.float32)


def test_features_are_few_named_and_tell_pictures_apart():
    assert len(FEATURES) == len(set(FEATURES)) <= 20
    normal = features_of(chest(), ROWS)
    assert normal.shape == (len(FEATURES),)
    assert np.isfinite(normal).all()
    named = dict(zip(FEATURES, normal, strict=True))
    assert named["left-right likeness"] > 0.99
    assert named["mean grey of the corners"] == 0.0
    inverted = dict(zip(FEATURES, features_of(1 - chest(), ROWS), strict=True))
    assert inverted["mean grey of the corners"] == 1.0
    assert inverted["share of air"] < named["share of air"]
    scores = ROWS.copy()
    scores[:, 0] = 0.9
    certain = dict(zip(FEATURES, features_of(chest(), scores), strict=True))
    assert certain["best score"] > named["best score"]
    assert np.isfinite(features_of(np.zeros((64, 64), np.float32), ROWS)).all()


def test_distance_by_hand():
    cloud = TrainingCloud(
        features=("a", "b"), mean=(1.0, 2.0), scale=(2.0, 1.0), precision=((1.0, 0.0), (0.0, 4.0)), limit=3.0
    )
    assert distance(cloud, np.array([1.0, 2.0])) == 0.0
    assert distance(cloud, np.array([7.0, 4.0])) == 5.0  # sqrt(3**2 + 4 * 2**2)


def test_slices_are_marked_and_their_class_is_not_changed(tiny_weights):
    volume, _ = make_phantom(slices=4, size=96)
    names = [str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")]
    plain = load_pipeline(names, device="cpu")
    count = len(FEATURES)
    cloud = TrainingCloud(
        features=FEATURES,
        mean=(0.0,) * count,
        scale=(1.0,) * count,
        precision=tuple(tuple(float(row == column) for column in range(count)) for row in range(count)),
        limit=1e-6,
    )
    known = Calibration(
        slope=1.0, bias=0.0, ill_classes=(2,), control_rate=0.1, control_limit=0.2, cloud=cloud
    )
    found = []
    for calibration in (None, known, dataclasses.replace(known, cloud=dataclasses.replace(cloud, limit=1e6))):
        card = dataclasses.replace(plain.cards[-1], calibration=calibration)
        plain.cards = (plain.cards[0], card)
        found += finish(run(plain, volume, [1]))
    assert [one.unlike_training for one in found] == [None, True, False]
    for one in found[1:]:
        np.testing.assert_array_equal(one.verdict.logits, found[0].verdict.logits)
