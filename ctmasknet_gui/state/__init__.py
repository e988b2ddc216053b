"""What is open, shown, selected and running: observable plain Python, no Qt, no torch.

Only controllers write state; views read it, subscribe to its events and ask for use cases.
"""

from ctmasknet_gui.state.case import CaseState, LungSlices, WeightsState
from ctmasknet_gui.state.cases import Case, Cases
from ctmasknet_gui.state.changes import Changes
from ctmasknet_gui.state.display import DisplayState
from ctmasknet_gui.state.picture_edit import PictureEditState
from ctmasknet_gui.state.reasons import PixelState, ReasonState, StabilityState
from ctmasknet_gui.state.results import Effect, LesionState, ResultState, SelectionState
from ctmasknet_gui.state.running import Message, MessageState, RunState
from ctmasknet_gui.state.thresholds import SliceEdits, Thresholds, ThresholdState
from model_core.base.results import RoiRow

__all__ = [
    "AppState",
    "Case",
    "CaseState",
    "Cases",
    "Changes",
    "DisplayState",
    "Effect",
    "LesionState",
    "LungSlices",
    "Message",
    "MessageState",
    "PictureEditState",
    "PixelState",
    "ReasonState",
    "ResultState",
    "RunState",
    "SelectionState",
    "SliceEdits",
    "StabilityState",
    "ThresholdState",
    "Thresholds",
    "WeightsState",
]


class AppState:
    """All state of one window, each part observable on its own (``part.events.field.connect``).

    One case is open: `case`, `results`, `selection` and the place in `display` are its parts, and `open_case`
    returns them as one value. ``cases`` holds those that were put away. ``changes`` makes several writes one.
    """

    def __init__(self) -> None:
        self.case = CaseState()
        self.weights = WeightsState()
        self.display = DisplayState()
        self.thresholds = ThresholdState()
        self.results = ResultState()
        self.reasons = ReasonState()
        self.picture_edit = PictureEditState()
        self.pixels = PixelState()
        self.stability = StabilityState()
        self.lesions = LesionState()
        self.selection = SelectionState()
        self.run = RunState()
        self.messages = MessageState()
        self.cases = Cases()
        self.changes = Changes()

    def found_region(self) -> RoiRow | None:
        """Return the selected region, where it is one that the network found for the class."""
        shown, candidate = self.results.shown, self.selection.candidate
        if shown is None or shown.verdict is None:
            return None
        found = (roi for roi in shown.rois if roi.candidate == candidate and roi.asked is None)
        return next(found, None)

    def open_case(self) -> Case | None:
        """Return the open case as it is now; None without one."""
        volume = self.case.volume
        if volume is None:
            return None
        slices = self.results.slices
        return Case(
            series_id=volume.series_id,
            weights_id=next(iter(slices.values())).weights_id if slices else "",
            volume=volume,
            reference=self.case.reference,
            reference_name=self.case.reference_name,
            slices=slices,
            summaries=self.results.summaries,
            settings=(self.thresholds.detections, self.thresholds.evidence),
            edits=self.thresholds.edits,
            slice_index=self.display.slice_index,
            candidate=self.selection.candidate,
        )
