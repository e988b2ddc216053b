"""Deterministic weights and input of the golden cases, and what of their numbers travels with the project.

Every checkpoint entry is drawn from its own NumPy PCG64 stream seeded with (seed, crc32(published name)),
so that names and shapes alone rebuild the checkpoint.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np

# What every n-th entry along its axes a small case keeps of an array; all else but the input is whole. Rows
# that may come in another order where scores tie are needed all.
STRIDES = {
    "feature_0_first8": (2, 2, 2),
    "class_logits": (6,),
    "box_regression": (6,),
    "mask_logits": (64,),
    "pasted_first4": (4,),
}


def tensor(name, shape, seed):
    """Return the float32 (int64 for counters) array of the checkpoint entry with this published name."""
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith("running_mean"):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    norm = ".bn" in name or ".downsample.1." in name
    if norm and name.endswith("weight"):
        gain = 0.4 if ".bn2." in name or ".bn3." in name else 1.0
        return (gain * rng.uniform(0.8, 1.2, shape)).astype(np.float32)
    if name.endswith("bias"):
        return (0.05 * rng.standard_normal(shape)).astype(np.float32)
    fan_in = shape[0] if "conv5_mask" in name else int(np.prod(shape[1:]))
    gains = {"cls_logits": 1.0, "bbox_pred": 0.3, "cls_score": 0.5, "fc6": 0.3, "mask_fcn_logits": 1.0}
    scale = next((gain for key, gain in gains.items() if key in name), 1.0)
    return (scale * np.sqrt(2.0 / fan_in) * rng.standard_normal(shape)).astype(np.float32)


def checkpoint(shapes, seed):
    """Return {name: array} for ``shapes`` = {name: shape}."""
    return {name: tensor(name, tuple(shape), seed) for name, shape in shapes.items()}


def slice_image(seed, size=512):
    """Return the uint8 (size, size) input: a body, two lungs and bright patches."""
    rng = np.random.Generator(np.random.PCG64([seed, 2020]))
    y, x = np.mgrid[0:size, 0:size].astype(np.float64) / size
    image = np.full((size, size), 8.0)
    image[((x - 0.5) / 0.45) ** 2 + ((y - 0.5) / 0.36) ** 2 < 1] = 170.0
    for centre in (0.31, 0.69):
        image[((x - centre) / 0.14) ** 2 + ((y - 0.5) / 0.25) ** 2 < 1] = 35.0
    for _ in range(12):
        cx, cy = rng.choice([0.31, 0.69]) + rng.uniform(-0.1, 0.1), rng.uniform(0.3, 0.7)
        rx, ry = rng.uniform(0.01, 0.06, 2)
        image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] += rng.uniform(30, 90)
    image += rng.normal(0, 6, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def kept(key, array, strides):
    """Return what a case with these strides keeps of an array."""
    return array[tuple(slice(None, None, step) for step in strides.get(key, ()))]


def reduce(case, folder):
    """Write the small case of a golden case (its .json path) into a folder."""
    about = json.loads(case.read_text())
    with np.load(case.with_suffix(".npz")) as golden:
        arrays = {key: kept(key, golden[key], STRIDES) for key in golden if key != "image"}
    about["strides"] = {key: steps for key, steps in STRIDES.items() if key in arrays}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / case.name).write_text(json.dumps(about, separators=(",", ":")) + "\n")
    np.savez_compressed(folder / case.with_suffix(".npz").name, **arrays)


if __name__ == "__main__":  # recipe.py CASE.json ...: as the cases in data/ were made
    for argument in sys.argv[1:]:
        reduce(Path(argument), Path(__file__).parent / "data")
