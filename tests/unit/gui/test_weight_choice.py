"""Choosing weights: what runs changes only when something else can run."""

import dataclasses
import json
import threading

import pytest
from gui_fakes import FakeEngine, make_card

from ctmasknet_gui.controller.ports import Engine
from model_core.base.errors import WeightsError
from model_core.base.settings import DetectionSettings
from model_core.weights.card import ModelCard


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


def test_networks_used_before_are_in_memory_unless_a_file_may_have_been_replaced(rig):
    weights, own = rig.controllers.weights, ("own.pth",)
    for names in ((), ("second",), (), own, own, ("second",), own, ("third",), ("fourth",)):
        weights.choose(names)
        rig.settle()
        assert rig.state.weights.chosen == names
        assert weights.pipelines[weights.pipeline.weights_id] is weights.pipeline
    assert rig.engine.loads == [(), ("second",), own, own, ("third",), ("fourth",)]
    assert list(weights.pipelines) == ["id-second", "id-third", "id-fourth"]


def test_weights_of_an_earlier_version_are_told_once_and_until_others_run(rig):
    values = json.loads(make_card("own").to_json())
    values["detector"]["mirror"] = True
    card, load = ModelCard.from_json(json.dumps(values)), rig.engine.load
    rig.engine.load = lambda names: dataclasses.replace(
        load(names), **({} if names else {"cards": (card, card)})
    )
    rig.run_all()
    (told,) = rig.texts
    assert "own: Thresholds and image class of these weights were chosen with the mean of each slice" in told
    assert rig.state.messages.messages[0].level == "warning"
    rig.controllers.weights.choose(["second"])
    rig.settle()
    assert rig.texts == []


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
