"""The program from its command line, in a process of its own."""

import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from model_core.phantom import make_phantom, write_dicom

ROOT_ENV = {"QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "2"}


@pytest.fixture
def environment(tmp_path):
    """Settings and log of these starts lie in a folder of their own."""
    return {**os.environ, **ROOT_ENV, "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def start(environment):
    def run(*arguments, timeout=120):
        return subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-m", "ctmasknet_gui", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A phantom written as DICOM."""
    folder = tmp_path_factory.mktemp("series") / "Müller 1"
    volume, _ = make_phantom(slices=10, size=128)
    write_dicom(volume, folder)
    return folder


def test_empty_window_imports_neither_torch_nor_matplotlib(environment):
    code = """
import sys
from ctmasknet_gui.app import build
from ctmasknet_gui.app.start import make_application
application = make_application()
app = build()
app.window.show()
application.processEvents()
heavy = {"torch", "torchvision", "matplotlib", "SimpleITK", "pydicom", "scipy"} & set(sys.modules)
assert not heavy, heavy
assert app.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_screenshot_of_a_dicom_series_with_results(start, series, tiny_weights, tmp_path):
    target = tmp_path / "a.png"
    weights = tiny_weights / "tiny.safetensors", tiny_weights / "tiny-s.safetensors"
    done = start(
        series, "--run", "--slice", 4, "--size", "1280x800", "--screenshot", target, "--weights", *weights
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with Image.open(target) as picture:
        assert picture.size == (1280, 800)
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 20)
    assert len(colours) > 200
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["a.png"]


def test_empty_window_screenshot(start, tmp_path):
    done = start("--screenshot", tmp_path / "empty.png", "--size", "1400x900")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "empty.png") as picture:
        assert picture.size == (1400, 900)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--slice", "3"), 2, "--slice needs a PATH"),
        (("--demo", "somewhere"), 2, "either a PATH or --demo"),
        (("--size", "12"), 2, "is no size"),
        (("gone", "--screenshot", "b.png"), 1, "Not found: 'gone'. Check the path."),
        (("--screenshot", "nowhere/b.png"), 1, "b.png cannot be written"),
    ],
)
def test_wrong_use_is_one_clear_line(start, tmp_path, arguments, code, text):
    done = start(*[tmp_path / a if a.endswith("png") else a for a in arguments])
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_slice_out_of_range_is_a_usage_error(start, series, tmp_path):
    done = start(series, "--slice", 10, "--screenshot", tmp_path / "a.png")
    assert done.returncode == 2
    assert "slices 0 to 9" in done.stderr
    assert not (tmp_path / "a.png").exists()


def test_missing_weights_end_a_run_with_a_message(start, series, tmp_path):
    done = start(series, "--run", "--weights", "nowhere", "--screenshot", tmp_path / "a.png")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for child processes")
def test_interrupt_ends_the_program(environment, series):
    # Tells once the window shows the series: an interrupt before that hits an import.
    code = """
import sys
from ctmasknet_gui.__main__ import main
from ctmasknet_gui.view.viewport import Viewport
plain = Viewport.paintEvent
def paint(viewport, event):
    plain(viewport, event)
    if viewport.corners.text:
        print("shown", flush=True)
Viewport.paintEvent = paint
sys.exit(main(sys.argv[1:]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(series)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "shown\n", process.stderr.read()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_log_lies_beside_the_settings_and_holds_no_paths(start, tmp_path, environment):
    secret = tmp_path / "Doe^Jane"
    secret.mkdir()
    (secret / "x.dcm").write_bytes(b"no image")
    done = start(secret, "--screenshot", tmp_path / "a.png")
    assert done.returncode == 1
    logs = list((tmp_path / "config").rglob("*.log"))
    assert len(logs) == 1
    text = logs[0].read_text()
    assert "ReadError" in text
    assert "Doe" not in text
    assert str(tmp_path) not in text


# ----------------------------------------------------------------- what a system may lack (Linux alone)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="displays, fonts and streams of Linux")


@pytest.fixture
def bare(environment):
    """No display, and none asked for."""
    names = ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")
    environment.update(dict.fromkeys(names))
    return environment


def run_bare(environment, *command, timeout=120):
    known = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(
        [*map(str, command)], env=known, capture_output=True, text=True, timeout=timeout, check=False
    )


@on_linux
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"),
        ({"QT_QPA_PLATFORM": "xcb"}, "there is no display"),
        ({"DISPLAY": ":987"}, "the display cannot be used: "),
        ({"WAYLAND_DISPLAY": "wayland-987"}, "the display cannot be used: "),
        ({"QT_QPA_PLATFORM": "nosuch"}, 'Could not find the Qt platform plugin "nosuch"'),
    ],
)
def test_without_a_display_one_line_and_a_screenshot_still_works(bare, tmp_path, variables, says):
    bare.update(variables)
    program = [sys.executable, "-m", "ctmasknet_gui"]
    done = run_bare(bare, *program)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("ctmasknet-gui: No window can be opened: ")
    assert says in done.stderr
    assert "--screenshot" in done.stderr
    done = run_bare(bare, *program, "--screenshot", tmp_path / "a.png", "--size", "1280x800")
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1280, 800)


@on_linux
def test_a_user_without_home_can_start_it(environment, tmp_path):
    environment.pop("HOME", None)
    environment["XDG_CONFIG_HOME"] = "/proc/nowhere"
    code = f"""
import pwd, sys
def nobody(user): raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = nobody
from ctmasknet_gui.__main__ import main
sys.exit(main(["--screenshot", {str(tmp_path / "a.png")!r}]))
"""
    done = run_bare(environment, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "The log file cannot be written.\n"
    assert (tmp_path / "a.png").is_file()


@on_linux
def test_closed_streams_are_no_trouble_for_the_window(environment, tmp_path):
    command = [sys.executable, "-m", "ctmasknet_gui", "--screenshot", str(tmp_path / "a.png")]
    done = run_bare(environment, "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command)
    assert done.returncode == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size


@on_linux
def test_letters_are_letters_where_no_font_is_installed(environment, tmp_path):
    """The font of matplotlib stands in; without any font each letter is the same box."""
    (tmp_path / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{tmp_path / 'none'}</dir><cachedir>{tmp_path / 'cache'}</cachedir></fontconfig>"
    )
    environment["FONTCONFIG_FILE"] = str(tmp_path / "fonts.conf")
    code = """
import sys
from PySide6.QtGui import QFontInfo, QFontMetrics
from ctmasknet_gui.app.start import make_application
application = make_application()
assert QFontInfo(application.font()).family() == "DejaVu Sans"
assert QFontMetrics(application.font()).inFont("a")
measure = QFontMetrics(application.font()).horizontalAdvance
assert measure("iii") < measure("WWW")
assert "matplotlib" not in sys.modules
"""
    done = run_bare(environment, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("length", [250, 300])
def test_a_long_name_of_a_screenshot(start, tmp_path, length):
    target = tmp_path / f"{'n' * length}.png"
    done = start("--screenshot", target, timeout=60)
    if length == 250:
        assert done.returncode == 0, done.stderr
        assert target.is_file()
    else:
        assert done.returncode == 1
        assert "cannot be written" in done.stderr
        assert done.stderr.count("\n") == 1
