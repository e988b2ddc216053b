"""``ctmasknet data check``: what is wrong with a data set, and what it holds."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.base.errors import ExportError
from model_core.base.streams import printable
from model_core.cli import values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from model_core.data.checking import CheckedSet

_LOG = logging.getLogger(__name__)

DOCUMENT = "check.json"
# Files of one problem that are printed; the document names all.
MOST_FILES = 20

_LEVELS = {"error": "wrong", "warning": "warning", "info": "info"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser("data", help="look at data sets before training")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="say everything that is wrong with a data set and show its distributions",
        description="Reads every picture of a segmentation set (images/ and masks/, or imgs/ and masks/ as "
        "in the papers) or class set (normal/, other/, covid/; COVIDx-CT or iCTCF names) and says everything "
        "that is wrong with it. Exit code 1 where something must be solved before training.",
    )
    check.add_argument("data", type=Path, metavar="DIR", help="data set, or a split list (.txt) inside one")
    values.add_masks(check)
    check.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="validation set or list that must not share patients or pictures with DIR",
    )
    check.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help=f"write {DOCUMENT} and figures to this folder"
    )
    check.add_argument("--overwrite", action="store_true", help="replace the files of an earlier check")
    check.add_argument("--json", action="store_true", help=f"print the content of {DOCUMENT} instead of text")
    check.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Check a data set; 1 where it has errors."""
    from model_core.cli.progress import last
    from model_core.data.checking import CheckedSet, check_data, summarise_set

    output: Path | None = arguments.output
    if output is not None:
        _check_target(output, overwrite=arguments.overwrite)
    job = check_data(
        arguments.data,
        mask_values=arguments.mask_values,
        mask_type=arguments.mask_type,
        min_area=arguments.min_area,
        against=arguments.against,
    )
    checked = last(job, title="Checking")
    assert isinstance(checked, CheckedSet)
    settings = {
        "mask_values": arguments.mask_values,
        "mask_type": arguments.mask_type,
        "min_area": arguments.min_area,
        "against": None if arguments.against is None else arguments.against.name,
    }
    document = summarise_set(checked, settings=settings)
    if arguments.json:
        # ASCII, because a file name need not be text that the terminal or JSON can hold.
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    else:
        sys.stdout.write(printable("\n".join(_lines(document)) + "\n"))
    if output is not None:
        _write(output, document, checked, overwrite=arguments.overwrite)
    return 1 if checked.errors else 0


def _check_target(output: Path, *, overwrite: bool) -> None:
    from model_core.base.files import refuse_existing

    if output.exists() and not output.is_dir():
        raise ExportError(f"'{output.name}' is a file; a folder is needed.")
    refuse_existing(output / DOCUMENT, overwrite=overwrite)


# ------------------------------------------------------------------------------------------ as text


def _lines(document: dict[str, Any]) -> Iterator[str]:
    kind = "segmentation set" if document["kind"] == "segmentation" else "class set"
    yield f"{document['data']}: {kind} of {document['pictures']} readable pictures"
    patients, unknown = document["patients"], document["pictures_without_patient"]
    yield f"  patients         {patients} known" + (f", {unknown} pictures without" if unknown else "")
    yield f"  sizes            {_few(document['sizes'])}"
    yield from _mask_lines(document) if document["kind"] == "segmentation" else _class_lines(document)
    problems = document["problems"]
    yield ""
    if not problems:
        yield "Nothing is wrong with it."
        return
    for problem in problems:
        files = problem["files"]
        count = f"{len(files)}: " if files else ""
        yield f"{_LEVELS[problem['level']]}: {count}{problem['text']} {problem['action']}".rstrip()
        yield from (f"    {name}" for name in files[:MOST_FILES])
        if len(files) > MOST_FILES:
            yield f"    and {len(files) - MOST_FILES} more; -o OUT writes them all to {DOCUMENT}"
    errors = sum(problem["level"] == "error" for problem in problems)
    warnings = sum(problem["level"] == "warning" for problem in problems)
    yield f"{errors} kinds of faults, {warnings} of warnings"


