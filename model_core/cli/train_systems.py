"""``ctmasknet train segmentation|classifier|single-shot``: the papers' systems on a folder of one's own."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.base.errors import DataError, SettingsError, WeightsError
from model_core.base.settings import (
    GREY_HIGH_HU,
    GREY_LOW_HU,
    PAPER_ANCHOR_SIZES,
    PAPER_ASPECT_RATIOS,
    SINGLE_SHOT_MIN_AREA,
    Architecture,
    GreyMap,
    InputSpec,
)
from model_core.cli import values
from model_core.cli.errors import UsageError
from model_core.cli.training_run import device_of, run_training

if TYPE_CHECKING:
    from model_core.data import ClassifiedSlice, LabelledSlice
    from model_core.train.systems.presets import Preset
    from model_core.weights.card import ModelCard


def add_kinds(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the three systems under ``ctmasknet train``."""
    segmentation = kinds.add_parser(
        "segmentation", help="Mask R-CNN on slices with masks (images/ and masks/ of equal names)"
    )
    _common(segmentation)
    _network(segmentation)
    values.add_masks(segmentation)
    segmentation.add_argument(
        "--mode", choices=("full", "heads"), default="full", help="heads: backbone kept"
    )
    segmentation.set_defaults(run=run_segmentation)

    classifier = kinds.add_parser(
        "classifier", help="COVID-CT-Mask-Net from segmentation weights (folders normal/, other/, covid/)"
    )
    _common(classifier)
    classifier.add_argument(
        "--segmentation",
        metavar="NAME|FILE",
        help="segmentation weights to start from; "
        "with --from-classifier those whose RoIs it reads, where it stores module S alone",
    )
    classifier.add_argument("--from-classifier", metavar="NAME|FILE", help="fine-tune a trained classifier")
    classifier.add_argument(
        "--two-logits", action="store_true", help="with --from-classifier: keep two logits, ids 0 and 2"
    )
    classifier.add_argument(
        "--mode", choices=("s", "s_bn", "full"), default="s", help="what moves: module S, and BN, or all"
    )
    classifier.add_argument(
        "--roi-batch-size", type=values.positive, metavar="N", help="RoIs that module S reads"
    )
    classifier.add_argument("--s-features", type=values.positive, metavar="R", help="width of module S")
    classifier.set_defaults(run=run_classifier)

    single = kinds.add_parser("single-shot", help="one model for masks and class (P3)")
    _common(single)
    _network(single)
    single.add_argument(
        "--segmentation-data", type=Path, required=True, metavar="DIR", help="slices with masks for stage 1"
    )
    single.add_argument("--mask-values", default="shared", metavar="SCHEME", help=values.MASK_VALUES)
    single.add_argument("--min-area", type=int, default=100, metavar="PX")
    single.add_argument("--branches", type=int, choices=(1, 2), default=2)
    single.add_argument("--rule", choices=("s", "s_backbone", "s_bn"), default="s_backbone")
    single.add_argument(
        "--copy-rule",
        choices=("coded", "written", "never"),
        default="coded",
        help="when the class branch takes the segmentation branch; never, with --segmentation: frozen copy",
    )
    single.add_argument("--segmentation", metavar="NAME|FILE", help="start from segmentation weights")
    single.set_defaults(run=run_single_shot)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="training data: a folder, or a split list inside one",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="checkpoints, weights"
    )
    parser.add_argument("--validation", type=Path, metavar="DIR", help="validation data of the same layout")
    parser.add_argument(
        "--validation-share", type=float, default=0.0, metavar="F", help="or hold out this share of patients"
    )
    parser.add_argument("--name", help="name of the weights (default: the system and its network)")
    parser.add_argument("--preset", choices=("p1", "p2", "p3"), help="settings of one paper")
    parser.add_argument("--epochs", type=values.positive, metavar="N")
    parser.add_argument("--batch", type=values.positive, metavar="N", help="images of one step")
    parser.add_argument("--micro-batch", type=int, default=0, metavar="N", help="images at once")
    parser.add_argument("--lr", type=values.rate, metavar="F")
    parser.add_argument("--weight-decay", type=float, metavar="F")
    parser.add_argument("--seed", type=values.count, default=0)
    parser.add_argument(
        "--ckpt", type=Path, metavar="FILE", help="go on from a checkpoint of the papers' code"
    )
    parser.add_argument("--save-every", type=values.positive, default=10, metavar="EPOCHS")
    parser.add_argument(
        "--max-steps", type=values.positive, metavar="N", help="stop after N steps; start again to go on"
    )
    parser.add_argument(
        "--size", type=values.side, metavar="PX", help="side of the network input (default 512)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read pictures")
    parser.add_argument("--mixed-precision", action="store_true")
    parser.add_argument("--compile", action="store_true", help="compile the backbone (torch.compile)")
    parser.add_argument("--released", action="store_true", help="also write the papers' checkpoint form")
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard")
    parser.add_argument(
        "--reproducible",
        action="store_true",
        help="freeze BatchNorm statistics and seed each image by itself, so that several processes "
        "compute what one would",
    )


