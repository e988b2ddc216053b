"""A changed picture of the visible slice, and what the networks say of it. None of it is a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.picture_edit import EditedPicture, PictureEffect


@dataclass(eq=False)
class PictureEditState:
    """The changed picture that is looked at; it goes when another slice is.

    Attributes
    ----------
    edited:
        What is shown before anything runs on it; None: there is no changed picture.
    effect:
        What came out so far: sham heals follow one by one.
    running:
        Whether it runs, or its sham heals do.
    outdated:
        Whether thresholds have changed since.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    edited: EditedPicture | None = None
    effect: PictureEffect | None = None
    running: bool = False
    outdated: bool = False
