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
        if len(call.args) < 5 and "code" not in {keyword.arg for keyword in call.keywords}
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


# What makes or changes a file. Everything of a user appears whole or not at all (`base.files.atomic_path`).
WRITERS = {
    *("write_text", "write_bytes", "save", "savez", "savez_compressed", "savefig", "save_as", "to_csv"),
    *("WriteImage", "save_file", "tofile", "copyfile", "copyfileobj"),
}
NOT_THROUGH_ATOMIC_PATH = {
    "ctmasknet_gui/view/main_window.py": "save_picture writes where save_screenshot says: a temporary file",
    "model_core/cli/main.py": "the null device in place of a closed stream",
    "model_core/export/labels.py": "_set_forms changes the temporary file of write_lesions",
    "model_core/measure/figures.py": "into memory",
    "model_core/read/archives.py": "unpacks into a private folder",
    "model_core/read/dicom/decode.py": "into a private folder, for a library that reads files only",
    "model_core/read/itk_files.py": "copies into a private folder for a library that wants another name",
    "model_core/read/temporary.py": "the lock of a private folder",
    "model_core/train/appearance.py": "into memory",
    "model_core/train/lesion.py": "a log that grows by a line for each step",
}


def writes(node):
    """Whether a call makes or changes a file."""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    owner = getattr(getattr(node.func, "value", None), "id", "")
    if name == "write_text":
        return isinstance(node.func, ast.Attribute) and owner != "files"
    if name == "save":  # a painter keeps its state; of a training, a method that calls the writer
        return owner not in ("painter", "self")
    if name in ("open", "ZipFile"):
        modes = [*node.args[:2], *(k.value for k in node.keywords if k.arg == "mode")]
        words = [str(mode.value) for mode in modes if isinstance(mode, ast.Constant)]
        return any(re.fullmatch(r"[rwaxbt+]*[wax+][rwaxbt+]*", word) for word in words)
    return name in WRITERS


def unsafe_writes(node, *, safe=False):
    """Lines of calls that write outside a block that is given its path by the writer."""
    if isinstance(node, ast.With):
        safe = safe or any("atomic_path(" in ast.unparse(item) for item in node.items)
    if isinstance(node, ast.Call) and writes(node) and not safe:
        yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from unsafe_writes(child, safe=safe)


def test_files_appear_whole_or_not_at_all():
    found = {}
    for path in sorted((*ROOT.glob("model_core/**/*.py"), *ROOT.glob("ctmasknet_gui/**/*.py"))):
        if lines := list(unsafe_writes(ast.parse(path.read_text("utf-8")))):
            found[str(path.relative_to(ROOT))] = lines
    found.pop("model_core/base/files.py")
    assert {name: lines for name, lines in found.items() if name not in NOT_THROUGH_ATOMIC_PATH} == {}
    assert set(found) == set(NOT_THROUGH_ATOMIC_PATH), "a reason for what is not there any more"


def test_there_is_one_writer():
    """A rename into place stands in the writer and in the two that make whole folders, nowhere else."""
    found = {
        str(path.relative_to(ROOT))
        for path in sorted((*ROOT.glob("model_core/**/*.py"), *ROOT.glob("ctmasknet_gui/**/*.py")))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") in ("replace", "rename", "hardlink_to", "move")
        and len(node.args) == 1  # of a path; of a text there are two
        and not node.keywords
    }
    assert found == {"model_core/base/files.py", "model_core/cli/predict.py", "model_core/measure/output.py"}
