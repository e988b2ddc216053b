"""What is running, and what the user was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.types import Level


@dataclass(eq=False)
class RunState:
    """The job in progress. ``kind`` is "" (idle), "open", "run" or "export"."""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    kind: str = ""
    done: int = 0
    total: int = 0
    text: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True)
class Message:
    """One thing told to the user; ``details`` is technical text to copy. No patient data."""

    level: Level
    text: str
    details: str = ""


@dataclass(eq=False)
class MessageState:
    """Messages, newest last; kept so that what was sent before the window existed is shown later.

    ``paths`` are the files and folders that the user named last, whose names messages may hold: privacy mode
    takes them out.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    messages: tuple[Message, ...] = ()
    paths: tuple[str, ...] = ()
