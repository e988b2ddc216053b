"""Read CT: `scan` a path, `load` a series, `thin`, `straighten` or `thumbnail` it, `read_labels` of a mask.

`load_gradually` lets a series be looked at while it is read. `masks_among` tells masks from images,
`mask_for` brings one onto the grid of a volume.

Strict about geometry, tolerant about everything else: what deviates is reported as a `Problem`, nothing
is repaired or invented silently.
"""

from model_core.read.labels import mask_for, masks_among, read_labels
from model_core.read.opening import load, load_gradually, straighten, thin, thumbnail, warm_up
from model_core.read.scanning import scan

__all__ = [
    "load",
    "load_gradually",
    "mask_for",
    "masks_among",
    "read_labels",
    "scan",
    "straighten",
    "thin",
    "thumbnail",
    "warm_up",
]
