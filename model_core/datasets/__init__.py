"""Data sets on disk: pictures with masks, class folders, instances. Nothing here needs torch."""

from model_core.datasets.classes import ClassifiedSlice, read_class_folders
from model_core.datasets.instances import MASK_TYPES, instances
from model_core.datasets.pairs import LabelledSlice, read_pairs
from model_core.datasets.schemes import MaskScheme, parse_mask_values

__all__ = [
    "MASK_TYPES",
    "ClassifiedSlice",
    "LabelledSlice",
    "MaskScheme",
    "instances",
    "parse_mask_values",
    "read_class_folders",
    "read_pairs",
]
