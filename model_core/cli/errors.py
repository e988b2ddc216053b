"""Errors of the command line itself."""

from __future__ import annotations

from model_core.base.errors import CTMaskNetError


class UsageError(CTMaskNetError):
    """The command was used wrongly in a way that only its input shows; ends with exit code 2."""
