"""``ctmasknet``: one parser, one place where errors become a line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence

from model_core import DISCLAIMER, __version__
from model_core.base.errors import CTMaskNetError
from model_core.base.streams import hold_standard_streams
from model_core.base.threads import wait_without_spinning
from model_core.cli import benchmark, data, evaluate, explain, info, predict, train, weights
from model_core.cli.errors import UsageError

LONGEST_NAME = 120
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
COMMANDS = (info, predict, explain, train, evaluate, data, weights, benchmark)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every command."""
    parser = argparse.ArgumentParser(prog="ctmasknet", description=f"Chest CT, explained. {DISCLAIMER}")
    parser.add_argument("--version", action="version", version=f"ctmasknet {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log what is done; show tracebacks of errors")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 with one clear line on stderr, or exit with 2 for wrong usage."""
    hold_standard_streams()
    wait_without_spinning()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the whole process
    if sys.stdout is None:
        sys.stderr.write("ctmasknet: the standard output is closed, so that nothing can be told: open it.\n")
        return EXIT_FAILED
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="%(message)s")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except CTMaskNetError as error:
        if arguments.verbose:
            raise
        sys.stderr.write(f"ctmasknet: {error.message}\n")
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    except BrokenPipeError:
        # Who reads the output has enough of it.
        _drop_output()
        return EXIT_FAILED
    except OSError as error:
        if arguments.verbose:
            raise
        sys.stderr.write(f"ctmasknet: {_system_error(error)}\n")
        _drop_output()
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("ctmasknet: interrupted\n")
        return EXIT_INTERRUPTED
    return code


def _drop_output() -> None:
    """Keep the interpreter from writing what is left of the output when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_error(error: OSError) -> str:
    """Say what the system did not do, and with which file."""
    reason = error.strerror or str(error) or type(error).__name__
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return f"the system reports: {reason}."
    name = os.fsdecode(error.filename)
    return f"'{name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + '…'}': {reason}."


if __name__ == "__main__":
    sys.exit(main())
