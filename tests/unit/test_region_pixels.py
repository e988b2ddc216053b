"""From a region to pixels: maps of the logit of one region, and that they are those of its weights."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from model_core.base.errors import SettingsError
from model_core.base.jobs import finish
from model_core.base.settings import Architecture, EvidenceSettings, InputSpec
from model_core.engine import run
from model_core.engine.backend import GradientBackend
from model_core.engine.pipeline import Pipeline
from model_core.engine.torch_backend import TorchBackend
from model_core.explain import RegionPixels, explain_region, paste_maps, region_cells, show
from model_core.networks import ImageHead, build
from model_core.phantom import make_phantom
from model_core.weights.card import ModelCard

SIZE = 64


def pipeline(*, seed=3, mirror=False, kind="single_shot", branches=2):
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
    if mirror:
        card = dataclasses.replace(card, detector=dataclasses.replace(card.detector, mirror=True))
    network = build(architecture, card.detector)
    for parameter in network.roi_heads.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    head = ImageHead(roi_batch_size=8, width=8, classes=3)
    return Pipeline(backend=TorchBackend(network, head=head), cards=(card,), has_class=True), network


@pytest.fixture(scope="module")
def volume():
    return make_phantom(slices=4, size=SIZE)[0]


def analysed(own, volume, index=1):
    *_, result, _ = run(own, volume, [index])
    return result, show(own, volume, result, own.detections, own.evidence)


@pytest.mark.parametrize("mirror", [False, True])
def test_cells_add_up_to_the_logit_but_for_the_biases(volume, mirror):
    own, network = pipeline(mirror=mirror)
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


@pytest.mark.parametrize("mirror", [False, True])
def test_the_gradient_is_that_of_the_logit_by_a_pixel(volume, mirror):
    own, _ = pipeline(mirror=mirror)
    backend = own.backend
    assert isinstance(backend, GradientBackend)
    rng = np.random.default_rng(0)
    picture = rng.uniform(0.2, 0.8, (SIZE, SIZE)).astype(np.float32)
    proposal = np.array([10, 12, 40, 44], np.float32)
    ask = {"mirror": mirror, "branch": "evidence"}
    logit, slope = backend.region_gradient(picture, proposal, 1, **ask)
    look = backend.look(picture, mirror=mirror)
    found = backend.regions(look, proposal[None], branch="evidence")
    score = float(found.scores[0])
    assert logit == pytest.approx(np.log(score / (1 - score)), abs=1e-4)
    # Along the slope itself, where the logit moves most.
    steepest = slope / np.linalg.norm(slope)
    step = 0.02
    ahead, behind = (
        backend.region_gradient(picture + sign * step * steepest, proposal, 1, **ask)[0] for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(float(np.linalg.norm(slope)), rel=0.05)


def test_what_a_region_hangs_on(volume):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    roi = shown.rois[0]
    first, cells, gradients, found = finish(
        explain_region(own, volume, result, roi, masks=shown.masks, grid=2)
    )
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


def test_occlusion_of_everything_is_the_picture_without_the_region(volume):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    *_, found = finish(explain_region(own, volume, result, shown.rois[0], grid=1))
    from model_core.engine.preprocess import network_input

    picture = network_input(volume, 1, own.input)
    left, top, right, bottom = np.rint(result.evidence_placement.to_network(found.grid[None])[0]).astype(int)
    picture[top:bottom, left:right] = found.healthy
    look = own.backend.look(picture, mirror=False)
    proposal = result.evidence_candidates.proposals[shown.rois[0].candidate]
    score = float(own.backend.regions(look, proposal[None], branch="evidence").scores[0])
    assert found.fixed[0, 0] == pytest.approx(found.logit - np.log(score / (1 - score)), abs=1e-4)


def test_randomised_weights_destroy_the_maps(volume):
    """Maps that stayed would be of the picture, not of the network (Adebayo et al. 2018)."""
    own, network = pipeline(mirror=True)
    result, shown = analysed(own, volume)
    roi = shown.rois[0]
    before = region_cells(own, result, roi)
    picture = np.random.default_rng(0).uniform(0, 1, (SIZE, SIZE)).astype(np.float32)
    proposal = result.evidence_candidates.proposals[roi.candidate]

    def pixels():
        return own.backend.region_gradient(picture, proposal, 1, mirror=True, branch="evidence")[1]

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
    *_, found = finish(explain_region(own, volume, result, shown.rois[0], grid=1))
    assert found.cells is None
    assert found.pixels is None
    assert np.isfinite(found.fixed).all()


def test_a_box_that_was_asked_about_is_no_region(volume):
    own, _ = pipeline()
    result, shown = analysed(own, volume)
    roi = dataclasses.replace(shown.rois[0], candidate=len(result.evidence_candidates))
    with pytest.raises(SettingsError, match="asked about"):
        next(explain_region(own, volume, result, roi))


def test_the_mask_is_that_of_the_region(volume):
    own, _ = pipeline(branches=1)
    result, shown = analysed(own, volume)
    detected = int(shown.detections.indices[0]) if len(shown.detections) else None
    roi = next((roi for roi in shown.rois if roi.candidate == detected), shown.rois[0])
    job = explain_region(own, volume, result, roi)
    found = next(item for item in job if isinstance(item, RegionPixels))
    job.close()
    logits = own.mask_logits(result, np.array([roi.candidate]))
    (patch,) = paste_maps(
        logits,
        result.placement.to_slice(own.mask_boxes(result, np.array([roi.candidate]))),
        result.placement.slice_shape,
        framed=False,
    )
    # Those of the stored float16 maps are off by as much.
    assert found.mask.values == pytest.approx(patch.values, abs=0.02)
    assert found.mask.at(patch.left + 0.5, patch.top + 0.5) == pytest.approx(patch.values[0, 0], abs=0.02)
    assert found.mask.at(patch.left - 0.5, patch.top) is None