def _network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", choices=("resnet18", "resnet34", "resnet50"), default="resnet18")
    parser.add_argument("--truncation", type=int, choices=(0, 1, 2), default=1)
    parser.add_argument("--anchor-sizes", type=int, nargs="+", default=list(PAPER_ANCHOR_SIZES), metavar="PX")
    parser.add_argument(
        "--aspect-ratios", type=float, nargs="+", default=list(PAPER_ASPECT_RATIOS), metavar="R"
    )
    parser.add_argument(
        "--extra-pool", action="store_true", help="ResNet50: the pooled fifth RPN level of the first release"
    )
    parser.add_argument(
        "--backbone-weights", type=Path, metavar="FILE", help="a torchvision ResNet file to start from"
    )


def run_segmentation(arguments: argparse.Namespace) -> int:
    """Train a segmentation Mask R-CNN."""
    from model_core.data import read_segmentation
    from model_core.data.instances import CLASS_NAMES
    from model_core.train.examples import SegmentationExamples
    from model_core.train.systems.segmentation import SegmentationSystem
    from model_core.train.systems.start import new_network
    from model_core.train.warm_start import load_backbone

    preset = _preset(arguments, "p2")
    spec = _spec(arguments)
    regions = CLASS_NAMES[arguments.mask_type]
    architecture = _architecture(arguments, kind="segmentation", region_classes=len(regions) + 1)
    train, held_out = _split(
        arguments,
        lambda folder: read_segmentation(
            folder, mask_values=arguments.mask_values, mask_type=arguments.mask_type
        ),
    )
    network = new_network(architecture, preset, spec, seed=arguments.seed)
    start: dict[str, Any] = {"backbone": "random"}
    if arguments.backbone_weights:
        start = load_backbone(network, arguments.backbone_weights)

    def examples(slices: list[LabelledSlice]) -> SegmentationExamples:
        return SegmentationExamples(
            slices, spec=spec, mask_type=arguments.mask_type, min_area=arguments.min_area
        )

    card = _card(arguments, preset, architecture, spec, region_classes=regions, start=start)
    _check(arguments, [*train, *held_out])
    system = SegmentationSystem(
        network, mode=arguments.mode, reproducible=arguments.reproducible, device=device_of(arguments)
    )
    return run_training(
        arguments, system, preset, card, examples(train), examples(held_out) if held_out else None, 1
    )


