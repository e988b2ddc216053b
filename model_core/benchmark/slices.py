"""A slice through the program and through plain torchvision, at equal settings, and the arithmetic of it."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN as PlainMaskRCNN
from torchvision.ops import roi_align

from model_core.base.files import atomic_path, write_text
from model_core.base.jobs import finish
from model_core.base.settings import DetectionSettings
from model_core.base.volume import Volume
from model_core.benchmark.timing import in_turns, multiplications, multiply, ratio
from model_core.engine import roi_align as own
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.engine.pipeline import Pipeline
from model_core.engine.preprocess import network_input
from model_core.explain import show
from model_core.networks import build
from model_core.weights.card import ModelCard
from model_core.weights.store import default_names, load_weights

#: As in the papers.
PROPOSALS = 1000
#: Detections of the two cases that are timed.
MANY, FEW = 128, 16
# What is pooled of each proposal.
_POOL, _SAMPLES = 7, 2


def measure_slices(
    volume: Volume, weights: str, *, rounds: int, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ratios of a slice with many and with few detections, and what else was measured on the way.

    Parameters
    ----------
    volume:
        Its middle slice is looked at.
    weights:
        See `with_many_proposals`.
    rounds, seconds:
        Of each case, see `in_turns`.
    """
    index = volume.slices // 2
    pipeline = load_pipeline((weights,))
    results: dict[str, Any] = {}
    details: dict[str, Any] = {
        "weights": pipeline.cards[0].name,
        "proposals": PROPOSALS,
        "backend": type(pipeline.backend).__name__,
        "device": pipeline.device,
        "floor_gflop": {},
    }
    picture = torch.from_numpy(network_input(volume, index, pipeline.input)).expand(3, -1, -1)
    for case, detections in (("slice128", MANY), ("slice16", FEW)):
        settings = _settings(detections)
        look = partial(_look, plain_torchvision(weights, settings), picture)
        operations = _operations(look)
        ways: dict[str, Callable[[], object]] = {
            "torchvision": look,
            "ctmasknet": partial(whole_slice, pipeline, volume, index, settings),
            "product": multiply(),
        }
        times = in_turns(ways, rounds=rounds, seconds=seconds)
        results[f"{case}_speedup"] = ratio(times["torchvision"], times["ctmasknet"])
        details[case] = {way: statistics.median(own) for way, own in times.items()}
        details["floor_gflop"][str(detections)] = operations / 1e9
        if detections == MANY:
            floor = [own / multiplications() * operations for own in times["product"]]
            results["floor_share"] = ratio(floor, times["ctmasknet"])
            details["gflops"] = multiplications() / statistics.median(times["product"]) / 1e9
    return results, details


def whole_slice(pipeline: Pipeline, volume: Volume, index: int, settings: DetectionSettings) -> object:
    """Look at a slice and paste its masks, as for the window or an export."""
    detector = pipeline.without_class(settings)
    result = finish(run(detector, volume, [index]))[0]
    return show(detector, volume, result, settings, detector.evidence)


def with_many_proposals(folder: Path) -> str:
    """Copy the default lesion weights to a folder, with a card that keeps `PROPOSALS`; return their path.

    No NMS thins the proposals out: all ways do the same work.
    """
    name = next(name for name in default_names() if load_weights(name).card.kind != "classifier")
    weights = load_weights(name)
    path = folder / weights.path.name
    with atomic_path(path) as temporary:
        shutil.copyfile(weights.path, temporary)
    detector = replace(weights.card.detector, rpn_pre_nms=PROPOSALS, rpn_post_nms=PROPOSALS, rpn_nms_iou=1.0)
    write_text(path.with_suffix(".json"), replace(weights.card, detector=detector).to_json())
    return str(path)


def _settings(detections: int) -> DetectionSettings:
    """Return settings under which a slice has so many detections."""
    return DetectionSettings(score=0.0, nms_iou=0.75, max_detections=detections)


