"""The measurements of the window run in a window, and leave it as it is used."""

from gui_fakes import FakeEngine, FakeReader, make_volume

from ctmasknet_gui.app.benchmark import WindowBenchmark


def test_every_number_of_the_window_is_measured(make_app, tmp_path):
    engine = FakeEngine()
    rig = make_app(engine=engine, reader=FakeReader([make_volume(slices=40)]))
    benchmark = WindowBenchmark(rig.app, frames=3)
    benchmark.open(tmp_path)
    assert engine.backbone_calls == [20]
    assert benchmark.window_p95() > 0
    nms = rig.app.state.thresholds.detections.nms_iou
    assert benchmark.toggle() > 0
    assert rig.app.state.thresholds.detections.nms_iou == nms
    found = benchmark.beside_a_run()
    assert set(found) >= {"frame_p95_ms", "event_loop_block_ms"}
    assert not rig.app.controllers.jobs.busy