def run_classifier(arguments: argparse.Namespace) -> int:
    """Train or fine-tune a COVID-CT-Mask-Net."""
    from model_core.train.examples import ClassExamples
    from model_core.train.systems.classifier import ClassifierSystem
    from model_core.train.systems.start import classifier_from_classifier, classifier_from_segmentation
    from model_core.weights.store import find_base, load_weights

    preset = _preset(arguments, "p2")
    if arguments.roi_batch_size or arguments.s_features:
        preset = dataclasses.replace(
            preset,
            roi_batch_size=arguments.roi_batch_size or preset.roi_batch_size,
            s_width=arguments.s_features or preset.s_width,
        )
    if not (arguments.segmentation or arguments.from_classifier):
        raise UsageError("Give --segmentation or --from-classifier to start from.")
    base_sha256 = ""
    if arguments.from_classifier:
        base = load_weights(arguments.from_classifier)
        detector = None
        if base.card.base_sha256:
            detector = load_weights(arguments.segmentation or str(find_base(base)))
        elif arguments.segmentation:
            raise UsageError(f"'{base.card.name}' holds its whole network: --segmentation has no use.")
        if detector is not None and detector.card.sha256 != base.card.base_sha256:
            raise WeightsError(
                f"The classifier '{base.card.name}' reads the RoIs of other segmentation weights than "
                f"'{detector.card.name}'."
            )
        network = classifier_from_classifier(
            base, preset, base_segmentation=detector, two_logits=arguments.two_logits
        )
        base_sha256 = base.card.base_sha256
    else:
        if arguments.two_logits:
            raise UsageError("--two-logits belongs to --from-classifier.")
        base = load_weights(arguments.segmentation)
        if base.card.architecture.backbone == "resnet50":  # N and R of the papers (§5.4)
            preset = dataclasses.replace(
                preset,
                roi_batch_size=arguments.roi_batch_size or 256,
                s_width=arguments.s_features or 1024,
            )
        network = classifier_from_segmentation(base, preset, seed=arguments.seed)
        base_sha256 = base.card.sha256
    if arguments.mode != "s":
        base_sha256 = ""
    spec = dataclasses.replace(base.card.input, size=arguments.size or base.card.input.size)
    if spec != base.card.input:
        base_sha256 = ""  # another input is another pass: stored whole
    read = _class_reader(two=network.architecture.image_classes == 2, grey_map=spec.grey)
    train, held_out = _split(arguments, read)
    names = _image_classes(train, network.architecture.image_classes)
    if arguments.from_classifier and len(base.card.image_classes) == len(names):
        names = base.card.image_classes
    card = _card(
        arguments,
        preset,
        network.architecture,
        spec,
        region_classes=base.card.region_classes,
        image_classes=names,
        start={"from": base.card.name, "from_sha256": base.card.sha256},
        base_sha256=base_sha256,
    )
    card = dataclasses.replace(card, detector=base.card.detector)
    system = ClassifierSystem(
        network,
        mode=arguments.mode,
        evidence=card.evidence,
        device=device_of(arguments),
        reproducible=arguments.reproducible,
    )
    validation = ClassExamples(held_out, spec=spec) if held_out else None
    return run_training(
        arguments, system, preset, card, ClassExamples(train, spec=spec), validation, preset.classifier_batch
    )


def run_single_shot(arguments: argparse.Namespace) -> int:
    """Train a single-shot model."""
    from model_core.data import read_segmentation
    from model_core.networks import SingleShot
    from model_core.train.examples import ClassExamples, SegmentationExamples
    from model_core.train.systems.single_shot import SingleShotSystem
    from model_core.train.systems.start import copy_segmentation_into, new_network
    from model_core.train.warm_start import load_backbone

    if arguments.branches == 2 and arguments.copy_rule == "never" and not arguments.segmentation:
        raise UsageError(
            "--copy-rule never with two branches needs --segmentation: the class branch would stay random."
        )
    preset = _preset(arguments, "p3")
    spec = _spec(arguments)
    architecture = _architecture(
        arguments,
        kind="single_shot",
        region_classes=2,
        branches=arguments.branches,
        roi_batch_size=preset.roi_batch_size,
        s_width=preset.s_width,
    )
    train, held_out = _split(arguments, _class_reader(two=False, grey_map=spec.grey))
    network = new_network(architecture, preset, spec, seed=arguments.seed)
    assert isinstance(network, SingleShot)
    start: dict[str, Any] = {"backbone": "random"}
    if arguments.backbone_weights:
        start = load_backbone(network, arguments.backbone_weights)
    if arguments.segmentation:
        copy_segmentation_into(network, arguments.segmentation)
        if arguments.branches == 2:
            network.copy_class_branch()
        start = {"from": arguments.segmentation}
    arguments.mask_type = "merge"
    with_masks = read_segmentation(
        arguments.segmentation_data, mask_values=arguments.mask_values, mask_type=arguments.mask_type
    )
    _check(arguments, with_masks)
    masks = SegmentationExamples(with_masks, spec=spec, mask_type="merge", min_area=arguments.min_area)
    system = SingleShotSystem(
        network,
        masks,
        rule=arguments.rule,
        copy_rule=arguments.copy_rule,
        device=device_of(arguments),
        reproducible=arguments.reproducible,
    )
    card = _card(
        arguments,
        preset,
        architecture,
        spec,
        region_classes=("Lesion",),
        image_classes=_image_classes(train, 3),
        start=start,
    )
    validation = ClassExamples(held_out, spec=spec) if held_out else None
    return run_training(arguments, system, preset, card, ClassExamples(train, spec=spec), validation, 1)


