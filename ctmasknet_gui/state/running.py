"""What is running, and what the user was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.volume import Level


@dataclass(eq=False)
class RunState:
    """The job in progress. ``kind`` is "" (idle), "open", "run", "explain" or "export"."""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    kind: str = ""
    done: int = 0
    total: int = 0
    text: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True)
class Message:
    """One thing told to the user.

    Attributes
    ----------
    details:
        Technical text to copy, without patient data.
    topic:
        What it is about, so that it is withdrawn once that went well; empty for what stays true.
    path:
        The whole path of what it is about; empty where it is about no file.
    offer:
        What a button beside it does, in words; empty without one.
    """

    level: Level
    text: str
    details: str = ""
    topic: str = ""
    path: str = ""
    offer: str = ""

    @property
    def fades(self) -> bool:
        """Whether it goes by itself: a note that asks for nothing."""
        return self.level == "info" and not self.offer


@dataclass(eq=False)
class MessageState:
    """Messages, newest last; kept so that what was sent before the window existed is shown later.

    ``paths`` are the files and folders that the user named last, whose names messages may hold: privacy mode
    takes them out.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    messages: tuple[Message, ...] = ()
    paths: tuple[str, ...] = ()
