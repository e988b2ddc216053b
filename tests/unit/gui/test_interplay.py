"""What parts of the window do to each other: masks made ahead and memory, reasons and maps."""

from dataclasses import replace

from gui_fakes import FakeEngine

from model_core.base.errors import CTMaskNetError


class NoMasks(FakeEngine):
    """Masks cannot be made, as where memory is short."""

    tried = 0

    def make_masks(self, pipeline, result, detections):
        if detections.score < 0:
            self.tried += 1
            raise CTMaskNetError("There is not enough memory.")
        yield from ()


def test_masks_that_cannot_be_made_ahead_are_not_tried_again_and_again(make_rig, qtbot):
    rig = make_rig(engine=NoMasks(maps=10))
    rig.open()
    rig.run_all()
    qtbot.wait(300)
    assert 1 <= rig.engine.tried <= 7


def test_reasons_that_are_kept_hold_no_maps(make_rig, qtbot):
    rig = make_rig(engine=FakeEngine(maps=1000))
    rig.open()
    rig.run_all()
    qtbot.waitUntil(lambda: rig.state.reasons.reason is not None)
    results = rig.state.results
    found = rig.state.reasons.reason
    results.slices = {k: replace(one, features={}) for k, one in results.slices.items()}
    held = rig.controllers.reasons._kept
    assert not any(getattr(of, "features", None) for of, _ in held.values())
    # The maps were let go, the result is the same: so is its reason.
    rig.controllers.display.step(1)
    rig.controllers.display.step(-1)
    assert rig.state.reasons.reason is found