def _preset(arguments: argparse.Namespace, default: str) -> Preset:
    from model_core.train.systems.presets import preset

    return preset(arguments.preset or default)


def _spec(arguments: argparse.Namespace) -> InputSpec:
    """Pictures as the papers feed them: grey / 255, HU through the same lung window."""
    return InputSpec(low_hu=GREY_LOW_HU, high_hu=GREY_HIGH_HU, size=arguments.size or 512)


def _check(arguments: argparse.Namespace, slices: list[LabelledSlice]) -> None:
    from model_core.cli.progress import follow
    from model_core.train.examples import check_masks

    job = check_masks(slices, mask_type=arguments.mask_type, min_area=arguments.min_area)
    for _ in follow(job, title="Checking the data"):
        pass


def _architecture(arguments: argparse.Namespace, **fixed: Any) -> Architecture:
    truncation = 0 if arguments.backbone == "resnet50" else arguments.truncation
    return Architecture(
        backbone=arguments.backbone,
        truncation=truncation,
        anchor_sizes=tuple(arguments.anchor_sizes),
        aspect_ratios=tuple(arguments.aspect_ratios),
        extra_pool=arguments.extra_pool,
        **fixed,
    )


def _class_reader(*, two: bool, grey_map: GreyMap) -> Any:
    """Return what reads labelled pictures, in the greys that the network is shown in use."""
    from model_core.data import read_classes
    from model_core.measure.slices import with_grey_map

    def read(folder: Path) -> list[ClassifiedSlice]:
        slices = with_grey_map(read_classes(folder), grey_map)
        if not two:
            return slices
        if any(one.label == 1 for one in slices):
            raise DataError("A two-class training has no class 1: take other/ out of the data folder.")
        return [dataclasses.replace(one, label=one.label // 2) for one in slices]

    return read


def _image_classes(train: list[ClassifiedSlice], count: int) -> tuple[str, ...]:
    from model_core.data import class_names

    names = class_names(train)
    return names if count == len(names) else (names[0], names[-1])


def _split(arguments: argparse.Namespace, read: Any) -> tuple[list[Any], list[Any]]:
    """Return training and validation slices: a folder of their own, or a share of the patients."""
    import numpy as np

    slices = read(arguments.data)
    if arguments.validation is not None:
        return slices, read(arguments.validation)
    share = arguments.validation_share
    if not 0.0 <= share < 1.0:
        raise SettingsError(f"--validation-share lies in 0..1, not {share:g}.")
    if not share:
        return slices, []
    patients = sorted({one.patient for one in slices})
    order = np.random.default_rng(arguments.seed).permutation(len(patients))
    held = {patients[k] for k in order[: max(1, round(share * len(patients)))]}
    train = [one for one in slices if one.patient not in held]
    if not train:
        raise DataError("Nothing is left to train on: the data has one patient; use --validation.")
    return train, [one for one in slices if one.patient in held]


def _card(
    arguments: argparse.Namespace,
    preset: Preset,
    architecture: Architecture,
    spec: InputSpec,
    *,
    region_classes: tuple[str, ...],
    start: dict[str, Any],
    image_classes: tuple[str, ...] = (),
    base_sha256: str = "",
) -> ModelCard:
    from model_core.base.settings import EvidenceSettings
    from model_core.weights.card import ModelCard

    kind = architecture.kind.replace("_", "-")
    shape = f"{architecture.backbone}" + (f"-t{architecture.truncation}" if architecture.truncation else "")
    return ModelCard(
        name=arguments.name or f"{kind}-{shape}",
        title=f"{kind.capitalize()}, {shape}, trained on {arguments.data.name}",
        architecture=architecture,
        region_classes=region_classes,
        image_classes=image_classes,
        detector=preset.detector,
        input=spec,
        detections=preset.detections,
        evidence=EvidenceSettings(
            batch_size=architecture.roi_batch_size,
            min_area=SINGLE_SHOT_MIN_AREA if architecture.kind == "single_shot" else 0.0,
        ),
        base_sha256=base_sha256,
        training={
            "preset": preset.name,
            "mode": getattr(arguments, "mode", ""),
            "seed": arguments.seed,
            **start,
        },
    )