def network_of(name: str) -> tuple[ModelCard, Any]:
    """Return the card of weights and their network in torch, in eval mode."""
    weights = load_weights(name)
    card = weights.card
    network = build(card.architecture, card.detector, input_spec=card.input)
    network.load_state_dict({key: torch.as_tensor(t) for key, t in weights.tensors.items()}, strict=False)
    return card, network.eval()


def plain_torchvision(name: str, settings: DetectionSettings) -> PlainMaskRCNN:
    """Return torchvision's own Mask R-CNN around the parts of a network, with the settings of its card."""
    card, network = network_of(name)
    heads, size = network.roi_heads, card.input.size
    plain = PlainMaskRCNN(
        network.backbone,
        rpn_anchor_generator=network.rpn.anchor_generator,
        rpn_head=network.rpn.head,
        rpn_pre_nms_top_n_test=card.detector.rpn_pre_nms,
        rpn_post_nms_top_n_test=card.detector.rpn_post_nms,
        rpn_nms_thresh=card.detector.rpn_nms_iou,
        box_roi_pool=heads.box_roi_pool,
        box_head=heads.box_head,
        box_predictor=heads.box_predictor,
        box_score_thresh=settings.score,
        box_nms_thresh=settings.nms_iou,
        box_detections_per_img=settings.max_detections,
        mask_roi_pool=heads.mask_roi_pool,
        mask_head=heads.mask_head,
        mask_predictor=heads.mask_predictor,
        min_size=size,
        max_size=size,
        image_mean=list(card.input.mean),
        image_std=list(card.input.std),
    )
    return plain.eval()


def _look(plain: PlainMaskRCNN, picture: torch.Tensor) -> object:
    with torch.inference_mode():
        return plain([picture])


def _operations(way: Callable[[], object]) -> float:
    """Return the floating point operations of the convolutions and matrix products of a way."""
    with FlopCounterMode(display=False) as counter:
        way()
    return float(counter.get_total_flops())


def measure_roi_align(volume: Volume, weights: str, *, rounds: int, seconds: float) -> float | None:
    """Return how many times as fast the program's RoIAlign of a slice's proposals is as torchvision's.

    None where the program has none of its own.
    """
    kernels = own.compiled(wait=True)
    if kernels is None:
        return None
    pipeline = load_pipeline((weights,))
    look = pipeline.backend.look(network_input(volume, volume.slices // 2, pipeline.input))
    one = np.asarray(next(iter(look.maps.values())), np.float32)
    boxes = look.proposals
    tensor, rois = torch.from_numpy(one)[None], [torch.from_numpy(boxes)]
    last = own.channels_last(one)
    out = np.empty((len(boxes), _POOL * _POOL, len(one)), np.float32)

    scale, rows = len(last) / look.size, np.arange(len(boxes))

    def ours() -> None:
        kernels.roi_align(last, boxes, rows, out, scale=scale, pool=_POOL)

    def theirs() -> object:
        return roi_align(tensor, rois, _POOL, scale, _SAMPLES)

    times = in_turns({"torchvision": theirs, "ctmasknet": ours}, rounds=rounds, seconds=seconds)
    return ratio(times["torchvision"], times["ctmasknet"])


def growth(volume: Volume, weights: str, *, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return the seconds of a slice by its detections, and of the box branch alone by its proposals."""
    pipeline = load_pipeline((weights,))
    index = volume.slices // 2
    look = pipeline.backend.look(network_input(volume, index, pipeline.input))
    every = len(look.proposals)
    slices: dict[int, Callable[[], object]] = {
        count: partial(whole_slice, pipeline, volume, index, _settings(count)) for count in (1, FEW, 64, MANY)
    }
    branches: dict[int, Callable[[], object]] = {
        count: partial(pipeline.backend.regions, look, look.proposals[:count])
        for count in (every // 8, every // 4, every // 2, every)
    }
    return {
        "detections": _by_count(slices, "detections", rounds),
        "proposals": _by_count(branches, "proposals", rounds),
    }


def _by_count(ways: dict[int, Callable[[], object]], what: str, rounds: int) -> list[dict[str, float]]:
    times = in_turns({str(count): way for count, way in ways.items()}, rounds=rounds)
    return [{what: count, "seconds": statistics.median(times[str(count)])} for count in ways]
