"""Data sets on disk: pictures with masks, class folders, instances. Nothing here needs torch."""

from model_core.data.class_sets import class_names, read_classes
from model_core.data.classes import ClassifiedSlice, read_class_folders
from model_core.data.instances import MASK_TYPES, instances
from model_core.data.schemes import MaskScheme, parse_mask_values
from model_core.data.segmentation_sets import LabelledSlice, read_segmentation

__all__ = [
    "MASK_TYPES",
    "ClassifiedSlice",
    "LabelledSlice",
    "MaskScheme",
    "class_names",
    "instances",
    "parse_mask_values",
    "read_class_folders",
    "read_classes",
    "read_segmentation",
]
