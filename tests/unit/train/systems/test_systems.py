"""What each training step moves, and what it must leave alone (spec §5.5, §6.3-6.5)."""

import pytest
import torch
from small_systems import SMALL_HEAD, example, network

from model_core.base.errors import SettingsError
from model_core.train.system import Stepper
from model_core.train.systems.classifier import ClassifierSystem
from model_core.train.systems.presets import PRESETS, preset
from model_core.train.systems.segmentation import SegmentationSystem
from model_core.train.systems.single_shot import SingleShotSystem


def stepper(system, lr=1e-3, weight_decay=1e-3):
    optimizer = torch.optim.Adam(system.trained(), lr=lr, weight_decay=weight_decay)
    return Stepper(system.network, optimizer)


def snapshot(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def changed(before, net):
    return {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}


def parameters(net):
    return {name for name, _ in net.named_parameters()}


def statistics(names):
    return {n for n in names if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}


def test_full_segmentation_moves_every_parameter():
    net = network("segmentation")
    system = SegmentationSystem(net)
    before = snapshot(net)
    losses = system.update([[example(1), example(2)]], stepper(system), 5)
    assert set(losses) == {
        "loss_objectness",
        "loss_rpn_box_reg",
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
    }
    assert parameters(net) <= changed(before, net)


def test_heads_keep_the_backbone_and_its_statistics():
    net = network("segmentation")
    system = SegmentationSystem(net, mode="heads")
    before = snapshot(net)
    system.update([[example(1)]], stepper(system), 5)
    moved = changed(before, net)
    assert not any(name.startswith("backbone.") for name in moved)
    assert {n for n in parameters(net) if not n.startswith("backbone.")} <= moved


def test_slices_without_lesion_take_no_segmentation_step():
    net = network("segmentation")
    system = SegmentationSystem(net)
    before = snapshot(net)
    assert system.update([[example(1, lesion=False)]], stepper(system), 5) == {}
    assert changed(before, net) == set()


def test_accumulated_micro_batches_equal_one_batch_where_norms_are_frozen():
    def after(parts):
        net = network("segmentation")
        system = SegmentationSystem(net, reproducible=True)
        system.update(parts, stepper(system), 5)
        return net.state_dict()

    one, two = example(1), example(2)
    together, apart = after([[one, two]]), after([[one], [two]])
    for name, tensor in together.items():
        torch.testing.assert_close(tensor, apart[name], atol=1e-6, rtol=1e-5)


def test_validation_leaves_no_trace():
    net = network("segmentation")
    system = SegmentationSystem(net)
    system.update([[example(1)]], stepper(system), 5)
    before, state = snapshot(net), torch.get_rng_state()
    first = float(system.validation_loss([example(3)], seed=0))
    assert first == float(system.validation_loss([example(3)], seed=0)) > 0
    assert changed(before, net) == set()
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training


# The first three stages hold 12 "bn" layers in ResNet18; downsample.1 is BatchNorm too, but not by name.
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("s", lambda n: n.startswith("s2new.")),
        ("s_bn", lambda n: n.startswith("s2new.") or "bn" in n),
        ("full", lambda n: not n.startswith("rpn.")),
    ],
)
def test_classifier_modes_move_the_listed_parameters(mode, expected):
    net = network("classifier", **SMALL_HEAD)
    system = ClassifierSystem(net, mode=mode)
    before = snapshot(net)
    system.update([[example(1, label=0), example(2, label=2)]], stepper(system, weight_decay=0.0), 5)
    moved = changed(before, net)
    assert statistics(moved) == set()
    # Without weight decay a parameter moves exactly where a gradient reaches it.
    unreached = {n for n in parameters(net) if expected(n)} - moved
    assert moved <= {n for n in parameters(net) if expected(n)}
    # Deltas of background and unchosen rows share tensors with chosen ones, so nothing listed stays.
    assert unreached == set()
    assert all(p.grad is None for p in net.parameters())


def test_no_gradient_reaches_the_rpn_from_the_image_loss():
    net = network("classifier", **SMALL_HEAD)
    system = ClassifierSystem(net, mode="full")
    optimizer = stepper(system)
    reached = []
    optimizer.step = lambda weight: reached.extend(n for n, p in net.named_parameters() if p.grad is not None)
    system.update([[example(1)]], optimizer, 5)
    assert reached
    assert not any(name.startswith("rpn.") for name in reached)


def single_shot(branches=2, examples=None, **options):
    net = network("single_shot", branches=branches, **SMALL_HEAD)
    drawn = examples if examples is not None else [example(10), example(11)]
    return SingleShotSystem(net, drawn, **options)


def test_stage_1_leaves_s2_alone_and_stage_2_moves_s_and_backbone():
    system = single_shot(copy_rule="never")
    net = system.network
    step = stepper(system)
    stages = []

    def record(weight, do=step.step):
        before = snapshot(net)
        do(weight)
        stages.append(changed(before, net))

    step.step = record
    system.update([[example(1, label=2)]], step, 5)
    first, second = ({n for n in stage if n in parameters(net)} for stage in stages)
    assert first == {n for n in parameters(net) if "s2" not in n}
    # S and the whole backbone (rule 2), nothing else.
    assert second == {n for n in parameters(net) if n.startswith(("s2new.", "backbone."))}
    assert not any(n.startswith("roi_heads.box_head_s2") for n in first | second)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("s", lambda n: n.startswith("s2new.")),
        ("s_bn", lambda n: n.startswith("s2new.") or (n.startswith("backbone.") and "bn" in n)),
    ],
)
def test_other_rules_of_stage_2(rule, expected):
    # No lesion, so no stage 1: what moves is stage 2's.
    system = single_shot(examples=[example(10, lesion=False)], rule=rule)
    before = snapshot(system.network)
    system.update([[example(1)]], stepper(system), 5)
    names = parameters(system.network)
    assert {n for n in changed(before, system.network) if n in names} == {n for n in names if expected(n)}


def test_the_class_branch_takes_the_weights_before_the_step():
    system = single_shot()
    heads = system.network.roi_heads
    before = heads.box_head.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    losses = system.update([[example(1)]], stepper(system), 5)
    assert system.copying.copies == 1
    assert system.copying.best_loss == pytest.approx(sum(v for k, v in losses.items() if k != "loss_image"))
    for name, tensor in heads.box_head_s2.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert not torch.equal(tensor, heads.box_head.state_dict()[name])


@pytest.mark.parametrize(
    ("rule", "copies"), [("coded", [1, 1, 1, 2]), ("written", [1, 1, 2, 3]), ("never", [0, 0, 0, 0])]
)
def test_copy_rules(rule, copies):
    system = single_shot(copy_rule=rule)
    seen = []
    for loss in (5.0, 9.0, 7.0, 4.0):  # coded: running best; written: better than the iteration before
        system.copying.look_at(loss)
        seen.append(system.copying.copies)
    assert seen == copies


def test_no_positive_slice_no_copy():
    system = single_shot(examples=[example(10, lesion=False)])
    system.update([[example(1)]], stepper(system), 5)
    assert system.copying.copies == 0


def test_one_branch_never_copies():
    assert single_shot(branches=1).copying.rule == "never"


def test_presets_are_the_papers():
    assert preset("p2").training.roi_positive_fraction == 0.75
    assert preset("p3").training.roi_batch == 512
    assert preset("p1").detections.nms_iou == 0.25
    assert {p.learning_rate for p in PRESETS.values()} == {1e-5}
    with pytest.raises(SettingsError, match="p1, p2, p3"):
        preset("p4")
