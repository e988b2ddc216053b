"""What stands where on a picture of a slice, without Qt: the window and the exported picture draw from it."""

from model_core.scene.corners import Corners, Line, Screen, corner_lines
from model_core.scene.labels import Label, PlacedLabels, Rect, box_labels, place_labels
from model_core.scene.letters import EdgeLetters, edge_letters
from model_core.scene.palette import class_name, image_colour, region_colour, rgb
from model_core.scene.settings import Overlays, SceneSettings
from model_core.scene.verdict import ScanWords, SliceWords, scan_words, slice_words

__all__ = [
    "Corners",
    "EdgeLetters",
    "Label",
    "Line",
    "Overlays",
    "PlacedLabels",
    "Rect",
    "ScanWords",
    "SceneSettings",
    "Screen",
    "SliceWords",
    "box_labels",
    "class_name",
    "corner_lines",
    "edge_letters",
    "image_colour",
    "place_labels",
    "region_colour",
    "rgb",
    "scan_words",
    "slice_words",
]
