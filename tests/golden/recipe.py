"""Deterministic weights and input of the golden cases.

Every checkpoint entry is drawn from its own NumPy PCG64 stream seeded with (seed, crc32(published name)),
so that names and shapes alone rebuild the checkpoint.
"""

import zlib

import numpy as np


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
