"""The large picture of a slice with everything the network found drawn on its voxels."""

from ctmasknet_gui.view.viewport.widget import Viewport, local_paths

__all__ = ["Viewport", "local_paths"]
