"""Arrange the frames of one series in space: order, step, tilt, gaps. Reports, never repairs.

Slices are ordered by ImagePositionPatient along the normal of ImageOrientationPatient; SliceThickness,
SpacingBetweenSlices and InstanceNumber are never used for geometry (PS3.3 C.7.6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import DoubleArray
from model_core.base.filenames import named, natural_key
from model_core.base.geometry import Geometry
from model_core.base.volume import Plane, Problem, ProblemCode
from model_core.read.dicom.records import Frame, cross
from model_core.read.orientation import Layout, display_geometry, layout_of
from model_core.read.tilt import not_straight
from model_core.read.tolerances import (
    ALMOST_EVEN_STEP,
    EVEN_STEP,
    MAX_POSITION_MM,
    SAME_POSITION,
    SAME_POSITION_MM,
    SHEAR_TOLERANCE,
    SHIFT_PIXELS,
)


@dataclass(frozen=True)
class Stack:
    """Frames in display order with the geometry of the array that they fill.

    ``positions_mm`` are along the normal of the files, one per frame; None without positions.
    """

    frames: tuple[Frame, ...]
    geometry: Geometry
    plane: Plane
    positions_mm: DoubleArray | None
    problems: tuple[Problem, ...]


def in_space(frame: Frame) -> bool:
    """Whether a frame says where it lies, and says something possible."""
    return (
        frame.position is not None
        and frame.row_direction is not None
        and max(abs(value) for value in frame.position) <= MAX_POSITION_MM
    )


def project(frames: Sequence[Frame]) -> DoubleArray:
    """Return the position of each frame along the normal of the first one, in mm."""
    first = frames[0]
    assert first.row_direction is not None
    assert first.column_direction is not None
    normal = np.array(cross(first.row_direction, first.column_direction))
    positions: DoubleArray = np.array([frame.position for frame in frames], float) @ normal
    return positions


def same_position_mm(positions: DoubleArray) -> float:
    """Return the distance below which two of these slices lie at one position."""
    steps = np.diff(np.sort(positions))
    real = steps[steps > SAME_POSITION_MM]
    return max(SAME_POSITION_MM, SAME_POSITION * float(np.median(real))) if real.size else SAME_POSITION_MM


def in_one_place(frames: Sequence[Frame]) -> bool:
    """Whether several frames all say that they lie at one position along their normal: it orders nothing."""
    if len(frames) < 2 or not all(in_space(frame) for frame in frames):
        return False
    return float(np.ptp(project(frames))) <= SAME_POSITION_MM


def mostly_even(frames: Sequence[Frame]) -> bool:
    """Whether most of the slices are equally far apart; copies at one position do not count."""
    if not all(in_space(frame) for frame in frames):
        return False
    positions = np.sort(project(frames))
    steps = np.diff(positions)
    steps = steps[steps > same_position_mm(positions)]
    if steps.size < 2:
        return False
    usual = float(np.median(steps))
    return bool(np.mean(np.abs(steps - usual) <= ALMOST_EVEN_STEP * usual) > 0.5)


def on_one_grid(frames: Sequence[Frame]) -> bool:
    """Whether three slices or more stand on one line in equal steps, some of which may be missing."""
    if len(frames) < 3 or not all(in_space(frame) for frame in frames):
        return False
    order = np.argsort(project(frames), kind="stable")
    origins = np.array([frames[index].position for index in order], float)
    steps = np.diff(project([frames[index] for index in order]))
    usual = float(np.median(steps))
    if usual <= SAME_POSITION_MM:
        return False
    whole = np.rint(steps / usual)
    if whole.min() < 1 or np.mean(whole == 1) <= 0.5:
        return False
    per_step = np.diff(origins, axis=0) / whole[:, None]
    off = np.abs(per_step - np.median(per_step, axis=0))
    return float(off.max()) <= ALMOST_EVEN_STEP * usual


def arrange(frames: Sequence[Frame]) -> Stack:
    """Order the frames of one series and describe their geometry.

    The frames have one size, orientation and pixel spacing (see `grouping`).
    """
    if all(in_space(frame) for frame in frames) and not in_one_place(frames):
        return _arrange_in_space(frames)
    return _arrange_by_number(frames)


def _by_number(frame: Frame) -> tuple[object, ...]:
    """Sort key of frames without positions: their place in a concatenation, InstanceNumber, file name."""
    header = frame.header
    whole = header.concatenation
    part = 0 if whole is None else whole.offset or whole.number or 0
    number = header.instance_number
    return part, number is None, number or 0, natural_key(header.name), frame.index


def _arrange_by_number(frames: Sequence[Frame]) -> Stack:
    ordered = tuple(sorted(frames, key=_by_number))
    first = ordered[0]
    problems = _unplaced(ordered)
    layout, directions = Layout("unknown"), None
    if first.row_direction is not None and first.column_direction is not None:
        directions = _directions(first)
        upright = layout_of(directions)
        # The order of slices is not known from positions, so only the picture itself is turned upright.
        layout = Layout(upright.plane, upright.axes, (False, upright.flips[1], upright.flips[2]))
    row, column = first.spacing or (None, None)
    geometry = display_geometry(
        layout,
        shape=(len(ordered), first.header.rows, first.header.columns),
        spacing=(None, row, column),
        directions=directions if len(ordered) == 1 else None,
        corners=None,
        aspect=first.aspect,
    )
    return Stack(ordered, geometry, layout.plane, None, tuple(problems))


def _unplaced(ordered: Sequence[Frame]) -> list[Problem]:
    """Say that, and why, the order of frames is not that of their positions."""
    if len(ordered) < 2:
        return []
    same = in_one_place(ordered)
    code: ProblemCode = "single_position" if same else "missing_position"
    if len({frame.header.path for frame in ordered}) == 1 or ordered[0].header.concatenation is not None:
        return [
            Problem(
                "info",
                "The frames of this file all state one position."
                if same
                else "The frames of this file have no position in the patient.",
                "They are shown in the order of the file; the distance between them is unknown.",
                code=code,
            )
        ]
    text = (
        f"All {len(ordered)} images state one position in the patient (ImagePositionPatient)."
        if same
        else "Not every file says where its slice lies in the patient."
    )
    action = (
        "Slices are in order of InstanceNumber, then file name; the distance between them is "
        "unknown, and so is which side is which where no letters are shown."
    )
    names = named(frame.name for frame in ordered if same or not in_space(frame))
    return [Problem("warning", text, action, names, code=code)]


def _directions(frame: Frame) -> DoubleArray:
    assert frame.row_direction is not None
    assert frame.column_direction is not None
    normal = cross(frame.row_direction, frame.column_direction)
    return np.array([normal, frame.column_direction, frame.row_direction], float)


def _arrange_in_space(frames: Sequence[Frame]) -> Stack:
    positions = project(frames)
    order = np.argsort(positions, kind="stable")
    native = [frames[index] for index in order]
    positions = positions[order]
    directions = _directions(native[0])
    layout = layout_of(directions)
    step, problems = _step(native, positions)
    problems += _shear(native, positions, directions, even=step is not None)
    row, column = native[0].spacing or (None, None)
    if native[0].spacing is None:
        shape = native[0].aspect
        drawn = "" if shape is None else f"Pixels are drawn {shape:g} times as high as wide, as is stated. "
        text = "The size of a pixel is not stated (PixelSpacing is missing or not positive)."
        action = f"{drawn}Lengths and areas in mm are off."
        problems.append(Problem("warning", text, action, code="missing_pixel_spacing"))
    first, last = native[0].position, native[-1].position
    assert first is not None
    assert last is not None
    geometry = display_geometry(
        layout,
        shape=(len(native), native[0].header.rows, native[0].header.columns),
        spacing=(step, row, column),
        directions=directions,
        corners=(first, last),
        aspect=native[0].aspect,
    )
    if layout.flips[0]:
        native, positions = native[::-1], positions[::-1]
    if layout.plane == "oblique":
        text = "The slices are oblique to every plane of the body."
        action = "They are shown like the nearest plane; read the orientation letters."
        problems.append(Problem("info", text, action, code="oblique"))
    return Stack(tuple(native), geometry, layout.plane, np.ascontiguousarray(positions), tuple(problems))


def _step(native: Sequence[Frame], positions: DoubleArray) -> tuple[float | None, list[Problem]]:
    """Return the distance between slices in mm, None where there is no single one."""
    count = len(native)
    if count < 2:
        return None, []
    steps = np.diff(positions)
    step = float(positions[-1] - positions[0]) / (count - 1)
    if step <= SAME_POSITION_MM:
        return None, []
    off = np.abs(positions - (positions[0] + step * np.arange(count)))
    deviation = float(off.max()) / step
    if deviation <= EVEN_STEP:
        return step, []
    spread = float(np.abs(steps - step).max()) / step
    if deviation <= ALMOST_EVEN_STEP and spread <= ALMOST_EVEN_STEP:
        text = f"Slice distances differ by up to {spread:.0%} from their mean of {step:.3f} mm."
        action = "The mean is used as the slice distance."
        return step, [Problem("info", text, action, code="almost_even_spacing")]
    usual = float(np.median(steps))
    ratios = steps / max(usual, SAME_POSITION_MM)
    whole = np.rint(ratios)
    code: ProblemCode = "unevenly_spaced"
    gaps = [int(gap) for gap in np.flatnonzero(whole > 1)]
    if gaps and bool((whole >= 1).all()) and float(np.abs(ratios - whole).max()) <= ALMOST_EVEN_STEP:
        code = "gap"
        missing = int((whole[gaps] - 1).sum())
        names = [name for gap in gaps for name in (native[gap].name, native[gap + 1].name)]
        places = ", ".join(
            f"{steps[gap]:.2f} mm between {native[gap].name} and {native[gap + 1].name}" for gap in gaps[:3]
        )
        more = f" and at {len(gaps) - 3} more places" if len(gaps) > 3 else ""
        text = f"{missing} slice(s) are missing: {places}{more}, where the others are {usual:.2f} mm apart."
    else:
        small, large = int(np.argmin(steps)), int(np.argmax(steps))
        names = [native[index].name for index in (small, small + 1, large, large + 1)]
        text = (
            f"Slices are not evenly spaced: {steps[small]:.2f} mm between {names[0]} and {names[1]}, "
            f"{steps[large]:.2f} mm between {names[2]} and {names[3]}."
        )
    action = "Shown as they are; the slice distance counts as unknown, so volumes in mm³ are off."
    return None, [Problem("warning", text, action, named(names), code=code)]


def _shear(
    native: Sequence[Frame], positions: DoubleArray, directions: DoubleArray, *, even: bool
) -> list[Problem]:
    """Report slices that are shifted sideways: all of them evenly (gantry tilt), or some of them."""
    travel = float(positions[-1] - positions[0])
    steps = np.diff(positions)
    apart = steps > SAME_POSITION_MM
    if len(native) < 2 or travel <= SAME_POSITION_MM or not apart.any():
        return []
    origins = np.array([frame.position for frame in native], float)
    sideways = origins - origins[0] - np.outer(positions - positions[0], directions[0])
    # The median leaves out single slices that are shifted on their own.
    slope = np.median(np.diff(sideways, axis=0)[apart] / steps[apart, None], axis=0)
    rest = sideways - np.outer(positions - positions[0], slope)
    rest -= np.median(rest, axis=0)
    problems = []
    if float(np.linalg.norm(slope)) > SHEAR_TOLERANCE:
        problems.append(_tilted(native, sideways, slope, even=even))
    limit = SHIFT_PIXELS * min(native[0].spacing) if native[0].spacing else SHEAR_TOLERANCE * travel
    shifted = np.linalg.norm(rest, axis=1)
    if float(shifted.max()) > limit:
        problems.append(_shifted(native, shifted, limit, even=even))
    return problems


def _tilted(native: Sequence[Frame], sideways: DoubleArray, slope: DoubleArray, *, even: bool) -> Problem:
    """Report a shift that grows evenly with the position: the slices were taken with a tilted gantry."""
    shift = np.linalg.norm(sideways, axis=1)
    worst = int(np.argmax(shift))
    angle = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    stated = native[0].header.tilt_degrees
    tilted = f" (GantryDetectorTilt {stated:g}°)" if stated else ""
    text = (
        f"The stack is sheared: slices shift sideways by up to {shift[worst]:.1f} mm, "
        f"{angle:.1f}° over the stack{tilted}."
    )
    names = (native[0].name, native[worst].name)
    return Problem("warning", text, not_straight(even=even), names, code="sheared")


def _shifted(native: Sequence[Frame], shifted: DoubleArray, limit: float, *, even: bool) -> Problem:
    """Report slices that lie beside the line that the others follow; names the worst and its neighbour."""
    worst = int(np.argmax(shifted))
    beside = worst - 1 if worst else 1
    text = (
        f"{int((shifted > limit).sum())} slice(s) are shifted sideways against the others, "
        f"{native[worst].name} by {shifted[worst]:.1f} mm against {native[beside].name}."
    )
    names = (native[worst].name, native[beside].name)
    return Problem("warning", text, not_straight(even=even), names, code="shifted_slices")
