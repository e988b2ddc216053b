"""``python -m tests.fuzz --minutes 10``: damage files and open them until the time is up."""

import argparse
import collections
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.targets import TARGETS, FindingError, run_case


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--cases", type=int, default=0, help="stop after so many files instead")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="default: all in turn")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-findings"), help="folder for files with findings"
    )
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    outcomes = {target: collections.Counter() for target in targets}
    slowest = dict.fromkeys(targets, 0.0)
    findings = 0
    end = time.monotonic() + arguments.minutes * 60
    number = 0
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        while number < arguments.cases if arguments.cases else time.monotonic() < end:
            target, seed = targets[number % len(targets)], arguments.seed + number // len(targets)
            number += 1
            start = time.monotonic()
            try:
                outcomes[target][run_case(target, seed, folder)] += 1
            except FindingError as finding:
                findings += 1
                say(finding)
                arguments.keep.mkdir(parents=True, exist_ok=True)
                name = TARGETS[target][1]
                shutil.copy(folder / name, arguments.keep / f"{target}-{seed}-{name}")
            slowest[target] = max(slowest[target], time.monotonic() - start)
    say(f"{number} files, {findings} findings")
    for target, counter in outcomes.items():
        say(f"  {target:10s} {dict(counter)}, slowest {slowest[target]:.2f} s")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
