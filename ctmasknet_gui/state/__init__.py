"""What is open, shown, selected and running: observable plain Python, no Qt, no torch.

Only controllers write state; views read it, subscribe to its events and emit intents.
"""

from ctmasknet_gui.state.case import CaseState, LungSlices, WeightsState
from ctmasknet_gui.state.display import DisplayState
from ctmasknet_gui.state.results import ResultState, SelectionState
from ctmasknet_gui.state.running import Message, MessageState, RunState
from ctmasknet_gui.state.thresholds import ThresholdState

__all__ = [
    "AppState",
    "CaseState",
    "DisplayState",
    "LungSlices",
    "Message",
    "MessageState",
    "ResultState",
    "RunState",
    "SelectionState",
    "ThresholdState",
    "WeightsState",
]


class AppState:
    """All state of one window, each part observable on its own (``part.events.field.connect``)."""

    def __init__(self) -> None:
        self.case = CaseState()
        self.weights = WeightsState()
        self.display = DisplayState()
        self.thresholds = ThresholdState()
        self.results = ResultState()
        self.selection = SelectionState()
        self.run = RunState()
        self.messages = MessageState()
