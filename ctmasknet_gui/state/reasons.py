"""Why the visible slice has its class, and how a person looks at that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.reasons import DEFAULT_WAY, Grouping, Sensitivity, SliceReason, Way


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
