"""Opens the dialogs of the window: what they ask for is asked of the use cases, unless they are cancelled."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt, Slot
from PySide6.QtWidgets import QDialog, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.requests import ExportKind, FewerSlices, MaskFound
from ctmasknet_gui.state.verdict import verdict_words
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.file_dialogs import FileDialogs
from ctmasknet_gui.view.help import TextDialog, about_html, keys_html, rules_html, weights_html
from ctmasknet_gui.view.use_cases import UseCases
from model_core.base.picture_edit import PictureEditKind


class Dialogs(QObject):
    """The dialogs over a window; ``files`` are the system's, ``picture_edit`` the changed picture, if any."""

    def __init__(self, window: QWidget, state: AppState, commands: Actions, use: UseCases) -> None:
        super().__init__(window)
        self._window, self._state, self._commands, self.use = window, state, commands, use
        self.files = FileDialogs(window, use)
        self.picture_edit: QWidget | None = None
        state.picture_edit.events.edited.connect(self._show_edited)

    def show_export(self, kind: ExportKind) -> None:
        """Ask what to export and where to, and export it unless that is cancelled."""
        from ctmasknet_gui.view.export_dialog import ExportDialog

        if self._state.display.cine:
            # "This slice" must stay the one that was seen.
            self.use.toggle_cine()
        dialog = ExportDialog(self._state, kind=kind, folder=self.files.export_folder, parent=self._window)

        def export() -> None:
            if dialog.request is not None:
                self.use.export(dialog.request)

        dialog.accepted.connect(export)
        _open_once(dialog)

    def show_key_images(self) -> None:
        """Show the list of key images, which stays open beside the slices."""
        from ctmasknet_gui.view.key_images import KeyImagesDialog

        dialog = self._window.findChild(KeyImagesDialog)
        if dialog is None:
            dialog = KeyImagesDialog(self._state, parent=self._window)
            dialog.sliceChosen.connect(self.use.show_slice)
            dialog.noted.connect(self.use.note_key_image)
            dialog.unmarked.connect(self.use.unmark_key_image)
        dialog.show()
        dialog.raise_()
        dialog.activateWindow()

    def select_scores(self) -> None:
        """Ask for a range of scores whose regions are to be selected."""
        from ctmasknet_gui.view.what_if_dialogs import ScoreRangeDialog

        dialog = ScoreRangeDialog(self._state, self._commands, parent=self._window)
        dialog.regionsPicked.connect(self.use.pick_several)
        _open_once(dialog)

    def ask_box(self) -> None:
        """Ask for the edges of a box that is to be asked about."""
        from ctmasknet_gui.view.what_if_dialogs import BoxDialog

        dialog = BoxDialog(self._state, parent=self._window)
        dialog.boxAsked.connect(self.use.ask)
        _open_once(dialog)

    def edit_box(self, kind: PictureEditKind) -> None:
        """Ask for the edges of a box that is to be healed, or planted in."""
        from ctmasknet_gui.view.what_if_dialogs import BoxDialog

        dialog = BoxDialog(self._state, purpose=kind, parent=self._window)

        def edit(box: tuple[float, float, float, float]) -> None:
            left, top, right, bottom = box
            dialog.close()
            self.use.edit_area(kind, ((left, top), (right, top), (right, bottom), (left, bottom)))

        dialog.boxAsked.connect(edit)
        _open_once(dialog)

    def _show_edited(self, *_: object) -> None:
        """Show the changed picture beside the window as long as there is one."""
        from ctmasknet_gui.view.picture_edit_dialog import PictureEditDialog

        dialog, use = self.picture_edit, self.use
        if self._state.picture_edit.edited is None:
            self.picture_edit = None
            if dialog is not None:
                dialog.close()
        elif dialog is None:
            self.picture_edit = dialog = PictureEditDialog(self._state, parent=self._window)
            dialog.runAsked.connect(use.run_edited)
            dialog.stopAsked.connect(use.stop_edited)
            dialog.levelChosen.connect(use.set_ground_glass)
            dialog.left.connect(use.forget_edited)
            dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            dialog.show()

    @Slot(object)
    def ask_fewer_slices(self, question: FewerSlices) -> None:
        """Ask whether every n-th slice will do, and open them unless that is cancelled."""
        from ctmasknet_gui.view.questions import FewerSlicesDialog

        dialog = FewerSlicesDialog(question, private=self._state.display.privacy, parent=self._window)
        dialog.accepted.connect(lambda: self.use.open_every(question.series_id, dialog.step))
        _open_once(dialog)

    @Slot(object)
    def ask_mask_use(self, found: MaskFound) -> None:
        """Ask what a mask is meant for: to be shown over the open series, opened as one, or nothing."""
        from ctmasknet_gui.view.questions import MaskDialog

        dialog = MaskDialog(found, private=self._state.display.privacy, parent=self._window)
        dialog.accepted.connect(self.use.use_mask)
        dialog.open_button.clicked.connect(lambda *_: self.use.open_mask())
        _open_once(dialog)

    def show_text(self, title: str, html: str) -> None:
        """Show help or information in a dialog of its own."""
        dialog = TextDialog(title, html, parent=self._window)
        _open_once(dialog)

    def show_rules(self) -> None:
        """Show what other rules would say of the scan."""
        from model_core.explain import other_rules

        results, words = self._state.results, verdict_words(self._state)
        answers = other_rules(results.summaries.values(), volume=self._state.case.volume)
        rule = "" if results.scan is None else results.scan.verdict_rule or results.scan.rule
        self.show_text("What other rules would say", rules_html(words, rule, answers))

    def show_keys(self) -> None:
        """Show mouse and keys."""
        self.show_text("Mouse and keys", keys_html(self._commands))

    def show_about(self) -> None:
        """Show what the program is."""
        self.show_text("About CTMaskNet", about_html())

    def show_weights(self) -> None:
        """Show the cards of the weights that are loaded, else of those at hand."""
        weights = self._state.weights
        self.show_text("About these weights", weights_html(weights.cards or weights.available))


def _open_once(dialog: QDialog) -> None:
    """Open a dialog that nobody keeps."""
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.open()
