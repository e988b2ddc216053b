"""How a slice is shown: window, flips, overlays, names of classes. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from model_core.base.errors import SettingsError
from model_core.base.reasons import SliceReason
from model_core.base.volume import LUNG_WINDOW, Window
from model_core.scene.palette import class_name, region_colour
from model_core.scene.verdict import ScanWords


@dataclass(frozen=True, kw_only=True)
class Overlays:
    """What is drawn over the voxels: by default outlines and labels alone, so that lesions stay visible.

    ``masks`` fills them; ``opacity`` 0..1 is that of the mask fill. ``contributions`` colours regions by what
    they contribute to the class.
    """

    masks: bool = False
    outlines: bool = True
    boxes: bool = False
    labels: bool = True
    logits: bool = False
    contributions: bool = False
    reference: bool = True
    opacity: float = 0.35

    def __post_init__(self) -> None:
        if not 0.0 <= self.opacity <= 1.0:
            raise SettingsError(f"An opacity lies in 0..1, not {self.opacity}.")

    @property
    def findings(self) -> bool:
        """Whether detections are drawn in the colours of their classes."""
        return self.masks or self.outlines or self.boxes or self.labels


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """How a slice is shown, in the window as in an exported picture.

    Attributes
    ----------
    identity:
        Write what may identify the patient: the patient text and the title of the series.
    edited:
        Mark the class as "edited evidence"; a verdict from evidence that is edited always is.
    selected:
        Candidate to stand out; dashed where it is not among the shown detections.
    weights:
        Which weights computed the results, for people; stands with the thresholds.
    reason, output:
        Why the slice has its class, and of which logit contributions are shown (`Overlays.contributions`);
        None: of that of the verdict.
    scan:
        What is said of the scan that the slice is of; an exported picture says it, too.
    key_image:
        The note of a slice that a person marked as a key image, perhaps empty; None where it is none.
    """

    window: Window = LUNG_WINDOW
    overlays: Overlays = field(default_factory=Overlays)
    region_classes: tuple[str, ...] = ()
    image_classes: tuple[str, ...] = ()
    identity: bool = False
    edited: bool = False
    inverted: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False
    selected: int | None = None
    weights: str = ""
    reason: SliceReason | None = None
    output: int | None = None
    scan: ScanWords | None = None
    key_image: str | None = None

    def region_name(self, label: int) -> str:
        """Return the name of a region class (label 1 first)."""
        return class_name(self.region_classes, label - 1)

    def region_colour(self, label: int) -> str:
        """Return the colour of a region class (label 1 first)."""
        return region_colour(self.region_name(label), label - 1)
