"""Values of the command line: what is a score, a count, a rate; wrong ones are usage errors."""

from __future__ import annotations

import argparse

from model_core.base.settings import BACKEND_VARIABLE, BACKENDS, LARGEST_SIZE, SIZE_STEP

_FAST = "leave out the mirror image where the weights look at it too: half the time, a little less good"


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Add what computes the networks, and how fast."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what computes on a CPU: ONNX Runtime (onnx), PyTorch (torch), or the faster one that works "
        f"(auto; unless {BACKEND_VARIABLE} says otherwise)",
    )
    parser.add_argument("--fast", action="store_true", help=_FAST)


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


def rate(text: str) -> float:
    """Parse a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value
