"""Builds the window with everything behind it, and runs it."""

from ctmasknet_gui.app.build import App, build
from ctmasknet_gui.app.start import execute

__all__ = ["App", "build", "execute"]
