"""Why the visible slice has its class, and how a person looks at that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.reasons import DEFAULT_WAY, Grouping, Sensitivity, SliceReason, Way

if TYPE_CHECKING:
    from model_core.base.stability import ScanStability, Stability
    from model_core.explain import RegionPixels
    from model_core.scene.maps import Kind


@dataclass(eq=False)
class ReasonState:
    """Why the visible slice has its class.

    Attributes
    ----------
    way, grouping:
        As asked for; what there is of the slice may be another, see `shown_grouping` and `SliceReason.way`.
    output:
        Of which the contributions are shown; None: of the one that the verdict comes from.
    reason, sensitivity:
        Of the visible slice, perhaps under former evidence while ``computing``; None where there is none.
    hint:
        Whether the three steps for those who see this for the first time are shown.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    way: Way = DEFAULT_WAY
    grouping: Grouping = "lesion"
    output: int | None = None
    reason: SliceReason | None = None
    sensitivity: Sensitivity | None = None
    computing: bool = False
    hint: bool = False

    @property
    def shown_output(self) -> int:
        """The output whose contributions are shown."""
        return 0 if self.reason is None else self.reason.output_of(self.output)

    @property
    def shown_grouping(self) -> Grouping:
        """What counts as one region: where there are no lesions, or no lung, each by itself."""
        known = self.reason is None or self.grouping in self.reason.groups
        return self.grouping if known else "region"


@dataclass(eq=False)
class PixelState:
    """What the logit of the selected region hangs on, in pixels, once somebody asked.

    Attributes
    ----------
    found:
        Of the selected region, while ``computing`` as far as it is known; None where nobody asked.
    overlay:
        The map that is drawn on the slice, where there is one; "" for none.
    cursor:
        Place in slice pixels, x and y, that is pointed at on any of the maps; None where none is.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    found: RegionPixels | None = None
    computing: bool = False
    overlay: Kind = ""
    cursor: tuple[float, float] | None = None


@dataclass(eq=False)
class StabilityState:
    """How much the numbers of the visible slice and of the scan move with the picture, once somebody asked.

    Attributes
    ----------
    found:
        Of the visible slice; None where nobody asked.
    of_class, of_area:
        Whether what it says of the class, and of the marked area, is still true: thresholds may have moved.
    computing:
        Whether the eight runs are under way.
    scan, scan_computing:
        The same of the scan, under the thresholds in force; None where nobody asked or they moved.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    found: Stability | None = None
    of_class: bool = False
    of_area: bool = False
    computing: bool = False
    scan: ScanStability | None = None
    scan_computing: bool = False
