"""Where the voxels of a volume lie in the patient: DICOM's LPS coordinates, in mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import DoubleArray


@dataclass(frozen=True)
class NiftiForms:
    """Both ways in which the header of a NIfTI file places its voxels, RAS in mm, as the file has them.

    ``pixdim`` is the sign of the third axis and the three sizes of a voxel, ``quaternion`` b, c, d of the
    qform with its ``qoffset``, ``srow`` the (3, 4) matrix of the sform, row by row. A code of 0 says that
    the form is not set.
    """

    qform_code: int
    sform_code: int
    pixdim: tuple[float, ...]
    quaternion: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a display-ordered array lie in the patient.

    Attributes
    ----------
    spacing_mm:
        Steps along (slices, rows downwards, columns rightwards); None where unknown, never invented.
    origin_mm:
        LPS position of the centre of voxel [0, 0, 0], or None.
    axes:
        (3, 3) array; row i is the LPS unit vector of array axis i; or None.
    last_origin_mm:
        LPS position of the centre of voxel [-1, 0, 0], or None where it follows from the rest. The slices of
        a tilted stack are shifted sideways, so there it does not.
    stated_aspect:
        Height of a pixel over its width where its size is unknown but its shape is stated; else None.
    native_axes, native_flips:
        The file's own order: ``native = flip(transpose(display, native_axes), where native_flips)``,
        native being (slices by ascending position along the file's normal, file rows, file columns).
    forms:
        Of a NIfTI file: what its header says of its place, for masks that lie on it in any program.
    """

    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    origin_mm: tuple[float, float, float] | None = None
    axes: DoubleArray | None = None
    native_axes: tuple[int, int, int] = (0, 1, 2)
    native_flips: tuple[bool, bool, bool] = (False, False, False)
    last_origin_mm: tuple[float, float, float] | None = None
    stated_aspect: float | None = None
    forms: NiftiForms | None = None

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel over its width; 1 where neither size nor shape is known."""
        _, row, column = self.spacing_mm
        return row / column if row and column else self.stated_aspect or 1.0

    @property
    def sheared(self) -> bool:
        """Whether the slices are shifted sideways over the stack (gantry tilt), by more than 0.3 degrees."""
        if self.axes is None or self.origin_mm is None or self.last_origin_mm is None:
            return False
        travel = np.array(self.last_origin_mm, float) - np.array(self.origin_mm, float)
        along = float(travel @ self.axes[0])
        return bool(np.linalg.norm(travel - along * self.axes[0]) > 5e-3 * abs(along) > 0)

    @property
    def pixel_area_mm2(self) -> float | None:
        """Area of one pixel of a slice in mm², or None where the spacing is unknown."""
        _, row, column = self.spacing_mm
        return None if row is None or column is None else row * column

    @property
    def voxel_volume_mm3(self) -> float | None:
        """Volume of one voxel in mm³, or None where the spacing is unknown."""
        area, step = self.pixel_area_mm2, self.spacing_mm[0]
        return None if area is None or step is None else area * step

    def to_native(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a display-ordered array in the file's own order (a view)."""
        native = np.transpose(array, self.native_axes)
        flips = tuple(axis for axis, flip in enumerate(self.native_flips) if flip)
        return np.flip(native, flips) if flips else native

    def from_native(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Inverse of `to_native` (a view)."""
        flips = tuple(axis for axis, flip in enumerate(self.native_flips) if flip)
        flipped = np.flip(array, flips) if flips else array
        return np.transpose(flipped, np.argsort(self.native_axes))
