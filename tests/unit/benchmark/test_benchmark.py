"""The benchmark compares like with like, measures in turns, and tells what it could not measure."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import finish
from model_core.base.settings import DetectionSettings
from model_core.benchmark import measure, slices, timing
from model_core.benchmark.measure import LONG, RESULTS, measure_all
from model_core.cli import main as cli
from model_core.engine import detect, run
from model_core.engine.load import load_pipeline
from model_core.engine.preprocess import network_input
from model_core.phantom import make_phantom
from model_core.read import load, scan


def test_ways_take_turns_and_the_first_time_does_not_count():
    done = []
    ways = {name: (lambda name=name: done.append(name)) for name in "ab"}
    times = timing.in_turns(ways, rounds=3)
    assert "".join(done) == "ab" + "ab" + "ba" + "ab"
    assert [len(own) for own in times.values()] == [3, 3]
    done.clear()
    timing.in_turns(ways, rounds=50, seconds=0.0)
    assert len(done) == 2 + 2 * 3


def test_a_fresh_process_does_not_import_torch_for_the_measuring():
    """It would be seconds and hundreds of megabytes that the program itself does not take."""
    told = "import sys, model_core.benchmark.fresh; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_ratio_is_of_each_round():
    assert timing.ratio([1.0, 8.0, 30.0], [1.0, 4.0, 10.0]) == 2.0


def test_plain_torchvision_finds_what_the_program_finds(tmp_path):
    """Else their times would not be of the same work."""
    volume, _ = make_phantom(8, 128)
    name = slices.with_many_proposals(tmp_path)
    settings = DetectionSettings(score=0.3, nms_iou=0.5, max_detections=16)
    pipeline = load_pipeline((name,)).without_class(settings)
    look = pipeline.backend.look(network_input(volume, 4, pipeline.input))
    assert len(look.proposals) == slices.PROPOSALS
    (result,) = (item for item in run(pipeline, volume, [4]) if hasattr(item, "detection_candidates"))
    own = detect(pipeline, result, settings)
    picture = torch.from_numpy(network_input(volume, 4, pipeline.input)).expand(3, -1, -1)
    with torch.inference_mode():
        (plain,) = slices.plain_torchvision(name, settings)([picture])
    assert len(own.boxes) > 2
    assert plain["masks"].shape[1:] == (1, 512, 512)
    np.testing.assert_allclose(plain["scores"].numpy(), own.scores, atol=1e-4)
    np.testing.assert_allclose(
        plain["boxes"].numpy(), result.detection_candidates.boxes[own.indices], atol=0.1
    )


@pytest.fixture
def parts(monkeypatch):
    """Every part with a number of its own; what is put into ``broken`` fails."""
    broken = set()

    def in_process(module, *, end, offscreen=False):
        if module[0] in broken:
            raise CTMaskNetError(f"{module[0]} ended with 1: no display")
        if "series" in module:
            series = {"seconds": 30.0, "lung_slices": 200, "passes": 1, "gflops": 100.0}
            return {**series, "summaries_s": 1.5, "peak_memory_gb": 0.9}
        window = {"frame_p95_ms": 5.0, "window_p95_ms": 4.0, "toggle_ms": 20.0, "event_loop_block_ms": 30.0}
        return {} if "first" in module else window

    ratios = {"slice128_speedup": 1.9, "slice16_speedup": 1.70004, "floor_share": 0.5}
    floors = {"floor_gflop": {"16": 10.0, "128": 36.0}}
    small = make_phantom(4, 32)
    monkeypatch.setattr(measure, "make_phantom", lambda *_: small)
    monkeypatch.setattr(measure, "_in_process", in_process)
    monkeypatch.setattr(measure, "measure_training", lambda *_, **__: 1.3)
    monkeypatch.setattr(slices, "measure_slices", lambda *_, **__: (ratios, floors))
    monkeypatch.setattr(slices, "measure_roi_align", lambda *_, **__: None)
    monkeypatch.setattr(slices, "growth", lambda *_, **__: {})
    monkeypatch.setattr(measure, "_SERIES", 8)
    return broken


def test_every_result_is_there_and_a_series_is_set_against_its_arithmetic(parts):
    results = finish(measure_all())[-1]["results"]
    assert tuple(results) == RESULTS
    assert results["slice16_speedup"] == 1.7
    assert results["series_over_floor"] == pytest.approx(30.0 / (200 * 10.0 / 100.0))
    assert [name for name, value in results.items() if value is None] == ["roi_align_speedup"]


def test_a_quick_one_leaves_out_what_takes_long(parts, capsys):
    assert cli.main(["benchmark", "--quick", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    missing = {name for name, value in document["results"].items() if value is None}
    assert missing == {*LONG, "roi_align_speedup"}
    assert document["machine"]["cores"] >= 1
    assert document["settings"]["quick"] is True


def test_what_cannot_be_measured_is_told_and_the_rest_goes_on(parts, capsys):
    parts.add("ctmasknet_gui.app.benchmark")
    assert cli.main(["benchmark"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["frame_p95_ms", "not", "measured"] for line in lines)
    assert any(line.split() == ["train_speedup", "1.3", "times", "as", "fast"] for line in lines)
    assert any("window: ctmasknet_gui.app.benchmark ended with 1: no display" in line for line in lines)


def test_parts_for_which_no_time_is_left_are_told(parts, monkeypatch):
    monkeypatch.setattr(measure, "_MOST_SECONDS", -1.0)
    document = finish(measure_all())[-1]
    assert document["results"]["train_speedup"] is None
    assert "took too long" in document["details"]["not_measured"]["train_speedup"]


def test_the_long_series_is_the_same_chest_in_thin_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_SERIES", 40)
    volume, _ = make_phantom(8, 32)
    measure.write_dicom(measure._stretched(volume), tmp_path)
    (entry,) = finish(scan(tmp_path))[-1].series
    thin = finish(load(entry))[-1]
    assert thin.slices == 40
    assert thin.problems == ()
    assert thin.geometry.spacing_mm[0] == pytest.approx(volume.geometry.spacing_mm[0] * 8 / 40)
    np.testing.assert_array_equal(thin.voxels[::5], volume.voxels)
