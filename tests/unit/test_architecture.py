"""The arrows of docs/architecture.md hold."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from model_core.measure import figures
from model_core.scene import palette

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
    "model_core/export/pages.py": "pictures of a page, in memory",
    "ctmasknet_gui/view/main_window.py": "save_picture writes where save_screenshot says: a temporary file",
    "model_core/cli/main.py": "the null device in place of a closed stream",
    "model_core/engine/prepared.py": "into memory",
    "model_core/export/labels.py": "_set_forms changes the temporary file of write_lesions",
    "model_core/measure/figures.py": "into memory",
    "model_core/read/archives.py": "unpacks into a private folder",
    "model_core/read/dicom/decode.py": "into a private folder, for a library that reads files only",
    "model_core/read/volumes/files.py": "copies into a private folder for a library that wants another name",
    "model_core/read/sandbox.py": "the lock of a private folder",
    "model_core/train/appearance.py": "into memory",
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
    """A rename into place stands in the writer, nowhere else."""
    found = {
        str(path.relative_to(ROOT))
        for path in sorted((*ROOT.glob("model_core/**/*.py"), *ROOT.glob("ctmasknet_gui/**/*.py")))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") in ("replace", "rename", "hardlink_to", "move")
        and len(node.args) == 1  # of a path; of a text there are two
        and not node.keywords
    }
    assert found == {"model_core/base/files.py"}


# --------------------------------------------------------------------------------------- one of each


def sources(*packages):
    """Name and text of every module of the packages, or rooms of them."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text("utf-8")


COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")


def test_there_is_one_palette():
    """Colours of plots and pictures are the palette's; a theme has its greys, the window its own chrome."""
    own = {name for name, text in sources("model_core") if COLOUR.search(text)}
    assert own == {
        "model_core/export/look.py",  # the ground of a picture
        "model_core/plots/style.py",  # the greys of the two themes
        "model_core/scene/palette.py",
    }
    meaningful = {
        colour.lower()
        for colour in COLOUR.findall((ROOT / "model_core/scene/palette.py").read_text("utf-8"))
        if len({colour[1:3], colour[3:5], colour[5:7]}) > 1  # greys mean nothing
    }
    assert len(meaningful) > 20
    repeated = {
        (name, colour)
        for name, text in sources("ctmasknet_gui", "model_core")
        for colour in COLOUR.findall(text)
        if colour.lower() in meaningful and name != "model_core/scene/palette.py"
    }
    assert repeated == set()


def test_reports_have_the_colours_of_the_window():
    assert (figures.BLUE, figures.GREEN, figures.ORANGE) == (palette.BLUE, palette.GREEN, palette.ORANGE)
    assert figures.REFERENCE == palette.REFERENCE
    assert figures.image_colour is palette.image_colour


def test_there_is_one_rule_of_letters():
    """Letters at the edges are made of directions in one place; readers know those that files write."""
    sides = set("RLAPHF")
    found = set()
    for name, text in sources("model_core", "ctmasknet_gui"):
        words = {
            node.value
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) in (1, 3)
        }
        letters = {letter for word in words if set(word) <= sides | set("IS") for letter in word}
        if len(letters & sides) >= 4:
            found.add(name)
    assert found == {
        "model_core/scene/letters.py",
        "ctmasknet_gui/view/commands.py",  # keys
        "model_core/read/volumes/nifti.py",  # the axes of a file, in a message
        "model_core/read/volumes/text_headers.py",  # what NRRD and MetaImage call their axes
    }


def test_there_is_one_hit_threshold():
    """Whether a detection finds a lesion is asked with `HIT_IOU` wherever it is asked."""
    pattern = re.compile(
        r"\b\w*hit\w*\s*(:\s*\w+\s*)?=\s*0?\.\d+|(iou|overlap)\w*\)?\s*[<>]=?\s*0?\.\d"
        r"|(def .*|^ +.*)\bthreshold\b[^=\n]*=\s*0?\.\d",
        re.IGNORECASE | re.MULTILINE,
    )
    found = {
        (name, match[0].strip())
        for name, text in sources(
            "model_core/measure", "model_core/train", "model_core/cli", "model_core/plots"
        )
        for match in pattern.finditer(text)
    }
    assert found == {("model_core/measure/average_precision.py", "HIT_IOU = 0.5")}


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_name_what_there_is(path):
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
