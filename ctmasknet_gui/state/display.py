"""How the slice is shown: position, window, orientation on screen, overlays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from psygnal import SignalGroupDescriptor

from model_core.base.volume import LUNG_WINDOW, Window
from model_core.scene import Overlays

LUNG = LUNG_WINDOW
Tool = Literal["", "area", "ask", "heal", "plant"]
ThemeChoice = Literal["dark", "light", "system"]

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
    masks, outlines, boxes, labels, logits, contributions, reference, opacity:
        As in `Overlays`, whose defaults they begin with.
    tool:
        What the left button draws on the slice: an area whose regions are selected, a box to ask about, an
        area to heal or to plant ground glass in, or nothing.
    theme:
        Of the window around the slices, which stay on black; "system" follows the desktop.
    covered:
        Which of masks and outlines a map of other colours took off; they come back when it goes.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    slice_index: int = 0
    window: Window = LUNG
    inverted: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False
    zoom: float | None = None
    pan: tuple[float, float] = (0.0, 0.0)
    masks: bool = Overlays.masks
    outlines: bool = Overlays.outlines
    boxes: bool = Overlays.boxes
    labels: bool = Overlays.labels
    logits: bool = Overlays.logits
    contributions: bool = Overlays.contributions
    covered: tuple[str, ...] = ()
    reference: bool = Overlays.reference
    opacity: float = Overlays.opacity
    cine: bool = False
    cine_fps: float = 10.0
    privacy: bool = False
    tool: Tool = ""
    theme: ThemeChoice = "dark"

    @property
    def overlays(self) -> Overlays:
        """What is drawn over the voxels."""
        names = (field.name for field in fields(Overlays))
        return Overlays(**{name: getattr(self, name) for name in names})
