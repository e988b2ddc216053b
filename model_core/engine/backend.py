"""What a backend of networks does for the engine: NumPy in and out, whatever computes in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy.typing as npt

from model_core.base.arrays import FloatArray, IntArray
from model_core.base.results import Candidates

if TYPE_CHECKING:
    from model_core.engine.module_s import ModuleS

# The single-shot model with two branches reads the class off regions of its own (P3).
Branch = Literal["detections", "evidence"]
# FPN maps (channels, height, width) by the name of their level.
Maps = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Look:
    """One pass of a backbone over a picture.

    Attributes
    ----------
    size:
        S, side of the picture in pixels.
    maps:
        FPN maps, float32.
    proposals:
        (P, 4) boxes of the RPN in pixels of the picture, float32, best first.
    """

    size: int
    maps: Maps
    proposals: FloatArray


class Backend(Protocol):
    """One network of the papers, ready to run; what it is and how it is used says its `ModelCard`."""

    @property
    def name(self) -> str:
        """What computes, for people: ``ONNX Runtime``, ``PyTorch``."""

    @property
    def device(self) -> str:
        """Where it computes: ``cpu``, ``cuda:0``, ..."""

    def look(self, picture: FloatArray) -> Look:
        """Run backbone and RPN on a (S, S) picture in 0..1."""

    def regions(self, look: Look, proposals: FloatArray, *, branch: Branch = "detections") -> Candidates:
        """Run a box branch on (P, 4) boxes in the picture and return every (box, positive class) pair."""

    def masks(self, maps: Maps, boxes: FloatArray, labels: IntArray, *, size: int) -> FloatArray:
        """Return the (n, 28, 28) raw mask logits in (n, 4) boxes, each for its own class.

        ``maps`` may be float16; ``size`` is the side of the picture they are of. Fast for a few boxes: it is
        asked while thresholds move.
        """

    def image_head(self, rows: FloatArray) -> FloatArray:
        """Return the (classes,) logits that module S gives for a (N, 5) RoI batch.

        Raises
        ------
        SettingsError
            If the weights give no image class.
        """

    @property
    def module_s(self) -> ModuleS | None:
        """The numbers of module S; None where the weights give no image class."""


@runtime_checkable
class GradientBackend(Protocol):
    """A backend that can also say what the logit of a region hangs on; not every one can.

    The logit is that of a class minus that of background, of one (4,) proposal in pixels of the picture, held
    fixed.
    """

    def region_cells(
        self, maps: Maps, proposal: FloatArray, label: int, *, size: int, branch: Branch = "detections"
    ) -> tuple[float, FloatArray]:
        """Return the logit, and its gradient times activation on the RoI's own cells (HiResCAM)."""

    def region_gradient(
        self, picture: FloatArray, proposal: FloatArray, label: int, *, branch: Branch = "detections"
    ) -> tuple[float, FloatArray]:
        """Return the logit, and its (S, S) gradient by the pixels of the picture."""
