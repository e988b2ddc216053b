"""Healing measured: shares of sham heals and of healed slices, and whether they pass."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from gui_fakes import make_card

from model_core.measure.explained_slices import CONTROLS, LESIONS
from model_core.measure.heals import Heals, write_heal_report


@pytest.fixture
def pipeline():
    return SimpleNamespace(cards=(make_card(),), device="cpu")


def control(number, shams, changes):
    return Heals(f"c{number}", f"p{number}", CONTROLS, 0.1, None, None, shams, changes, 90, 0)


def report_of(pipeline, found, folder):
    write_heal_report(folder, found, pipeline=pipeline, data="made", seed=0)
    return json.loads((folder / "report.json").read_text())


def test_shares_are_of_sham_heals_and_of_ill_slices(pipeline, tmp_path):
    found = [
        control(0, (0.1,) * 8, (0.1,) * 8),
        control(1, (0.1,) * 7 + (0.9,), (-0.2,) * 7 + (3.0,)),
        Heals("a", "a", LESIONS, 0.9, 0.2, -3.0, (0.9, 0.8), (0.1, -0.5), 50, 1),
        Heals("b", "b", LESIONS, 0.9, 0.8, -0.2, (0.9, 0.9), (0.1, -0.5), 50, 2),
        # Not ill before: it has no verdict to change.
        Heals("c", "c", LESIONS, 0.3, 0.1, -0.9, (), (), 50, 2, "No sham heal fits."),
        Heals("d", "d", LESIONS, 0.9, None, None, (), (), 0, 0, "There is no healthy lung"),
    ]
    report = report_of(pipeline, found, tmp_path / "out")
    controls, lesions = report[CONTROLS], report[LESIONS]
    assert controls["sham_verdict_changed"]["value"] == pytest.approx(1 / 16)
    assert report["controls_pass"] is False
    assert controls["shams"] == 16
    assert controls["sham_change_largest"] == 3.0
    assert lesions["healing_changes_the_verdict"]["value"] == 0.5
    assert lesions["ill_slices_healed"] == 2
    assert lesions["healing_is_beyond_the_shams"]["value"] == 0.5
    assert (lesions["lesions_healed"], lesions["slices"], lesions["slices_with_shams"]) == (3, 4, 2)
    rows = (tmp_path / "out" / "slices.csv").read_text().splitlines()
    assert len(rows) == 1 + len(found)
    assert "no healthy lung" in rows[-1]


@pytest.mark.parametrize(("shams", "passes"), [((0.1,) * 8, True), ((), None)])
def test_controls_pass_below_the_limit_and_without_shams_nothing_is_said(pipeline, tmp_path, shams, passes):
    found = [control(k, shams, tuple(np.full(len(shams), 0.01))) for k in range(3)]
    assert report_of(pipeline, found, tmp_path / "out")["controls_pass"] is passes
