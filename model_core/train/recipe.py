"""A recipe: everything that decides what weights come out of a data folder, as one JSON file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from model_core.base.documents import from_values
from model_core.base.errors import SettingsError
from model_core.base.resources import resource
from model_core.base.settings import Architecture, DetectorTraining
from model_core.data.classes import CLASS_FOLDERS

StageKind = Literal["dense", "detect", "joint"]
SourceKind = Literal["pairs", "negatives", "classified"]

# The schedule of `ctmasknet train cross-validate`, a plan of the recipe.
CROSS_VALIDATION = "cross_validation"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set of a recipe.

    Attributes
    ----------
    folder:
        Below the data folder.
    kind:
        ``pairs`` of picture and mask, lesion-free ``negatives`` of a class folder's ``normal``, or
        ``classified`` pictures of its ``image_class``, for the image loss of ``joint`` stages.
    weight:
        Share of the training draws (relative); classified sources share draws of their own.
    validation:
        Patients (or groups) held out; never drawn in training.
    prefix:
        Kinds of class folders: only pictures whose source starts like this.
    image_class:
        ``classified``: ``normal``, ``other`` or ``covid``.
    cropped:
        The pictures are cropped to the lungs, so they may also be shown shrunken inside a body.
    hu_error:
        Spread of the grey-to-HU map in HU, for the window augmentation.
    hold_out:
        Share of the pictures held out by the hash of their name, see `held_out`: normal scans that a
        classifier on this detector is later tested on.
    exclude:
        Names of slices that are neither trained on nor measured (their class is in doubt).
    """

    folder: str
    kind: SourceKind = "pairs"
    weight: float = 1.0
    validation: tuple[str, ...] = ()
    prefix: str = ""
    cropped: bool = True
    hu_error: float = 60.0
    hold_out: float = 0.0
    exclude: tuple[str, ...] = ()
    image_class: str = ""

    def __post_init__(self) -> None:
        if (self.kind == "classified") != (self.image_class in CLASS_FOLDERS):
            raise SettingsError(
                f"A classified source, and no other, has an image class ({', '.join(CLASS_FOLDERS)}), not "
                f"'{self.image_class}'."
            )
        if not 0.0 <= self.hold_out < 1.0:
            raise SettingsError(f"The held-out share of a source lies in 0..1, not {self.hold_out}.")
        if self.kind not in get_args(SourceKind):
            raise SettingsError(
                f"A source has one of the kinds {', '.join(get_args(SourceKind))}, not '{self.kind}'."
            )

    def holds_out(self, *, name: str, patient: str) -> bool:
        """Whether a slice of this source is never drawn in training."""
        return patient in self.validation or held_out(name, self.hold_out)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of the training: what is learned, at which size, for how many steps.

    Attributes
    ----------
    kind:
        ``dense``: pixels, the backbone alone; ``detect``: the detector; ``joint``: the detector and, in a
        second step of its own, the image class (`train.joint`).
    zoom:
        Range of the picture's scale relative to filling the input.
    paste:
        Share of the draws that get a lesion of another training slice (`train.pasting`).
    synthetic:
        Share of the lesion-free draws that get computed lesions (`train.synthetic`).
    appearance:
        Share of the draws whose window, sharpness, noise and compression change (`train.appearance`).
    image_batch:
        ``joint``: classified pictures of one step.
    """

    kind: StageKind
    steps: int
    size: int
    batch: int
    learning_rate: float
    final_rate: float
    zoom: tuple[float, float] = (0.85, 1.4)
    dense_weight: float = 0.5
    paste: float = 0.0
    synthetic: float = 0.0
    appearance: float = 1.0
    image_batch: int = 8

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.size, self.batch, self.image_batch) < 1 or self.size % 32:
            raise SettingsError(
                f"A stage has steps, a batch and a size that 32 divides, not {self.steps}, {self.batch} and "
                f"{self.size}."
            )
        for share in (self.paste, self.synthetic, self.appearance):
            if not 0.0 <= share <= 1.0:
                raise SettingsError(f"A share of the draws lies in 0..1, not {share}.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All of it. Two runs of one recipe on one machine see the same pictures in the same order.

    ``plans`` are other schedules by name: ``gpu`` with large batches, ``cross_validation`` short.
    ``start`` names weights (shipped ones, or a file) that the network starts from; empty starts it at
    random. ``backbone_weights`` is the file of a torchvision ResNet that the backbone starts from, below the
    data folder until `with_backbone` says where it lies; empty where it starts at random.
    """

    name: str
    title: str
    seed: int
    architecture: Architecture
    training: DetectorTraining
    sources: dict[str, Source]
    stages: tuple[Stage, ...]
    weight_decay: float = 0.05
    ema: float = 0.998
    notes: str = ""
    classifier: dict[str, Any] = field(default_factory=dict)
    plans: dict[str, tuple[Stage, ...]] = field(default_factory=dict)
    start: str = ""
    backbone_weights: str = ""

    def __post_init__(self) -> None:
        if self.start and self.backbone_weights:
            raise SettingsError("A recipe starts from lesion weights or from a backbone file, not from both.")
        joint = any(stage.kind == "joint" for stage in self.stages)
        if joint and not (self.architecture.kind == "single_shot" and self.class_weights()):
            raise SettingsError("A joint stage trains a single-shot model and draws from classified sources.")

    @property
    def digest(self) -> str:
        """Hash of what a checkpoint depends on: network, sources, seed; stages may still be lengthened."""
        values = dataclasses.asdict(self)
        kept = {name: values[name] for name in ("name", "seed", "architecture", "start", "sources")}
        kept["backbone"] = Path(self.backbone_weights).name  # wherever it lies
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def without(self, names: tuple[str, ...]) -> Recipe:
        """Return the recipe with some sources switched off.

        Raises
        ------
        SettingsError
            If a name is unknown or nothing with lesions would be left.
        """
        if unknown := sorted(set(names) - set(self.sources)):
            raise SettingsError(
                f"The recipe has no source {', '.join(unknown)}; it has {', '.join(self.sources)}."
            )
        left = {key: source for key, source in self.sources.items() if key not in names}
        if not any(source.kind == "pairs" for source in left.values()):
            raise SettingsError("At least one source with lesion masks must stay.")
        return dataclasses.replace(self, sources=left)

    def with_backbone(self, *, data: Path | None = None, file: Path | None = None) -> Recipe:
        """Return the recipe with the place of the backbone's file: ``file``, else its own below ``data``.

        Raises
        ------
        SettingsError
            If the recipe starts from lesion weights.
        """
        if file is None and data is not None and self.backbone_weights:
            file = data / self.backbone_weights
        return self if file is None else dataclasses.replace(self, backbone_weights=str(file))

    def weights(self) -> dict[str, float]:
        """Return the weight of each source that is drawn from; classified ones have `class_weights`."""
        return {
            name: source.weight
            for name, source in self.sources.items()
            if source.kind != "classified" and source.weight > 0
        }

    def class_weights(self) -> dict[str, float]:
        """Return the weight of each classified source in joint stages."""
        return {name: one.weight for name, one in self.sources.items() if one.kind == "classified"}

    def planned(self, plan: str) -> Recipe:
        """Return the recipe with the stages of one of its plans; an empty name keeps its own.

        Raises
        ------
        SettingsError
            If it has no such plan.
        """
        if not plan:
            return self
        if plan not in self.plans:
            raise SettingsError(
                f"The recipe has no plan '{plan}'; it has {', '.join(self.plans) or 'none'} "
                "besides its own stages."
            )
        return dataclasses.replace(self, stages=self.plans[plan])


def held_out(name: str, share: float) -> bool:
    """Whether a slice of this name is among the held-out share: the same answer in every recipe and run."""
    if not share:
        return False
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < share * 2**32


def recipe_names() -> tuple[str, ...]:
    """Return the names of the shipped recipes."""
    return tuple(sorted(path.stem for path in resource("recipes").glob("*.json")))


def read_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name, or a recipe file.

    Raises
    ------
    SettingsError
        If there is none, or it is damaged, or has a field that this version does not know.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = resource("recipes") / f"{name_or_path}.json"
    try:
        return from_values(Recipe, json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no recipe '{name_or_path}'; shipped are: {', '.join(recipe_names()) or 'none'}."
        ) from error
    except SettingsError as error:
        raise SettingsError(
            f"The recipe {path.name} is damaged or of another version: {error.message}", details=error.details
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"The recipe {path.name} is damaged.", details=str(error)) from error
