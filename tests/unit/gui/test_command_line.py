"""The command line of the window."""

from pathlib import Path

import pytest

from ctmasknet_gui.__main__ import parse


def test_everything_at_once():
    arguments = ["a", "b", "--weights", "one", "two", "--slice", "7", "--run", "--size", "1280x800"]
    options = parse([*arguments, "--screenshot", "x.png"])
    assert options.paths == (Path("a"), Path("b"))
    assert options.weights == ("one", "two")
    assert (options.slice_index, options.run, options.run_all) == (7, True, False)
    assert options.size == (1280, 800)
    assert options.screenshot == Path("x.png")


def test_path_after_the_weights_is_a_path(tmp_path):
    file = tmp_path / "own.safetensors"
    file.touch()
    options = parse(["--weights", str(file), "shipped", str(tmp_path), "--run"])
    assert options.weights == (str(file), "shipped")
    assert options.paths == (tmp_path,)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--slice", "-1", "a"],
        ["--slice", "1.5", "a"],
        ["--slice", "٣", "a"],
        ["--slice", "1"],
        ["--run"],
        ["--all"],
        ["--demo", "a"],
        ["--size", "1280", "a"],
        ["--size", "1280x", "a"],
        ["--weights", "."],
        ["--weights"],
        ["--unknown"],
    ],
)
def test_wrong_use_ends_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        parse(arguments)
    assert left.value.code == 2
    assert "ctmasknet-gui" in capsys.readouterr().err


def test_weights_of_a_name_too_long_for_a_file_are_no_path():
    name = "n" * 300
    assert parse(["--weights", name]).weights == (name,)
