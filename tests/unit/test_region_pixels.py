"""From a region to pixels: maps of the logit of one region, and that they are those of its weights."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from model_core.base.errors import SettingsError
from model_core.base.jobs import finish
from model_core.base.settings import Architecture, EvidenceSettings, InputSpec
from model_core.engine import run
from model_core.engine.backend import GradientBackend
from model_core.engine.lungs import known_lungs, lungs_of
from model_core.engine.pipeline import Pipeline
from model_core.engine.torch_backend import TorchBackend
from model_core.explain import RegionPixels, edit_picture, explain_region, paste_maps, region_cells, show
from model_core.export import region_in_words
from model_core.export.region import region_entry
from model_core.networks import ImageHead, build
from model_core.networks.region_gradient import region_logit
from model_core.phantom import make_phantom
from model_core.weights.card import ModelCard

SIZE, INDEX = 64, 1


def pipeline(*, seed=3, kind="single_shot", branches=2):
    torch.manual_seed(seed)
    architecture = Architecture(
        kind=kind, truncation=2, anchor_sizes=(8, 16, 32), aspect_ratios=(1.0,), roi_batch_size=8, s_width=8,
        branches=branches,
    )  # fmt: skip
    card = ModelCard(
        name="tiny", title="Tiny", architecture=architecture, region_classes=("Lesion",),
        image_classes=("Control", "Other", "COVID-19"), input=InputSpec(size=SIZE),
        evidence=EvidenceSettings(batch_size=8), licence="none",
    )  # fmt: skip
    network = build(architecture, card.detector)
    for parameter in network.roi_heads.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    head = ImageHead(roi_batch_size=8, width=8, classes=3)
    return Pipeline(backend=TorchBackend(network, head=head), cards=(card,), has_class=True), network


@pytest.fixture(scope="module")
def volume():
    found = make_phantom(slices=4, size=SIZE)[0]
    finish(lungs_of(found))
    return found


@pytest.fixture
def nothing_marked(monkeypatch):
    """Let the random network, which marks everything, mark nothing, so that there is healthy lung."""
    module = sys.modules[edit_picture.__module__]
    monkeypatch.setattr(
        module, "weakly_marked", lambda _, result, __: np.zeros(result.placement.slice_shape, bool)
    )


@pytest.fixture
def watched(monkeypatch):
    """Say which pictures a network looks at, and along which integrated gradients go, from here on."""

    def watch(own):
        looks, path, backend = [], [], own.evidence_backend
        look, gradient = backend.look, backend.region_gradient

        def looking(picture, **how):
            looks.append(picture)
            return look(picture, **how)

        def along(picture, *args, **how):
            path.append(picture)
            return gradient(picture, *args, **how)

        monkeypatch.setattr(backend, "look", looking)
        monkeypatch.setattr(backend, "region_gradient", along)
        return looks, path

    return watch


def analysed(own, volume, index=INDEX):
    *_, result, _ = run(own, volume, [index])
    return result, show(own, volume, result, own.detections, own.evidence)


def in_the_lung(result, roi, box=(15.0, 29.0, 24.0, 37.0)):
    """Return a result whose region has its proposal in the lung, and the region."""
    candidates = result.evidence_candidates
    proposals, boxes = candidates.proposals.copy(), candidates.boxes.copy()
    proposals[roi.candidate] = boxes[roi.candidate] = box
    moved = dataclasses.replace(candidates, proposals=proposals, boxes=boxes)
    return dataclasses.replace(result, evidence_candidates=moved), dataclasses.replace(roi, box=box)


def maps_of(job):
    return [item for item in finish(job) if isinstance(item, RegionPixels)]


def test_cells_add_up_to_the_logit_but_for_the_biases(volume):
    own, network = pipeline()
    for name, parameter in network.named_parameters():
        if "box" in name and name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    result, shown = analysed(own, volume)
    candidates = result.evidence_candidates
    for roi in shown.rois[:3]:
        cells = region_cells(own, result, roi)
        assert cells.shape == (7, 7)
        score = candidates.scores[roi.candidate].astype(np.float64)
        # Two ReLUs without biases: the gradient times the activation is the logit itself, from float16 maps.
        assert cells.sum() == pytest.approx(np.log(score / (1 - score)), rel=0.02, abs=2e-3)


def test_the_gradient_is_that_of_the_logit_by_a_pixel(volume):
    own, _ = pipeline()
    backend = own.backend
    assert isinstance(backend, GradientBackend)
    rng = np.random.default_rng(0)
    picture = rng.uniform(0.2, 0.8, (SIZE, SIZE)).astype(np.float32)
    proposal = np.array([10, 12, 40, 44], np.float32)
    logit, slope = backend.region_gradient(picture, proposal, 1, branch="evidence")
    look = backend.look(picture)
    found = backend.regions(look, proposal[None], branch="evidence")
    score = float(found.scores[0])
    assert logit == pytest.approx(np.log(score / (1 - score)), abs=1e-4)
    # Along the slope itself, where the logit moves most.
    steepest = slope / np.linalg.norm(slope)
    step = 0.02
    ahead, behind = (
        backend.region_gradient(picture + sign * step * steepest, proposal, 1, branch="evidence")[0]
        for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(float(np.linalg.norm(slope)), rel=0.05)


def test_what_a_region_hangs_on(volume):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    roi = shown.rois[0]
    first, cells, gradients, found = maps_of(explain_region(own, volume, result, roi, own.detections, grid=2))
    assert [len(part.maps) for part in (first, cells, gradients, found)] == [1, 2, 3, 5], "as they come"
    score = result.evidence_candidates.scores[roi.candidate].astype(np.float64)
    assert found.logit == pytest.approx(np.log(score / (1 - score)), abs=1e-4)
    assert found.fixed.shape == found.found.shape == (2, 2)
    assert found.score >= score - 1e-5
    assert found.pixels.shape == (SIZE, SIZE)
    assert found.relative_error <= 0.01 or found.error <= 0.01, "as many steps as that takes"
    assert found.error == pytest.approx(abs(found.pixels.sum() - (found.logit - found.healed)), abs=1e-9)
    # Nothing but the proposal differs between the ends of the path.
    left, top, right, bottom = np.rint(result.evidence_candidates.proposals[roi.candidate]).astype(int)
    outside = found.pixels.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()
    assert found.cell_size == pytest.approx(
        ((found.proposal[2] - found.proposal[0]) / 7, (found.proposal[3] - found.proposal[1]) / 7)
    )


def test_occlusion_of_everything_is_the_picture_without_the_region(volume, nothing_marked, watched):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    result, roi = in_the_lung(result, shown.rois[0])
    looks, _ = watched(own)
    *_, found = finish(explain_region(own, volume, result, roi, own.detections, grid=1))
    look = own.backend.look(looks[-1])
    proposal = result.evidence_candidates.proposals[roi.candidate]
    score = float(own.backend.regions(look, proposal[None], branch="evidence").scores[0])
    assert found.fixed[0, 0] == pytest.approx(found.logit - np.log(score / (1 - score)), abs=1e-4)


def test_healthy_lung_is_filled_in_with_its_texture(volume, nothing_marked, watched):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    result, roi = in_the_lung(result, shown.rois[0])
    looks, path = watched(own)
    *_, found = finish(explain_region(own, volume, result, roi, own.detections, grid=2))
    assert (found.filling, found.why_grey) == ("texture", "")
    assert all(one.filling == "healthy texture" for one in found.maps[2:])
    picture = looks[0]
    healthy = picture[known_lungs(volume).mask(INDEX)]
    left, top, right, bottom = np.rint(found.grid).astype(int)
    covered = np.zeros(picture.shape, bool)
    for other in looks[1:]:
        cell = other != picture
        assert not (cell & covered).any(), "each pixel is hidden once"
        covered |= cell
    outside = covered.copy()
    outside[top:bottom, left:right] = False
    assert not outside.any()
    filled = np.max([np.where(other != picture, other, 0) for other in looks[1:]], axis=0)[covered]
    assert filled.std() == pytest.approx(healthy.std(), rel=0.5), "texture, not one grey"
    assert filled.mean() == pytest.approx(healthy.mean(), abs=float(healthy.std()))
    # Integrated gradients begin where what of the proposal is lung is healed; the rest of the slice stays.
    healed = path[0] != picture
    assert healed.any()
    own_box = np.zeros(picture.shape, bool)
    left, top, right, bottom = np.rint(found.proposal).astype(int)
    own_box[top:bottom, left:right] = True
    assert not (healed & ~own_box).any()
    assert not (healed & (volume.voxels[INDEX] > 150)).any(), "no bone"
    assert np.ptp(path[0][healed]) > 0.02


def test_a_slice_of_another_size_than_the_network_is_healed_in_its_own_pixels(nothing_marked, watched):
    volume = make_phantom(slices=4, size=96)[0]
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    result, roi = in_the_lung(result, shown.rois[0], (16.0, 32.0, 22.0, 38.0))
    looks, path = watched(own)
    *_, found = finish(explain_region(own, volume, result, roi, own.detections, grid=1))
    assert found.filling == "texture"
    changed = np.argwhere(path[0] != looks[0])
    assert len(changed) > 20
    assert (changed >= (32, 16)).all()
    assert (changed < (38, 22)).all()
    assert found.relative_error <= 0.01 or found.error <= 0.01


@pytest.mark.parametrize(
    ("marked", "filling", "why"),
    [
        ("all", "around", "too little of the slice is healthy lung"),
        ("all but a strip", "mean", "too little of the slice is healthy lung"),
        ("no lung", "around", "no lung was found"),
    ],
)
def test_without_healthy_lung_to_copy_it_is_one_grey_and_said(
    volume, marked, filling, why, monkeypatch, watched
):
    own, _ = pipeline()
    if marked == "no lung":
        volume = dataclasses.replace(volume, voxels=np.full_like(volume.voxels, 40))
    result, shown = analysed(own, volume)
    everything = np.ones((SIZE, SIZE), bool)
    if marked == "all but a strip":
        # Two pixels of it are as far from what is marked as healthy lung has to be.
        everything[:, 16:24] = False
    monkeypatch.setattr(sys.modules[edit_picture.__module__], "weakly_marked", lambda *_: everything)
    result, roi = in_the_lung(result, shown.rois[0])
    looks, path = watched(own)
    *_, found = finish(explain_region(own, volume, result, roi, own.detections, grid=1))
    assert found.filling == filling
    assert why in found.why_grey
    assert "one grey" in found.filled_with
    assert why in region_entry(found)["occlusion"]["filled_with"]
    assert why in region_in_words(found)
    assert all("one grey" in one.legend and "one grey" in one.title for one in found.maps[-3:])
    left, top, right, bottom = np.rint(found.proposal).astype(int)
    assert np.ptp(path[0][top:bottom, left:right]) == 0
    left, top, right, bottom = np.rint(found.grid).astype(int)
    assert np.ptp(looks[-1][top:bottom, left:right]) == 0


def test_integrated_gradients_are_those_of_captum(volume, nothing_marked, watched):
    """The same straight path by the rule of another library: both sums within 1 %, the pixels within 5 %."""
    attr = pytest.importorskip("captum.attr")
    own, network = pipeline()
    result, shown = analysed(own, volume)
    result, roi = in_the_lung(result, shown.rois[0])
    looks, path = watched(own)
    job = explain_region(own, volume, result, roi, own.detections, grid=1, tolerance=1e-3)
    found = next(item for item in job if isinstance(item, RegionPixels) and item.pixels is not None)
    job.close()
    box = torch.from_numpy(result.evidence_candidates.proposals[roi.candidate])

    def logits(pictures):
        looks = network.features(pictures.expand(-1, 3, -1, -1))
        one = [{level: maps[k : k + 1] for level, maps in looks.items()} for k in range(len(pictures))]
        return torch.stack([region_logit(network, each, box, 1, size=SIZE, evidence=True) for each in one])

    ends = (torch.from_numpy(picture)[None, None] for picture in (looks[0], path[0]))
    theirs = attr.IntegratedGradients(logits).attribute(*ends, n_steps=64)[0, 0].numpy()
    assert np.abs(theirs - found.pixels).sum() < 0.05 * np.abs(theirs).sum()
    for pixels in (theirs, found.pixels):
        assert pixels.sum() == pytest.approx(found.logit - found.healed, rel=0.01, abs=0.01)


def test_randomised_weights_destroy_the_maps(volume):
    """Maps that stayed would be of the picture, not of the network (Adebayo et al. 2018)."""
    own, network = pipeline()
    result, shown = analysed(own, volume)
    roi = shown.rois[0]
    before = region_cells(own, result, roi)
    picture = np.random.default_rng(0).uniform(0, 1, (SIZE, SIZE)).astype(np.float32)
    proposal = result.evidence_candidates.proposals[roi.candidate]

    def pixels():
        return own.backend.region_gradient(picture, proposal, 1, branch="evidence")[1]

    slope = pixels()
    assert np.array_equal(region_cells(own, result, roi), before)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(4):
        with torch.no_grad():
            for parameter in (*network.roi_heads.parameters(), *network.backbone.parameters()):
                mean, spread = float(parameter.mean()), float(parameter.std(correction=0))
                parameter.normal_(mean, spread, generator=generator)
        after, other = region_cells(own, result, roi), pixels()
        found.append(
            (spearmanr(before.ravel(), after.ravel())[0], spearmanr(slope.ravel(), other.ravel())[0])
        )
    cells, gradients = np.abs(np.mean(found, axis=0))
    assert cells < 0.6
    assert gradients < 0.2


def test_without_gradients_there_is_occlusion_alone(volume):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    torch_backend = own.backend

    class Plain:
        device = "cpu"
        look, regions, masks = torch_backend.look, torch_backend.regions, torch_backend.masks

    own.backend = own.evidence_backend = Plain()
    assert region_cells(own, result, shown.rois[0]) is None
    *_, found = finish(explain_region(own, volume, result, shown.rois[0], own.detections, grid=1))
    assert found.cells is None
    assert found.pixels is None
    assert np.isfinite(found.fixed).all()


def test_a_box_that_was_asked_about_is_no_region(volume):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    roi = dataclasses.replace(shown.rois[0], candidate=len(result.evidence_candidates))
    with pytest.raises(SettingsError, match="asked about"):
        next(explain_region(own, volume, result, roi, own.detections))


def test_the_mask_is_that_of_the_region(volume):
    own, _ = pipeline(branches=1)
    result, shown = analysed(own, volume)
    detected = int(shown.detections.indices[0]) if len(shown.detections) else None
    roi = next((roi for roi in shown.rois if roi.candidate == detected), shown.rois[0])
    job = explain_region(own, volume, result, roi, own.detections)
    found = next(item for item in job if isinstance(item, RegionPixels))
    job.close()
    logits = own.mask_logits(result, np.array([roi.candidate]))
    (patch,) = paste_maps(
        logits,
        result.placement.to_slice(result.detection_candidates.boxes[[roi.candidate]]),
        result.placement.slice_shape,
        framed=False,
    )
    # Those of the stored float16 maps are off by as much.
    assert found.mask.values == pytest.approx(patch.values, abs=0.02)
    assert found.mask.at(patch.left + 0.5, patch.top + 0.5) == pytest.approx(patch.values[0, 0], abs=0.02)
    assert found.mask.at(patch.left - 0.5, patch.top) is None
