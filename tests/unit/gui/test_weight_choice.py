"""Choosing weights: what runs changes only when something else can run."""

import dataclasses
import threading

import pytest
from gui_fakes import FakeEngine, make_card

from ctmasknet_gui.controller.ports import Engine
from model_core.base.errors import WeightsError
from model_core.base.settings import DetectionSettings


class SlowEngine(FakeEngine):
    """Loads named weights only once its gate is open; "broken" files never load."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def load(self, names):
        assert self.open.wait(60)
        if "broken" in names:
            self.loads.append(tuple(names))
            raise WeightsError("The file broken is damaged.", details="entry 3")
        return super().load(names)


@pytest.fixture
def rig(make_rig):
    rig = make_rig(engine=SlowEngine())
    rig.open()
    return rig


def test_choosing_what_runs_already_changes_nothing(rig):
    rig.run_all()
    before = dict(rig.state.results.slices)
    rig.controllers.weights.choose(())
    rig.settle()
    assert rig.state.results.slices == before
    assert rig.engine.loads == [()]


def test_a_broken_file_leaves_weights_and_results(rig):
    rig.run_all()
    pipeline, shown = rig.controllers.weights.pipeline, []
    rig.state.weights.events.all.connect(lambda *_: shown.append(rig.state.weights.chosen))
    rig.controllers.weights.choose(["broken"])
    rig.settle()
    assert rig.texts == ["The file broken is damaged. The weights in use stay in use."]
    assert rig.state.messages.messages[0].details == "entry 3"
    assert rig.controllers.weights.pipeline is pipeline
    assert rig.state.weights.chosen == ()
    assert shown[-1:] == [()], "the list of weights must hear that its choice did not hold"
    assert len(rig.state.results.slices) == 7
    rig.controllers.remember.store()
    assert rig.settings.texts("weights") == ()


def test_results_stay_until_the_new_weights_are_there(rig):
    rig.run_all()
    rig.engine.open.clear()
    rig.controllers.weights.choose(["second"])
    rig.qtbot.wait(30)
    assert len(rig.state.results.slices) == 7
    assert rig.state.weights.chosen == ()
    rig.engine.open.set()
    rig.settle()
    assert rig.state.weights.chosen == ("second",)
    assert rig.state.results.slices == {}


def test_coming_back_while_others_load_keeps_everything(rig):
    rig.run_all()
    rig.engine.open.clear()
    rig.controllers.weights.choose(["second"])
    rig.qtbot.wait(30)
    rig.controllers.weights.choose(())
    rig.engine.open.set()
    rig.settle()
    assert rig.state.weights.chosen == ()
    assert len(rig.state.results.slices) == 7
    rig.controllers.running.run_slice()
    rig.settle()
    assert rig.state.results.slices[3].weights_id == "id-fake"


def test_a_run_begun_while_weights_load_uses_them(rig):
    rig.run_all()
    rig.engine.open.clear()
    rig.controllers.weights.choose(["second"])
    rig.controllers.running.run_slice()
    rig.engine.open.set()
    rig.settle()
    assert {k: r.weights_id for k, r in rig.state.results.slices.items()} == {3: "id-second"}
    assert rig.engine.loads == [(), ("second",)]


def test_a_run_that_waits_for_a_broken_file_ends_with_one_message(rig):
    rig.run_all()
    rig.engine.open.clear()
    rig.controllers.weights.choose(["broken"])
    rig.controllers.running.run_slice()
    rig.engine.open.set()
    rig.settle()
    assert len(rig.texts) == 1
    assert rig.engine.loads.count(("broken",)) <= 2
    assert len(rig.state.results.slices) == 7
    rig.controllers.running.run_slice()
    rig.settle()
    assert len(rig.texts) == 1


def test_a_run_under_former_weights_ends_when_others_are_loaded(rig):
    rig.controllers.running.run_slice()
    rig.settle()
    rig.engine.gate = threading.Event()
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    rig.controllers.weights.choose(["second"])
    rig.qtbot.waitUntil(lambda: rig.state.weights.chosen == ("second",))
    assert not rig.controllers.jobs.active("run")
    rig.engine.gate.set()
    rig.settle()
    assert rig.state.results.slices == {}


def test_remembered_weights_that_no_longer_load_are_given_up(rig):
    rig.state.weights.chosen = ("broken",)
    rig.controllers.running.run_slice()
    rig.settle()
    assert "come with the program are used instead" in rig.texts[-1]
    rig.controllers.remember.store()
    assert rig.settings.texts("weights") == ()
    rig.controllers.running.run_slice()
    rig.settle()
    assert list(rig.state.results.slices) == [3]


def test_weights_of_the_command_line_that_fail_give_way_to_the_remembered_ones(rig):
    rig.state.weights.chosen = ("second",)
    rig.controllers.remember.ignore_weights(("broken",))
    rig.controllers.weights.set_choice(("broken",))
    rig.controllers.running.run_slice()
    rig.settle()
    assert "chosen before are used instead" in rig.texts[-1]
    assert rig.state.weights.chosen == ("second",)
    rig.controllers.remember.store()
    assert rig.settings.texts("weights") == ("second",)


def test_stopping_the_load_keeps_what_runs(rig):
    rig.run_all()
    rig.engine.open.clear()
    rig.controllers.weights.choose(["second"])
    rig.controllers.running.run_slice()
    rig.qtbot.wait(30)
    rig.controllers.stop()
    rig.engine.open.set()
    rig.settle()
    assert rig.state.weights.chosen == ()
    assert len(rig.state.results.slices) == 7
    assert rig.texts == []


def test_a_broken_file_chosen_during_the_first_load_does_not_cost_the_run(rig):
    rig.engine.open.clear()
    rig.controllers.running.run_slice()
    rig.qtbot.wait(30)
    rig.controllers.weights.choose(["broken"])
    rig.engine.open.set()
    rig.settle()
    assert rig.state.weights.chosen == ()
    assert {k: r.weights_id for k, r in rig.state.results.slices.items()} == {3: "id-fake"}
    assert len(rig.texts) == 1


# ----------------------------------------------------------------------- thresholds before loading


def test_thresholds_are_those_of_the_cards_before_anything_is_loaded(make_rig):
    second = dataclasses.replace(make_card("second"), detections=DetectionSettings(score=0.2, nms_iou=None))
    rig = make_rig(engine=FakeEngine(known={(): (make_card(),), ("second",): (second,)}))
    thresholds, weights = rig.state.thresholds, rig.controllers.weights
    assert thresholds.detections == DetectionSettings()
    weights.expect()
    assert thresholds.detections.score == thresholds.default_detections.score == 0.4
    assert not thresholds.evidence_edited
    rig.open()
    rig.controllers.thresholds.set_detections(dataclasses.replace(thresholds.detections, score=0.9))
    rig.run_all()
    assert thresholds.detections.score == 0.9  # moved before the first run, and kept by it
    weights.set_choice(["second"])
    assert thresholds.detections.score == 0.2
    weights.set_choice(["unknown.safetensors"])  # nothing is known of a file
    assert thresholds.detections.score == 0.2


def test_cards_of_the_shipped_default_are_known():
    engine = Engine()
    segmentation, classifier = engine.cards_of(())
    assert (segmentation.kind, classifier.kind) == ("segmentation", "classifier")
    assert engine.cards_of((classifier.name, segmentation.name)) == (segmentation, classifier)
    assert engine.cards_of((classifier.name,)) == ()
    assert engine.cards_of(("somewhere/else.safetensors",)) == ()


# ------------------------------------------------------------------------------------------- fast


@pytest.fixture
def mirroring(make_rig):
    rig = make_rig(engine=FakeEngine(mirrors=True))
    rig.open()
    return rig


def ids(rig):
    return {result.weights_id for result in rig.state.results.slices.values()}


def test_fast_forgets_what_was_computed_with_the_mirror_image(mirroring):
    mirroring.run_all()
    assert ids(mirroring) == {"id-fake"}
    mirroring.controllers.weights.set_fast(True)
    mirroring.settle()
    assert mirroring.state.weights.fast
    assert mirroring.state.results.slices == {}
    mirroring.controllers.running.run_slice()
    mirroring.settle()
    assert ids(mirroring) == {"id-fake-fast"}
    mirroring.controllers.weights.set_fast(True)  # nothing new
    mirroring.settle()
    assert ids(mirroring) == {"id-fake-fast"}
    assert mirroring.engine.loads == [()]  # the networks are the same


def test_what_is_told_says_fast_only_where_that_changes_something(mirroring, rig):
    assert not mirroring.state.weights.leaves_out_mirror
    mirroring.run_all()
    assert mirroring.state.weights.text == "fake"
    mirroring.controllers.weights.set_fast(True)
    assert mirroring.state.weights.text == "fake, fast"
    assert mirroring.state.weights.leaves_out_mirror
    rig.open()
    rig.run_all()
    rig.controllers.weights.set_fast(True)
    assert rig.state.weights.text == "fake"
    assert not rig.state.weights.leaves_out_mirror


def test_fast_keeps_results_of_weights_that_never_look_at_it(rig):
    rig.run_all()
    rig.controllers.weights.set_fast(True)
    rig.settle()
    assert len(rig.state.results.slices) == 7


def test_fast_chosen_before_the_weights_are_loaded(mirroring):
    mirroring.controllers.weights.set_fast(True)
    mirroring.run_all()
    assert ids(mirroring) == {"id-fake-fast"}
    mirroring.controllers.weights.choose(["second"])
    mirroring.settle()
    mirroring.controllers.running.run_slice()
    mirroring.settle()
    assert ids(mirroring) == {"id-second-fast"}


def test_fast_ends_a_run_that_goes_on(mirroring):
    mirroring.run_all()
    mirroring.controllers.weights.choose(["second"])
    mirroring.settle()
    mirroring.engine.gate = threading.Event()
    mirroring.controllers.running.run_series()
    mirroring.qtbot.waitUntil(lambda: mirroring.state.run.kind == "run")
    mirroring.controllers.weights.set_fast(True)
    mirroring.engine.gate.set()
    mirroring.settle()
    assert mirroring.state.results.slices == {}
    assert not mirroring.controllers.jobs.busy


def test_fast_holds_for_the_networks_that_run_when_others_were_given_up(mirroring):
    mirroring.run_all()
    list(mirroring.controllers.weights.loading(("second",)))  # loaded, and not taken over
    mirroring.controllers.weights.set_fast(True)
    mirroring.settle()
    assert mirroring.state.results.slices == {}
    mirroring.controllers.running.run_slice()
    mirroring.settle()
    assert ids(mirroring) == {"id-fake-fast"}


def test_fast_lets_a_run_of_weights_that_never_look_at_it_go_on(rig):
    rig.engine.gate = threading.Event()
    rig.controllers.weights.choose(["second"])
    rig.settle()
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.run.kind == "run")
    rig.controllers.weights.set_fast(True)
    rig.engine.gate.set()
    rig.settle()
    assert len(rig.state.results.slices) == 7


def test_fast_is_remembered(mirroring, make_rig):
    mirroring.controllers.weights.set_fast(True)
    mirroring.controllers.remember.store()
    again = make_rig(engine=FakeEngine(mirrors=True))
    again.controllers.remember.restore()
    assert again.state.weights.fast


def test_networks_used_before_are_in_memory_unless_a_file_may_have_been_replaced(rig):
    weights, own = rig.controllers.weights, ("own.pth",)
    for names in ((), ("second",), (), own, own, ("second",), own, ("third",), ("fourth",)):
        weights.choose(names)
        rig.settle()
        assert rig.state.weights.chosen == names
        assert weights.pipelines[weights.pipeline.weights_id] is weights.pipeline
    assert rig.engine.loads == [(), ("second",), own, own, ("third",), ("fourth",)]
    assert list(weights.pipelines) == ["id-second", "id-third", "id-fourth"]


def test_a_backend_that_is_not_used_is_told_until_other_networks_run(rig):
    note = "PyTorch computes instead of ONNX Runtime: it failed its self-test."
    load = rig.engine.load
    rig.engine.load = lambda names: dataclasses.replace(load(names), backend_note="" if names else note)
    rig.run_all()
    assert rig.texts == [note]
    assert rig.state.weights.computes == "Fake, CPU"
    rig.controllers.weights.choose(["second"])
    rig.settle()
    assert rig.texts == []
