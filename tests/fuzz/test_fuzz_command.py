"""The commands of the fuzzer: seeded, replay, and by coverage where atheris is there."""

import importlib.util
import sys

import pytest

from fuzz import __main__ as command
from fuzz.targets import header_seeds


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])
    return command.main()


def test_without_atheris_seeded_damage_runs_and_says_so(monkeypatch, capsys, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "atheris" else find(name, *rest)
    )
    arguments = ("--coverage", "--target", "header", "--cases", "3", "--keep", str(tmp_path / "keep"))
    assert run(monkeypatch, *arguments) == 0
    out = capsys.readouterr().out
    assert "atheris is not installed" in out
    assert "pip install 'ctmasknet[fuzz]'" in out
    assert "3 files, 0 findings" in out
    assert not (tmp_path / "keep").exists()


def test_a_kept_file_can_be_opened_again(monkeypatch, capsys, tmp_path):
    path = tmp_path / "header-crash-1"
    path.write_bytes(header_seeds()[0])
    assert run(monkeypatch, "--target", "header", "--replay", str(path)) == 0
    assert "header-crash-1: loaded" in capsys.readouterr().out


@pytest.mark.slow
def test_by_coverage(monkeypatch, capsys, tmp_path):
    pytest.importorskip("atheris")
    arguments = ("--coverage", "--target", "header", "--minutes", "0.3", "--keep", str(tmp_path / "keep"))
    assert run(monkeypatch, *arguments) == 0
    out = capsys.readouterr().out
    assert "0 findings" in out
    assert int(out.split(" branches")[0].rsplit(maxsplit=1)[-1]) > 100
