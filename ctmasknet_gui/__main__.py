"""Command line of the window: ``ctmasknet-gui`` and ``python -m ctmasknet_gui``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ctmasknet_gui.controller.script import Options
from ctmasknet_gui.state.case import WEIGHT_SUFFIXES
from model_core.base.settings import BACKEND_VARIABLE, BACKENDS
from model_core.base.streams import hold_standard_streams
from model_core.base.threads import wait_without_spinning


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{3,5})[xX×](\d{3,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write WIDTHxHEIGHT, for example 1280x800")
    return int(match[1]), int(match[2])


def _slice(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no slice: a number counting from 0")
    return int(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long for a file
        return False


def _without_paths(weights: Sequence[str]) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Split off the paths to open that ``--weights a b PATH`` took as weights."""
    paths = [w for w in weights if Path(w).suffix.lower() not in WEIGHT_SUFFIXES and _exists(Path(w))]
    return tuple(w for w in weights if w not in paths), tuple(Path(p) for p in paths)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog="ctmasknet-gui",
        description="Opens chest CT, runs the networks and explains their verdict. Research use only.",
    )
    result.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="file or folder to open")
    result.add_argument("--demo", action="store_true", help="open a synthetic phantom and run the networks")
    result.add_argument(
        "--weights", nargs="+", default=[], metavar="NAME|FILE", help="weights to run instead of the default"
    )
    result.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what computes on a CPU: ONNX Runtime (onnx), PyTorch (torch), or the faster one (auto)",
    )
    result.add_argument("--slice", type=_slice, metavar="N", help="slice to show, counting from 0")
    result.add_argument("--run", action="store_true", help="run the networks on the shown slice")
    result.add_argument("--all", action="store_true", help="run the networks on the whole series")
    result.add_argument("--size", type=_size, metavar="WxH", help="size of the window in pixels")
    result.add_argument(
        "--screenshot", type=Path, metavar="FILE", help="write the window as PNG, with its results, and leave"
    )
    return result


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line; exits with 2 on a usage error."""
    command = parser()
    values = command.parse_args(arguments)
    weights, taken = _without_paths(values.weights)
    values.paths += taken
    if taken and not weights:
        command.error("--weights needs a name or a weight file")
    if values.demo and values.paths:
        command.error("--demo opens the phantom: give either a PATH or --demo")
    something = bool(values.demo or values.paths)
    for name in ("slice", "run", "all"):
        if not something and getattr(values, name) not in (None, False):
            command.error(f"--{name} needs a PATH or --demo")
    return Options(
        paths=tuple(values.paths),
        demo=values.demo,
        weights=weights,
        backend=values.backend,
        slice_index=values.slice,
        run=values.run,
        run_all=values.all,
        size=values.size,
        screenshot=values.screenshot,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the program; returns its exit code."""
    hold_standard_streams()
    wait_without_spinning()
    options = parse(arguments)
    if options.backend != "auto":
        os.environ[BACKEND_VARIABLE] = options.backend
    from ctmasknet_gui.app import execute

    return execute(options)


if __name__ == "__main__":
    sys.exit(main())
