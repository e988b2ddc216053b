"""Read CT: `scan` a path, `load` a series, `thin`, `straighten` or `thumbnail` it, `read_labels` of a mask.

`is_mask` tells a mask from an image, `mask_for` gives one that fits a volume.

Strict about geometry, tolerant about everything else: what deviates is reported as a `Problem`, nothing
is repaired or invented silently.
"""

from model_core.io.labels import read_labels
from model_core.io.masks import is_mask, mask_for
from model_core.io.opening import load, straighten, thin, thumbnail
from model_core.io.scanning import scan

__all__ = ["is_mask", "load", "mask_for", "read_labels", "scan", "straighten", "thin", "thumbnail"]
