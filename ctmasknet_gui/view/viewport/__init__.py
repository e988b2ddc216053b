"""The large picture of a slice with everything the network found drawn on its voxels."""

from ctmasknet_gui.view.viewport.widget import Viewport

__all__ = ["Viewport"]