def _mask_lines(document: dict[str, Any]) -> Iterator[str]:
    shares = ", ".join(f"{value}: {share:.2%}" for value, share in document["mask_value_shares"].items())
    yield f"  mask values      {shares or 'none'}"
    yield (
        f"  pictures with    GGO or lesion {document['pictures_with_ggo']}, consolidation "
        f"{document['pictures_with_consolidation']}, no instance {document['negative_pictures']}"
    )
    yield (
        f"  instances        {document['instances']} ({document['settings']['mask_type']}); "
        f"GGO {document['instances_ggo']}, consolidation {document['instances_consolidation']}; "
        f"{document['dropped_small_components']} components are too small"
    )
    yield f"  per picture      {_few(document['instances_per_picture'])}"
    yield f"  lesion share     {_quantiles(document['lesion_share'], '{:.2%}')}"
    yield f"  instance area    {_quantiles(document['instance_area'], '{:.0f} px')}"


def _class_lines(document: dict[str, Any]) -> Iterator[str]:
    for row in document["classes"]:
        patients = f", {row['patients']} patients" if row["patients"] else ""
        yield f"  class {row['label']}          {row['name']}: {row['pictures']} pictures{patients}"
    for row in document["sources"]:
        yield f"  source           {row['source']}: {row['pictures']} of class {row['label']}"


def _few(counts: dict[str, int]) -> str:
    items = [f"{name} ({count})" for name, count in counts.items()]
    rest = f" and {len(items) - 8} more" if len(items) > 8 else ""
    return ", ".join(items[:8]) + rest or "none"


def _quantiles(values: dict[str, float] | None, form: str) -> str:
    if values is None:
        return "none"
    low, middle, high = (form.format(values[key]) for key in ("5", "50", "95"))
    return f"median {middle} (5 to 95 %: {low} to {high})"


# ----------------------------------------------------------------------------------------- as files


def _write(output: Path, document: dict[str, Any], checked: CheckedSet, *, overwrite: bool) -> None:
    """Write the figures, then the document: where it is, everything is."""
    from matplotlib.figure import Figure

    from model_core.base.files import atomic_path, write_json

    for name, draw in _figures(checked).items():
        figure = Figure(figsize=(6.0, 3.2))
        draw(figure)
        with atomic_path(output / name, overwrite=overwrite) as path:
            figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
    write_json(output / DOCUMENT, document, overwrite=overwrite)
    _LOG.info("Wrote %s and figures.", DOCUMENT)


def _figures(checked: CheckedSet) -> dict[str, Callable[[Figure], None]]:
    from model_core.data.checking import summary
    from model_core.plots import distributions as plots

    sizes = Counter(one.shape for one in checked.slices)
    figures: dict[str, Callable[[Figure], None]] = {
        "sizes.png": lambda figure: plots.picture_sizes(figure, sizes)
    }
    if checked.kind == "segmentation":
        counts = summary.instances_per_picture(checked.slices)
        shares = [100 * share for share in summary.lesion_shares(checked.slices)]
        areas = summary.instance_areas(checked.slices)
        figures["instances.png"] = lambda figure: plots.whole_numbers(
            figure, counts, x="instances in a picture"
        )
        figures["area_shares.png"] = lambda figure: plots.histogram(
            figure, shares, x="lesion share of a picture that has any (%)"
        )
        figures["instance_areas.png"] = lambda figure: plots.histogram(
            figure, areas, x="area of an instance (pixels)", y="instances", log=True
        )
    else:
        rows = summary.class_counts(checked)
        figures["classes.png"] = lambda figure: plots.class_counts(
            figure, [name for name, _, _ in rows], [count for _, count, _ in rows]
        )
    return figures
