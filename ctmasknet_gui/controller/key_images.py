"""Which slices a person marked as key images, each with a note."""

from __future__ import annotations

from collections.abc import Mapping, Set

from PySide6.QtCore import QObject

from ctmasknet_gui.controller.display import DisplayController
from ctmasknet_gui.state import AppState
from model_core.base.volume import Volume

LONGEST_NOTE = 500


class KeyImageController(QObject):
    """Marks slices of the open series. The marks of a series that is left come back with it."""

    def __init__(self, state: AppState, display: DisplayController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._display = display
        self._left: dict[str, Mapping[int, str]] = {}
        # A mark that was taken off by mistake comes back with its note.
        self._notes: dict[int, str] = {}
        state.case.events.volume.connect(self._on_volume)

    def toggle(self) -> None:
        """Mark the visible slice, or take its mark off; marked again it has the note it had."""
        index = self._state.display.slice_index
        if index in self._state.case.key_images:
            self.unmark(index)
        else:
            self.note(index, self._notes.get(index, ""))

    def note(self, index: int, text: str) -> None:
        """Mark a slice, counted from 0, with a note of one line; one far too long loses its end."""
        volume = self._state.case.volume
        if volume is not None and 0 <= index < volume.slices:
            self._state.case.key_images = {**self._state.case.key_images, index: _one_line(text)}

    def unmark(self, index: int) -> None:
        """Take the mark of a slice off."""
        marks = dict(self._state.case.key_images)
        if index in marks:
            self._notes[index] = marks.pop(index)
            self._state.case.key_images = marks

    def take(self, marks: Mapping[int, str]) -> None:
        """Let the slices of the open series have these marks and no other."""
        volume = self._state.case.volume
        slices = range(0 if volume is None else volume.slices)
        self._state.case.key_images = {k: _one_line(text) for k, text in sorted(marks.items()) if k in slices}

    @property
    def unmarked(self) -> Set[int]:
        """Slices whose mark was taken off since the series was opened."""
        return self._notes.keys() - self._state.case.key_images.keys()

    def next(self) -> None:
        """Show the next key image, if there is one."""
        here = self._state.display.slice_index
        after = [index for index in self._state.case.key_images if index > here]
        if after:
            self._display.show_slice(min(after))

    def previous(self) -> None:
        """Show the previous key image, if there is one."""
        here = self._state.display.slice_index
        before = [index for index in self._state.case.key_images if index < here]
        if before:
            self._display.show_slice(max(before))

    def _on_volume(self, volume: Volume | None, former: Volume | None) -> None:
        if former is not None:
            self._left[former.series_id] = self._state.case.key_images
        self._notes = {}
        marks = {} if volume is None else self._left.get(volume.series_id, {})
        # The files may hold fewer slices by now.
        self._state.case.key_images = (
            {} if volume is None else {k: text for k, text in marks.items() if k < volume.slices}
        )


def _one_line(text: str) -> str:
    # What is pasted may hold halves of characters, which no file can be written with.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text.split())[:LONGEST_NOTE].rstrip()
