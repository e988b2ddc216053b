"""How an exported picture is to look: the scene of the window, size, what stands beside it. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from model_core.base.errors import SettingsError
from model_core.base.reasons import SliceReason
from model_core.base.volume import Window
from model_core.scene import Overlays, ScanWords, SceneSettings

DARK = "#000000"

MAX_SCALE = 64.0


class LookArguments(TypedDict, total=False):
    """The fields of `Look` as keyword arguments."""

    window: Window
    overlays: Overlays
    region_classes: tuple[str, ...]
    image_classes: tuple[str, ...]
    scale: float
    text: bool
    identity: bool
    plots: bool
    edited: bool
    inverted: bool
    flip_horizontal: bool
    flip_vertical: bool
    smooth: bool
    selected: int | None
    logit_range: tuple[float, float] | None
    weights: str
    scan: ScanWords | None
    reason: SliceReason | None
    output: int | None
    key_image: str | None


@dataclass(frozen=True, kw_only=True)
class Look(SceneSettings):
    """Everything about a picture but the slice and its results.

    Attributes
    ----------
    scale:
        Picture pixels per slice pixel along the axis with the smaller pixel spacing; the other axis follows
        the spacing, so that circles stay circles. With text or plots a picture too small to hold them is
        enlarged by a whole factor.
    plots:
        Set the plots beside the picture.
    smooth:
        Interpolate between pixels (values first, then the window); False shows the pixels as squares.
    logit_range:
        Logits at the ends of the colour bar; None takes those of the slice (`ShownSlice.logit_range`).
    """

    scale: float = 1.0
    text: bool = True
    plots: bool = False
    smooth: bool = True
    logit_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.scale <= MAX_SCALE:
            raise SettingsError(f"A picture scale lies above 0 and up to {MAX_SCALE:g}, not {self.scale}.")
