"""The arrows of docs/architecture.md hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_import_contracts():
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def calls(name):
    """Every call of a name in the two packages: file, line and call."""
    for path in sorted((*ROOT.glob("model_core/**/*.py"), *ROOT.glob("ctmasknet_gui/**/*.py"))):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_problem_has_a_code():
    """What is told of a file has a code, so that no logic reads English."""
    without = [
        where
        for where, call in calls("Problem")
        if len(call.args) < 5
        and not any(isinstance(argument, ast.Starred) for argument in call.args)
        and "code" not in {keyword.arg for keyword in call.keywords}
    ]
    assert without == []


def test_no_logic_reads_english():
    pattern = re.compile(
        r"\.(text|action|reason|message)(\.\w+\(\))?"
        r"( ==| !=|\.(startswith|endswith|find|split|removeprefix)\()"
        r"|(\"|'|\b[A-Z_]+) (not )?in \w+\.(text|action|reason|message)\b"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((*ROOT.glob("model_core/**/*.py"), *ROOT.glob("ctmasknet_gui/**/*.py")))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []
