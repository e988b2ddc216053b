"""Writes phantom slices as pictures with masks."""

import numpy as np
from PIL import Image

LOW, HIGH = -1350.0, 150.0
SLICES = (5, 10, 11)


def grey(hu):
    return np.clip(np.rint((hu.astype(np.float32) - LOW) / (HIGH - LOW) * 255), 0, 255).astype(np.uint8)


def write_pairs(folder, phantom):
    volume, labels = phantom
    rows = ["file\tpatient\tsource\tapprox_hu_at_0\tapprox_hu_at_255"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, index in enumerate(SLICES):
        name = f"slice_{index:03d}.png"
        Image.fromarray(grey(volume.voxels[index])).save(folder / "images" / name)
        mask = labels[index] if number else np.zeros_like(labels[index])
        Image.fromarray(mask).save(folder / "masks" / name)
        rows.append(f"{name}\tp{number % 2}\ts{number % 2}\t{LOW:g}\t{HIGH:g}")
    (folder / "index.tsv").write_text("\n".join(rows) + "\n")
    return folder
