"""Training of the shipped detector: augmentation, sampling, exact resume, export."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import finish
from model_core.base.resources import resource
from model_core.base.settings import Architecture, DetectorTraining
from model_core.data import instances
from model_core.train.augment import augment
from model_core.train.dense import DenseHead, dense_loss
from model_core.train.drawing import MIN_AREA, PatientSampler, StageSteps
from model_core.train.ema import WeightAverage
from model_core.train.examples import Instances
from model_core.train.geometry import Motion, draw_motion, warp
from model_core.train.lesion import LesionTraining, learning_rate
from model_core.train.packing import LUNG_BIT, PackedSlice, files_digest, pack, window_to_bytes
from model_core.train.recipe import Recipe, Source, Stage, read_recipe, recipe_names
from model_core.train.shipping import export_lesions, split_lists, thinned


def disc(size, centre, radius):
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    return (rows + 0.5 - centre[0]) ** 2 + (columns + 0.5 - centre[1]) ** 2 < radius**2


def packed(
    name="s", *, source="A", patient="p", validation=False, lesion=True, shape=(70, 90), centre=(30, 40)
):
    spot = disc(shape, centre, 12)
    labels = np.where(spot & lesion, 1, 0) | np.where(disc(shape, (35, 45), 30), LUNG_BIT, 0)
    return PackedSlice(
        name=name,
        source=source,
        patient=patient,
        validation=validation,
        cropped=True,
        has_lung=True,
        hu_error=60.0,
        image=np.where(spot, 250, 60).astype(np.uint8),
        labels=labels.astype(np.uint8),
    )


# -------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("seed", range(8))
def test_picture_and_labels_move_together(seed):
    one = packed()
    motion = draw_motion(np.random.default_rng(seed), shape=(70, 90), zoom=(0.7, 1.3))
    picture, labels, inside = warp(one.image, one.labels, motion, size=96)
    bright, lesion = picture > 0.6, (labels & 1) > 0
    assert lesion.any()
    assert (bright & lesion).sum() / (bright | lesion).sum() > 0.93
    assert not picture[inside == 0].any()
    assert not labels[inside == 0].any()


def test_still_motion_scales_like_the_network_input():
    from model_core.base.geometry import Geometry
    from model_core.base.settings import InputSpec
    from model_core.base.volume import Volume
    from model_core.engine.preprocess import network_input

    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 255, (12, 16)), 5, 0), 5, 1).astype(np.uint8)
    hu = -1250 + image.astype(np.float32) * 1500 / 255
    volume = Volume("x", "x", np.rint(hu).astype(np.int16)[None], Geometry())
    wanted = network_input(volume, 0, InputSpec(size=128))
    moved, _, _ = warp(image, np.zeros_like(image), Motion(), size=128)
    assert np.abs(moved - wanted)[4:-4, 4:-4].mean() < 0.01


def test_flip_mirrors_and_angle_turns():
    one = packed(shape=(80, 80), centre=(40, 20))
    straight, _, _ = warp(one.image, one.labels, Motion(), size=80)
    mirrored, _, _ = warp(one.image, one.labels, Motion(flip=True), size=80)
    np.testing.assert_allclose(mirrored, straight[:, ::-1], atol=1e-5)
    turned, _, _ = warp(one.image, one.labels, Motion(angle=np.pi / 2), size=80)
    assert min(np.abs(np.rot90(straight, k) - turned).mean() for k in (1, 3)) < 0.01


def test_augment_is_deterministic_and_in_range():
    one = packed()
    first = augment(one, np.random.default_rng(5), size=64, zoom=(0.8, 1.4))
    again = augment(one, np.random.default_rng(5), size=64, zoom=(0.8, 1.4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.lesion, again.lesion)
    for seed in range(30):
        example = augment(one, np.random.default_rng(seed), size=64, zoom=(0.8, 1.4))
        assert example.image.dtype == np.float32
        assert np.isfinite(example.image).all()
        assert 0 <= example.image.min() <= example.image.max() <= 1
        assert set(np.unique(example.lesion)) <= {0, 1}


def test_a_share_of_the_slices_keeps_its_greys():
    grey = np.full((70, 90), 60, np.uint8)
    one = dataclasses.replace(packed(), image=grey, cropped=False, has_lung=False)

    def kept(appearance):
        draws = (np.random.default_rng(seed) for seed in range(60))
        pictures = [
            augment(one, draw, size=64, zoom=(1.3, 1.5), appearance=appearance).image for draw in draws
        ]
        return sum(abs(np.median(picture) - 60 / 255) < 1e-6 for picture in pictures)

    assert kept(1.0) <= 3
    assert 15 <= kept(0.5) <= 45
    assert kept(0.0) >= 50  # a dome of the diaphragm covers some


def test_lesion_free_slices_sometimes_give_way_to_air_or_tissue():
    one = packed(lesion=False)
    examples = [augment(one, np.random.default_rng(seed), size=48, zoom=(0.9, 1.1)) for seed in range(80)]
    assert not any(example.lesion.any() for example in examples)
    assert 1 <= sum(example.lung is None for example in examples) <= 25


# --------------------------------------------------------------------------------------- targets


def test_detection_target_boxes_are_pixel_edges():
    lesion = np.zeros((40, 40), np.uint8)
    lesion[3:10, 5:20] = 1
    lesion[30:32, 30:32] = 1  # too small to learn
    target = Instances.of(*instances(lesion, "merge", MIN_AREA)).target()
    assert target["boxes"].tolist() == [[5, 3, 20, 10]]
    assert target["masks"].sum() == 7 * 15
    empty = Instances.of(*instances(np.zeros((40, 40), np.uint8), "merge", MIN_AREA)).target()
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, 40, 40)


def drawn(one, *, mask_type="merge", seed=0):
    """The example of a slice as a dense stage draws it."""
    stage = Stage(kind="dense", steps=1, size=64, batch=1, learning_rate=1, final_rate=1, zoom=(0.9, 1.1))
    steps = StageSteps(PatientSampler([one], {"A": 1.0}), stage, key=(seed, 0), mask_type=mask_type)
    return steps.draw(0)[0]


def test_dense_loss_falls_with_the_right_answer_and_ignores_unknown_lung():
    examples = [drawn(packed(), seed=1)]
    examples.append(dataclasses.replace(examples[0], known=np.array([True, False])))
    target = torch.from_numpy(np.stack([one.pixels for one in examples])).float()
    right = (torch.nn.functional.avg_pool2d(target, 4) - 0.5) * 12
    assert dense_loss(right, examples) < 0.2 < dense_loss(-right, examples)
    changed = right.clone()
    changed[1, 1] = 50.0
    torch.testing.assert_close(dense_loss(changed, examples), dense_loss(right, examples))
    assert DenseHead()(torch.zeros(1, 256, 4, 4)).shape == (1, 2, 16, 16)


def test_dense_head_of_two_lesion_classes_also_learns_consolidation():
    both = packed()
    both.labels[28:34, 36:44] = 2 | LUNG_BIT
    example, merged = drawn(both, mask_type="both"), drawn(both)
    assert len(example.pixels) == len(example.known) == 3
    assert example.pixels[2].any()
    assert not (example.pixels[2] & ~example.pixels[0]).any()
    assert (example.pixels[0] & ~example.pixels[2]).any()
    np.testing.assert_array_equal(example.pixels[:2], merged.pixels)
    assert DenseHead(3)(torch.zeros(1, 256, 4, 4)).shape == (1, 3, 16, 16)


def test_average_warms_up_and_copies_counters():
    module = torch.nn.BatchNorm1d(2)
    average = WeightAverage(module, 0.9)
    module.weight.data.fill_(5.0)
    module.num_batches_tracked.fill_(7)
    average.update(module)
    assert 1 < average.state["weight"][0] < 5
    assert average.state["num_batches_tracked"] == 7
    for _ in range(200):
        average.update(module)
    torch.testing.assert_close(average.state["weight"], torch.full((2,), 5.0))


# --------------------------------------------------------------------------------------- sampler


def test_sampler_weights_sources_then_patients_and_never_validation():
    slices = [packed(str(k), patient="many") for k in range(16)]
    slices += [packed("single", patient="one"), packed("held", patient="held", validation=True)]
    slices += [packed(f"b{k}", source="B", patient=f"b{k}") for k in range(2)]
    sampler = PatientSampler(slices, {"A": 3.0, "B": 1.0})
    share = {one.name: p for one, p in zip(sampler.slices, sampler.probabilities, strict=True)}
    assert sum(p for name, p in share.items() if name.startswith("b")) == pytest.approx(0.25)
    assert share["single"] == pytest.approx(0.75 / 5)  # sqrt(1) against sqrt(16)
    assert share["3"] == pytest.approx(0.75 * 4 / 5 / 16)
    assert "held" not in share
    drawn = sampler.draw(np.random.default_rng(0), 50)
    assert len(drawn) == 50


def test_sampler_needs_something():
    with pytest.raises(DataError, match="held out"):
        PatientSampler([packed(validation=True)], {"A": 1.0})


# --------------------------------------------------------------------------------- recipe, packing


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "set"
    rng = np.random.default_rng(0)
    rows = ["file\tpatient\tapprox_hu_at_0\tapprox_hu_at_255"]
    for k in range(6):
        mask = disc((64, 80), rng.uniform(20, 44, 2), 11)
        image = np.where(mask, 200, 40) + rng.integers(0, 20, mask.shape)
        for sub, array in (("images", image), ("masks", mask)):
            (folder / sub).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(folder / sub / f"s{k}.png")
        rows.append(f"s{k}.png\tp{k // 2}\t-1250\t250")
    (folder / "index.tsv").write_text("\n".join(rows) + "\n")
    normal = tmp_path / "data" / "classes" / "normal"
    normal.mkdir(parents=True)
    Image.fromarray(rng.integers(30, 60, (64, 64)).astype(np.uint8)).save(normal / "clean_1.png")
    return tmp_path / "data"


@pytest.fixture
def recipe():
    return Recipe(
        name="tiny",
        title="Tiny",
        seed=4,
        architecture=Architecture(
            kind="segmentation", truncation=2, anchor_sizes=(16, 32), aspect_ratios=(1.0,)
        ),
        training=DetectorTraining(
            rpn_pre_nms=50, rpn_post_nms=20, roi_batch=8, roi_fg_iou=0.5, roi_bg_iou=0.5, legacy_loss=False
        ),
        sources={
            "A": Source(folder="set", validation=("p2",)),
            "N": Source(folder="classes", kind="negatives", prefix="clean", weight=0.3),
        },
        stages=(
            Stage(kind="dense", steps=2, size=64, batch=2, learning_rate=1e-3, final_rate=1e-4),
            Stage(kind="detect", steps=2, size=64, batch=2, learning_rate=1e-3, final_rate=1e-4),
        ),
    )


def test_packing_marks_validation_and_is_cached(data, recipe, tmp_path):
    slices = pack(recipe, data, tmp_path / "cache")
    assert [one.validation for one in slices] == [False] * 4 + [True] * 2 + [False]
    assert slices[0].image.shape == (64, 80)
    (cached,) = (tmp_path / "cache").iterdir()
    written = cached.stat().st_mtime_ns
    again = pack(recipe, data, tmp_path / "cache")
    np.testing.assert_array_equal(again[3].image, slices[3].image)
    assert cached.stat().st_mtime_ns == written
    # Other data are read, whatever the cache holds.
    Image.fromarray(255 - slices[0].image).save(data / "set" / "images" / "s0.png")
    changed = pack(recipe, data, tmp_path / "cache")
    assert not np.array_equal(changed[0].image, slices[0].image)
    np.testing.assert_array_equal(changed[3].image, slices[3].image)
    empty = dataclasses.replace(
        recipe, sources={**recipe.sources, "N": Source(folder="set", kind="negatives", prefix="none")}
    )
    (data / "set" / "normal").mkdir()
    Image.fromarray(slices[0].image).save(data / "set" / "normal" / "one_1.png")
    with pytest.raises(DataError, match=r"source N has no slice.*begins with 'none'"):
        pack(empty, data, tmp_path / "cache")
    wrong = dataclasses.replace(
        recipe, sources={**recipe.sources, "A": Source(folder="set", validation=("nobody",))}
    )
    with pytest.raises(DataError, match="nobody"):
        pack(wrong, data, tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="damaged; delete it"):
        pack(recipe, data, tmp_path / "cache")


def test_pictures_in_a_linked_folder_are_seen_to_change(tmp_path):
    pictures, folder = tmp_path / "disk", tmp_path / "set"
    pictures.mkdir()
    folder.mkdir()
    (pictures / "one.png").write_bytes(b"1")
    (folder / "images").symlink_to(pictures, target_is_directory=True)
    (folder / "again").symlink_to(folder, target_is_directory=True)  # a circle ends
    before = files_digest(folder)
    assert files_digest(folder) == before
    (pictures / "two.png").write_bytes(b"2")
    assert files_digest(folder) != before


def test_window_to_bytes_ends():
    np.testing.assert_array_equal(
        window_to_bytes(np.array([-2000, -1250, -500, 250, 900], np.float32)), [0, 0, 128, 255, 255]
    )


def test_two_and_two_steps_equal_four(data, recipe, tmp_path):
    slices = pack(recipe, data, tmp_path)
    whole = LesionTraining(recipe, slices, tmp_path / "whole")
    finish(whole.run())
    assert whole.finished
    for steps in (1, 2, 1):  # stops inside a stage and at its end
        part = LesionTraining(recipe, slices, tmp_path / "parts")
        finish(part.run(max_steps=steps))
    again = LesionTraining(recipe, slices, tmp_path / "parts")
    finish(again.run())
    assert again.finished
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
        assert torch.equal(whole.system.average.state[name], again.system.average.state[name]), name


def test_checkpoint_of_another_recipe_or_damaged(data, recipe, tmp_path):
    slices = pack(recipe, data, tmp_path)
    finish(LesionTraining(recipe, slices, tmp_path / "work").run(max_steps=1))
    with pytest.raises(DataError, match="another recipe"):
        LesionTraining(dataclasses.replace(recipe, seed=5), slices, tmp_path / "work")
    path = tmp_path / "work" / "checkpoint.pt"
    whole = path.read_bytes()
    listed = tmp_path / "listed.pt"
    torch.save([1], listed)
    for damaged in (whole[:1000], b"", b"no checkpoint at all", bytes(range(256)) * 9, listed.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            LesionTraining(recipe, slices, tmp_path / "work")
    with pytest.raises(DataError, match="damaged"):
        LesionTraining(recipe, slices, tmp_path / "work")


def test_export_writes_a_pair_of_file_and_card_that_loads(data, recipe, tmp_path):
    from model_core.engine.load import load_pipeline

    slices = pack(recipe, data, tmp_path)
    work = tmp_path / "work"
    with pytest.raises(DataError, match="no checkpoint"):
        finish(export_lesions(recipe, slices, work, tmp_path / "out"))
    finish(LesionTraining(recipe, slices, work).run())
    (card,) = finish(export_lesions(recipe, slices, work, tmp_path / "out"))
    assert card.metrics["all"]["images"] == 2
    assert 0 <= card.metrics["all"]["dice"] <= 1
    pipeline = load_pipeline([str(tmp_path / "out" / "tiny.safetensors")], device="cpu")
    assert pipeline.cards[0].detections == card.detections
    assert pipeline.cards[0].training["finished"]


def test_a_run_that_is_closed_keeps_its_steps(data, recipe, tmp_path):
    slices = pack(recipe, data, tmp_path)
    training = LesionTraining(recipe, slices, tmp_path / "work")
    job = training.run()
    next(job)
    next(job)
    job.close()
    assert LesionTraining(recipe, slices, tmp_path / "work").position == 1


def test_learning_rate_warms_up_and_falls():
    stage = Stage(kind="dense", steps=200, size=64, batch=1, learning_rate=1.0, final_rate=0.1)
    rates = [learning_rate(stage, step) for step in range(200)]
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_thinned_keeps_short_patients_whole():
    slices = [packed(str(k), patient="long") for k in range(20)] + [packed("x", patient="short")]
    assert len(thinned(slices, 4)) == 6


# -------------------------------------------------------------------------------- shipped recipes


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_sound(name):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert any(stage.kind in ("detect", "joint") for stage in recipe.stages)
    assert all(source.validation for source in recipe.sources.values() if source.kind == "pairs")
    if "A5" in recipe.sources:  # its licence forbids derivatives
        assert "A5" not in recipe.without(("A5",)).sources
    with pytest.raises(SettingsError, match="no source"):
        recipe.without(("nothing",))


def test_damaged_recipe_is_a_settings_error(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(SettingsError, match="damaged"):
        read_recipe(str(path))
    path.write_text(json.dumps({"name": "x"}))
    with pytest.raises(SettingsError, match="damaged"):
        read_recipe(str(path))
    known = json.loads(resource("recipes").joinpath("lesion-r18t1.json").read_text("utf-8"))
    former = {"score_target": "overlap", "mask_box_scale": 1.3}
    changes = [{"mirror": True}, {"mask_box_scale": 1.3}]
    changes += [{"training": {**known["training"], name: value}} for name, value in former.items()]
    changes += [{"stages": [{**known["stages"][0], "moves": "heads"}]}]
    for change in changes:
        path.write_text(json.dumps({**known, **change}))
        with pytest.raises(SettingsError, match=r"another version: the field .* is unknown"):
            read_recipe(str(path))
    unlabelled = {"U": {"folder": "u", "kind": "unlabelled"}}
    path.write_text(json.dumps({**known, "sources": {**known["sources"], **unlabelled}}))
    with pytest.raises(SettingsError, match=r'sources\.U\.kind is "unlabelled"'):
        read_recipe(str(path))
    with pytest.raises(SettingsError, match="no recipe"):
        read_recipe("unheard-of")


@pytest.mark.slow
@pytest.mark.shared_data
def test_no_slice_is_in_training_and_validation(shared_data, tmp_path):
    recipe = read_recipe("lesion-r18t1")
    small = recipe.without(("A4", "mosmed_normal", "ho_normal"))
    lists = split_lists(pack(small, shared_data, tmp_path))
    for source, held in lists["validation"].items():
        train = lists["train"][source]
        assert held
        assert not set(held) & set(train)
        assert not set(held.values()) & set(train.values())


def test_a_picture_under_two_names_is_held_out_under_both(data, recipe, tmp_path):
    # Among the negatives clean_2 is the held-out s4; s0 is drawn, and so is its twin clean_3.
    for name, twin in (("s4", "clean_2"), ("s0", "clean_3")):
        picture = data / "set" / "images" / f"{name}.png"
        (data / "classes" / "normal" / f"{twin}.png").write_bytes(picture.read_bytes())
    sides = {one.name: one.validation for one in pack(recipe, data, tmp_path)}
    held = {name for name, side in sides.items() if side}
    assert held == {"s4", "s5", "clean_2"}
    again = {one.name: one.validation for one in pack(recipe, data, tmp_path)}  # from the cache
    assert again == sides


@pytest.mark.shared_data
def test_the_eleven_slices_that_two_sets_share_are_on_one_side(shared_data, recipe, tmp_path):
    outlined = Source(folder="A5_mosmed_lesion", validation=("study_0257", "study_0280"), cropped=False)
    graded = Source(
        folder="B_slice_classification",
        kind="classified",
        image_class="covid",
        prefix="mosmed_ct1",
        cropped=False,
    )
    slices = pack(dataclasses.replace(recipe, sources={"A5": outlined, "B": graded}), shared_data, tmp_path)
    named = {}
    for one in slices:
        named.setdefault(one.picture, []).append(one)
    twins = [ones for ones in named.values() if len(ones) > 1]
    assert len(twins) == 11
    assert all({one.source for one in ones} == {"A5", "B"} for ones in twins)
    held = [ones for ones in twins if ones[0].validation]
    assert len(held) == 2
    assert all(one.validation for ones in held for one in ones)
    assert not any(one.validation for ones in twins if ones not in held for one in ones)
