"""``ctmasknet data``: look at a data set before training on it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser("data", help="check data sets", description="Look at data sets.")
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    check = kinds.add_parser(
        "check",
        help="say what is wrong with a data set and what is in it",
        description="Reads every picture and mask of DIR (images/ and masks/ of equal names) or every "
        "picture of its class folders (normal/, other/, covid/), names what is wrong, and counts lesions. "
        "Exit code 1 where anything is wrong. Writes nothing.",
    )
    check.add_argument("folder", type=Path, metavar="DIR")
    check.add_argument(
        "--mask-values",
        default="shared",
        metavar="SCHEME",
        help='shared (0-2, default), papers (0-3), or "1=ggo,2=consolidation"',
    )
    check.add_argument("--mask-type", choices=("merge", "both", "ggo"), default="merge")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the folder; 0, or 1 where something is wrong with it."""
    from model_core.datasets.checks import check_classes, check_pairs, is_class_folder

    if is_class_folder(arguments.folder):
        report = check_classes(arguments.folder)
    else:
        report = check_pairs(
            arguments.folder, mask_values=arguments.mask_values, mask_type=arguments.mask_type
        )
    if arguments.json:
        json.dump(report, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        for key, value in report.items():
            if key != "problems":
                text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
                sys.stdout.write(f"{key.replace('_', ' ')}: {text}\n")
        for problem in report["problems"]:
            sys.stdout.write(f"wrong: {problem}\n")
    return 1 if report["problems"] else 0
