"""``ctmasknet benchmark``: how fast this program is on this machine, against plain torchvision."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from model_core.cli.progress import last

UNITS = {"s": "s", "ms": "ms", "gb": "GB", "speedup": "times as fast"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "benchmark",
        help="measure how fast this program is on this machine",
        description="Measures slices, a series, the window and a training step on a synthetic CT, beside "
        "plain torchvision at equal settings in the same run. Takes less than 6 minutes, with --quick less "
        "than one, on a machine that is left alone. What each number means is in docs/performance.md.",
    )
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure everything and print it."""
    from model_core.benchmark.measure import measure_all

    document = last(measure_all(quick=arguments.quick), title="Measuring")
    if arguments.json:
        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(table(document))
    return 0


def table(document: dict[str, Any]) -> str:
    """Return the machine and the results as lines of text."""
    machine, details = document["machine"], document["details"]
    processor = f"{machine['processor']}, {machine['cores']} cores ({machine['instructions']})"
    versions = f"Python {machine['python']}, torch {machine['torch']}"
    lines = [f"{processor}, {machine['memory_gb']} GB, {versions}", ""]
    for name, value in document["results"].items():
        unit = UNITS.get(name.rsplit("_", 1)[-1], "")
        lines.append(f"{name:22s} {'not measured' if value is None else f'{value:g} {unit}'.rstrip()}")
    for part, why in details["not_measured"].items():
        lines.append(f"\n{part}: {why}")
    return "\n".join(lines) + "\n"
