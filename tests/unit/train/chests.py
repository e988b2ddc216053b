"""Packed slices of two round lungs in soft tissue, and a recipe that a CPU trains in seconds."""

import dataclasses

import numpy as np

from model_core.base.settings import Architecture, DetectorTraining
from model_core.train.packing import LUNG_BIT, PackedSlice
from model_core.train.recipe import Recipe, Source, Stage

GREY_LUNG, GREY_SOFT, GREY_LESION = 60, 220, 140


def disc(shape, centre, radius):
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def chest(
    name="s", *, lesion=0, shape=(96, 120), source="A", has_lung=True, cropped=True, patient="p", seed=0
):
    """Two round lungs in soft tissue; ``lesion`` is the value of a spot in the left one."""
    rng = np.random.default_rng(seed)
    lung = disc(shape, (48, 32), 26) | disc(shape, (48, 88), 26)
    image = np.where(lung, GREY_LUNG, GREY_SOFT) + rng.integers(-5, 6, shape)
    spot = disc(shape, (50, 34), 10)
    labels = np.where(lung, LUNG_BIT if has_lung else 0, 0)
    if lesion:
        image[spot] = GREY_LESION
        labels = np.where(spot, labels | lesion, labels)
    return PackedSlice(
        name=name,
        source=source,
        patient=patient,
        validation=False,
        cropped=cropped,
        has_lung=has_lung,
        hu_error=50.0,
        image=np.clip(image, 0, 255).astype(np.uint8),
        labels=labels.astype(np.uint8),
    )


def tiny_recipe():
    stage = {"size": 64, "batch": 2, "learning_rate": 1e-3, "final_rate": 1e-4, "paste": 0.5}
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
        sources={"A": Source(folder="a", validation=("p5",)), "N": Source(folder="n", kind="negatives")},
        stages=(Stage(kind="dense", steps=1, **stage), Stage(kind="detect", steps=2, **stage)),
    )


def slices_of(recipe):
    found = [chest(f"s{k}", lesion=1 + k % 2, patient=f"p{k}", seed=k) for k in range(6)]
    found += [chest(f"n{k}", source="N", patient=f"n{k}", has_lung=False, seed=9 + k) for k in range(3)]
    return [
        dataclasses.replace(
            one, validation=recipe.sources[one.source].holds_out(name=one.name, patient=one.patient)
        )
        for one in found
    ]
