"""Values of the command line: what is a score, a count, a rate; wrong ones are usage errors."""

from __future__ import annotations

import argparse

from model_core.base.picture_edit import GROUND_GLASS_HU
from model_core.base.settings import BACKEND_VARIABLE, BACKENDS, LARGEST_SIZE, SIZE_STEP


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Add what computes the networks."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what computes on a CPU: ONNX Runtime (onnx), PyTorch (torch), or the faster one that works "
        f"(auto; unless {BACKEND_VARIABLE} says otherwise)",
    )


def number(text: str, low: float, high: float) -> float:
    """Parse a number within limits; a comma is a decimal one (U+066B in Arabic), as in the window."""
    try:
        value = float(text.replace(",", ".").replace("\u066b", "."))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} is outside {low:g}..{high:g}")
    return value


def score(text: str) -> float:
    """Parse a score threshold; the evidence of the papers takes a negative one."""
    return number(text, -1.0, 1.0)


def iou(text: str) -> float:
    """Parse an intersection over union."""
    return number(text, 0.0, 1.0)


def logit(text: str) -> float:
    """Parse a mask threshold."""
    return number(text, -100.0, 100.0)


def ground_glass(text: str) -> float:
    """Parse the HU of planted ground glass."""
    return number(text, *GROUND_GLASS_HU)


def count(text: str) -> int:
    """Parse a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def side(text: str) -> int:
    """Parse the side of a network input."""
    pixels = positive(text)
    if pixels % SIZE_STEP or pixels > LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of {SIZE_STEP} up to {LARGEST_SIZE}")
    return pixels


def box(text: str) -> tuple[float, float, float, float]:
    """Parse a box, x1,y1,x2,y2 in pixels: the first corner is the upper left one."""
    try:
        left, top, right, bottom = (float(edge) for edge in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a box X1,Y1,X2,Y2") from None
    if not (left < right and top < bottom):
        raise argparse.ArgumentTypeError(f"{text!r} is no box: X1 < X2 and Y1 < Y2 are wanted")
    return left, top, right, bottom


def rate(text: str) -> float:
    """Parse a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


MASK_VALUES = (
    "shared (0; 1 GGO or lesion; 2 consolidation; default), papers (0-3), released (0-3, labelled by "
    "position as the released code does), or 1=ggo,2=consolidation"
)


def add_masks(parser: argparse.ArgumentParser) -> None:
    """Add what the values of masks mean, what counts as one class, and what is too small to count."""
    parser.add_argument("--mask-values", default="shared", metavar="SCHEME", help=MASK_VALUES)
    parser.add_argument(
        "--mask-type",
        choices=("merge", "both", "ggo"),
        default="merge",
        help="what is counted as instances (default merge: every lesion class is one)",
    )
    parser.add_argument(
        "--min-area",
        type=count,
        default=100,
        metavar="PX",
        help="components up to this area are no instances (default 100)",
    )
