"""``python -m tests.fuzz --minutes 10``: damage files and open them until the time is up.

With ``--coverage``, atheris (``pip install ctmasknet[fuzz]``) chooses the damage by the code that it reaches;
without, it is random but seeded: the same numbers give the same files on every machine.
"""

import argparse
import collections
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.targets import TARGETS, FindingError, check_file, run_case

ROOT = Path(__file__).resolve().parents[2]
#: What is fuzzed by coverage unless targets are named.
GUIDED = ("header", "pixels", "zip", "dicomdir", "nifti", "checkpoint")
# What libFuzzer calls the files that it stopped at.
_ARTIFACTS = ("crash-*", "timeout-*", "oom-*", "slow-unit-*")


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument(
        "--coverage", action="store_true", help="guide the damage by coverage (needs atheris)"
    )
    parser.add_argument("--cases", type=int, default=0, help="stop after so many files instead")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="default: all in turn")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-findings"), help="folder for files with findings"
    )
    parser.add_argument("--replay", type=Path, help="open this one file as the program does, and stop")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if arguments.replay is not None:
        return replay(arguments.target[0] if arguments.target else "header", arguments.replay)
    if arguments.coverage:
        if importlib.util.find_spec("atheris") is not None:
            return guided(arguments)
        say(
            "atheris is not installed, so nothing guides the damage: pip install 'ctmasknet[fuzz]'. "
            "Seeded random damage runs instead."
        )
    return seeded(arguments)


def seeded(arguments: argparse.Namespace) -> int:
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


# ------------------------------------------------------------------------------------ by coverage


def guided(arguments: argparse.Namespace) -> int:
    targets = arguments.target or list(GUIDED)
    findings = 0
    for target in targets:
        findings += _guide(target, arguments.minutes * 60 / len(targets), arguments.keep)
    say(f"{findings} findings")
    return 1 if findings else 0


def _guide(target: str, seconds: float, keep: Path) -> int:
    """Run one target until its time is up; it is started again where it stopped at a file."""
    end = time.monotonic() + seconds
    findings = executed = confined = reached = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        folder = Path(root)
        while (left := end - time.monotonic()) > 1:
            started = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.guided", target, str(left), str(folder)],
                capture_output=True,
                text=True,
                errors="replace",
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                check=False,
            )
            runs = re.findall(r"^#(\d+)|number_of_executed_units:\s*(\d+)", done.stderr, re.MULTILINE)
            executed += max((int(a or b) for a, b in runs), default=0)
            reached = max([reached, *map(int, re.findall(r"\bcov: (\d+)", done.stderr))])
            stopped = [path for pattern in _ARTIFACTS for path in folder.glob(pattern)]
            for path in stopped:
                if _stands(target, path):
                    confined += 1
                else:
                    findings += 1
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep / f"{target}-{path.name}-{TARGETS[target][1]}")
                    say(f"{target}: {path.name}\n{done.stderr[-2000:]}")
                path.unlink()
            if done.returncode and not stopped:
                say(f"{target}: the fuzzer could not run\n{done.stderr[-2000:]}")
                return findings + 1
            if not stopped and time.monotonic() - started < 1:
                break
    say(
        f"  {target:10s} {executed} files, {reached} branches reached, "
        f"{confined} decoder crashes that end one file only, {findings} findings"
    )
    return findings


def _stands(target: str, path: Path) -> bool:
    """Whether the program itself, with its decoders apart, answers a file with its own errors."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--target", target, "--replay", str(path)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return done.returncode == 0


def replay(target: str, path: Path) -> int:
    with tempfile.TemporaryDirectory() as root:
        copy = Path(root) / TARGETS[target][1]
        shutil.copy(path, copy)
        try:
            say(f"{path.name}: {check_file(target, copy, name=path.name)}")
        except FindingError as finding:
            say(finding)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
