"""How the slice is shown: position, window, orientation on screen, overlays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.types import LUNG_WINDOW, Window

LUNG = LUNG_WINDOW

# VIEWER.md order: keys 2..7. Key 0 is the automatic window, key 1 the file's own.
PRESETS = (
    LUNG,
    Window(400, 40, "Mediastinum"),
    Window(2500, 480, "Bone"),
    Window(80, 40, "Brain"),
    Window(150, 90, "Liver"),
    Window(500, -850, "Emphysema"),
)


@dataclass(eq=False)
class DisplayState:
    """What the viewport shows of the open volume.

    Attributes
    ----------
    zoom:
        Screen pixels per mm-corrected slice pixel; None fits the slice into the viewport.
    pan:
        Shift of the picture's centre from the viewport's centre in screen pixels.
    opacity:
        0..1 of the mask fill.
    covered:
        Which of masks and outlines the logit map took off; they come back when it goes.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    slice_index: int = 0
    window: Window = LUNG
    inverted: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False
    zoom: float | None = None
    pan: tuple[float, float] = (0.0, 0.0)
    masks: bool = True
    outlines: bool = True
    boxes: bool = True
    logits: bool = False
    covered: tuple[str, ...] = ()
    reference: bool = True
    opacity: float = 0.35
    cine: bool = False
    cine_fps: float = 10.0
    privacy: bool = False
