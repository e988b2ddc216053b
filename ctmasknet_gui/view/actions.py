"""The commands as Qt's actions, which follow the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.commands import COMMANDS, Command
from ctmasknet_gui.view.style import icon
from ctmasknet_gui.view.use_cases import UseCases


class Actions(QObject):
    """The actions of one window, each an attribute of its command's name.

    Those that turn something on and off mirror state: a click asks for the use case, whose answer in state
    sets the check.
    """

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._commands = {command.name: command for group in COMMANDS.values() for command in group}
        self._choices: dict[str, QActionGroup] = {}
        self._actions = {name: self._make(command) for name, command in self._commands.items()}
        # What follows every change of the state is looked up once. Many commands ask the same.
        both = [(self._actions[name], command) for name, command in self._commands.items()]
        self._askers: dict[Callable[[AppState], bool], list[QAction]] = {}
        for action, command in both:
            self._askers.setdefault(command.when, []).append(action)
        self._may: dict[Callable[[AppState], bool], bool] = {}
        self._checkable = [(action, one.checked) for action, one in both if one.checked is not None]
        self._telling = [(action, command) for action, command in both if command.about is not None]
        parts = (
            state.display, state.thresholds, state.case, state.results, state.selection, state.weights,
        )  # fmt: skip
        refresh = state.changes.once(self._refresh)
        for part in parts:
            part.events.all.connect(refresh)
        # How far a run is decides about nothing.
        for event in (state.run.events.kind, state.pixels.events.found, state.pixels.events.overlay):
            event.connect(refresh)
        self._refresh()

    def __getattr__(self, name: str) -> QAction:
        """Return the action of a command."""
        actions: dict[str, QAction] = self.__dict__.get("_actions", {})
        if name not in actions:
            raise AttributeError(f"There is no command {name!r}.")
        return actions[name]

    @property
    def all(self) -> tuple[QAction, ...]:
        """Every action, in the order of the commands."""
        return tuple(self._actions.values())

    def connect_to(self, use: UseCases) -> None:
        """Let the actions call their use cases."""
        for name, command in self._commands.items():
            if command.do is not None:
                self._actions[name].triggered.connect(partial(self._call, command.do, use))

    def by_category(self) -> Iterator[tuple[str, tuple[QAction, ...]]]:
        """Yield the categories with their actions."""
        for category, group in COMMANDS.items():
            yield category, tuple(self._actions[command.name] for command in group)

    def _make(self, command: Command) -> QAction:
        action = QAction(command.text, self)
        action.setProperty("name", command.text)
        if command.image:
            action.setIcon(icon(command.image))
        action.setShortcuts([QKeySequence(key) for key in command.keys])
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        shown = keys_text(action)
        action.setToolTip(f"{command.tip} ({shown})" if shown else command.tip)
        action.setStatusTip(command.tip)
        if command.checked is not None:
            action.setCheckable(True)
            # A click turns the check over before anybody agreed; state has the last word.
            action.triggered.connect(self._refresh)
        if command.choice:
            self._group(command.choice).addAction(action)
        return action

    def _group(self, choice: str) -> QActionGroup:
        if choice not in self._choices:
            group = self._choices[choice] = QActionGroup(self)
            # What state holds may be none of them.
            group.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        return self._choices[choice]

    def _call(self, do: Callable[[UseCases, AppState], object], use: UseCases, *_: object) -> None:
        do(use, self._state)

    def _refresh(self) -> None:
        state = self._state
        for when, actions in self._askers.items():
            may = when(state)
            if self._may.get(when) != may:
                self._may[when] = may
                for action in actions:
                    action.setEnabled(may)
        for action, checked in self._checkable:
            action.setChecked(checked(state))
        for action, command in self._telling:
            assert command.about is not None
            action.setText(f"{command.text} {command.about(state)}".rstrip())


def keys_text(action: QAction) -> str:
    """Return the shortcuts of an action as the system writes them."""
    native = QKeySequence.SequenceFormat.NativeText
    return ", ".join(key.toString(native) for key in action.shortcuts())
