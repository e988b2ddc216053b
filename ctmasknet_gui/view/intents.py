"""Connects the actions of the window to the intents it emits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt

from ctmasknet_gui.view.help_texts import about_html, keys_html, weights_html

if TYPE_CHECKING:
    from PySide6.QtCore import SignalInstance

    from ctmasknet_gui.view.main_window import MainWindow

OPACITY_STEP = 0.1
TEN = 10
_FIRST_PRESET_KEY = 2
# Larger than any series; the controller clamps to the last slice.
_LAST = 2**31 - 1


def connect_actions(window: MainWindow) -> None:
    """Connect every action of a window."""
    _connect_files(window)
    _connect_slices(window)
    _connect_display(window)
    _connect_analysis(window)
    _connect_help(window)


def _emit(signal: SignalInstance, *values: object) -> object:
    # A checked action passes its check; intents carry their own values.
    return lambda *_: signal.emit(*values)


def _connect_files(window: MainWindow) -> None:
    actions, dialogs = window.commands, window.dialogs
    dialogs.pathsChosen.connect(window.pathsChosen)
    dialogs.referenceChosen.connect(window.referenceChosen)
    dialogs.weightsChosen.connect(window.weightsChosen)
    actions.open_file.triggered.connect(dialogs.ask_files)
    actions.open_folder.triggered.connect(dialogs.ask_folder)
    actions.load_reference.triggered.connect(dialogs.ask_reference)
    actions.load_weights.triggered.connect(dialogs.ask_weights)
    actions.open_demo.triggered.connect(_emit(window.demoRequested))
    actions.close_reference.triggered.connect(_emit(window.referenceClosed))
    actions.correct_tilt.triggered.connect(_emit(window.tiltCorrectionRequested))
    actions.close_case.triggered.connect(_emit(window.closeCaseRequested))
    actions.quit.triggered.connect(lambda *_: window.close())
    actions.export.triggered.connect(lambda *_: window.show_export("png"))
    actions.export_png.triggered.connect(lambda *_: window.show_export("png"))
    actions.export_csv.triggered.connect(lambda *_: window.show_export("csv"))
    actions.export_plots.triggered.connect(lambda *_: window.show_export("plots"))
    actions.export_lesions.triggered.connect(lambda *_: window.show_export("lesions"))


def _connect_slices(window: MainWindow) -> None:
    actions = window.commands
    for action, count in (
        (actions.previous_slice, -1),
        (actions.next_slice, 1),
        (actions.back_ten, -TEN),
        (actions.forward_ten, TEN),
    ):
        action.triggered.connect(_emit(window.sliceStepped, count))
    actions.first_slice.triggered.connect(_emit(window.sliceRequested, 0))
    actions.last_slice.triggered.connect(_emit(window.sliceRequested, _LAST))
    actions.next_finding.triggered.connect(_emit(window.findingStepped, 1))
    actions.previous_finding.triggered.connect(_emit(window.findingStepped, -1))
    actions.cine.triggered.connect(_emit(window.cineToggled))
    for action in actions.cine_speeds:
        action.triggered.connect(_emit(window.cineSpeedChosen, action.data()))


def _connect_display(window: MainWindow) -> None:
    actions = window.commands
    actions.window_auto.triggered.connect(_emit(window.presetChosen, 0))
    actions.window_file.triggered.connect(_emit(window.presetChosen, 1))
    for key, action in enumerate(actions.presets, start=_FIRST_PRESET_KEY):
        action.triggered.connect(_emit(window.presetChosen, key))
    for action, name in (
        (actions.invert, "inverted"),
        (actions.flip_horizontal, "flip_horizontal"),
        (actions.flip_vertical, "flip_vertical"),
        (actions.privacy, "privacy"),
        (actions.masks, "masks"),
        (actions.outlines, "outlines"),
        (actions.boxes, "boxes"),
        (actions.labels, "labels"),
        (actions.logits, "logits"),
        (actions.reference, "reference"),
    ):
        action.triggered.connect(_emit(window.switchToggled, name))
    actions.overlays.triggered.connect(_emit(window.overlaysToggled))
    actions.less_opacity.triggered.connect(_emit(window.opacityStepped, -OPACITY_STEP))
    actions.more_opacity.triggered.connect(_emit(window.opacityStepped, OPACITY_STEP))
    actions.sum_logits.triggered.connect(
        lambda on: window.detectionsChanged.emit(
            replace(window._state.thresholds.detections, logit_rule="sum" if on else "max")
        )
    )
    actions.find_series.triggered.connect(lambda *_: window.find_series())
    actions.reset_view.triggered.connect(_emit(window.viewReset))
    # A maximised window is maximised again afterwards.
    full = Qt.WindowState.WindowFullScreen
    actions.full_screen.triggered.connect(
        lambda on: window.setWindowState(window.windowState() | full if on else window.windowState() & ~full)
    )


def _connect_analysis(window: MainWindow) -> None:
    actions = window.commands
    actions.run_slice.triggered.connect(_emit(window.runSliceRequested))
    actions.run_series.triggered.connect(_emit(window.runSeriesRequested))
    actions.stop.triggered.connect(_emit(window.stopRequested))
    actions.toggle_nms.triggered.connect(_emit(window.nmsToggled))
    actions.join_touching.triggered.connect(
        lambda on: window.detectionsChanged.emit(
            replace(window._state.thresholds.detections, join_touching=on)
        )
    )
    actions.link.triggered.connect(window.linkToggled)
    actions.fast.triggered.connect(window.fastToggled)
    actions.undo.triggered.connect(_emit(window.undoRequested))
    actions.redo.triggered.connect(_emit(window.redoRequested))
    actions.reset_thresholds.triggered.connect(_emit(window.thresholdsReset))
    actions.scoring_softmax.triggered.connect(_emit(window.scoringRequested, "softmax"))
    actions.scoring_sigmoid.triggered.connect(_emit(window.scoringRequested, "sigmoid"))


def _connect_help(window: MainWindow) -> None:
    actions, state = window.commands, window._state
    actions.keys.triggered.connect(lambda *_: window.show_text("Mouse and keys", keys_html(actions)))
    actions.about.triggered.connect(lambda *_: window.show_text("About CTMaskNet", about_html()))
    actions.about_weights.triggered.connect(
        lambda *_: window.show_text(
            "About these weights", weights_html(state.weights.cards or state.weights.available)
        )
    )
