"""A recipe: everything that decides what weights come out of a data folder, as one JSON file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model_core.config import Architecture, DetectorTraining
from model_core.errors import SettingsError
from model_core.resources import resource

StageKind = Literal["dense", "detect"]
SourceKind = Literal["pairs", "negatives"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set of a recipe.

    Attributes
    ----------
    folder:
        Below the data folder.
    kind:
        ``pairs`` of picture and mask, or lesion-free ``negatives`` of a class folder's ``normal``.
    weight:
        Share of the training draws (relative).
    validation:
        Patients (or groups) held out; never drawn in training.
    prefix:
        ``negatives``: only pictures whose source starts like this.
    cropped:
        The pictures are cropped to the lungs, so they may also be shown shrunken inside a body.
    hu_error:
        Spread of the grey-to-HU map in HU, for the window augmentation.
    """

    folder: str
    kind: SourceKind = "pairs"
    weight: float = 1.0
    validation: tuple[str, ...] = ()
    prefix: str = ""
    cropped: bool = True
    hu_error: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of the training: what is learned, at which size, for how many steps.

    ``zoom`` is the range of the picture's scale relative to filling the input.
    """

    kind: StageKind
    steps: int
    size: int
    batch: int
    learning_rate: float
    final_rate: float
    zoom: tuple[float, float] = (0.85, 1.4)
    dense_weight: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All of it. Two runs of one recipe on one machine see the same pictures in the same order."""

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

    @property
    def digest(self) -> str:
        """Hash of what a checkpoint depends on: network, sources, seed; stages may still be lengthened."""
        values = dataclasses.asdict(self)
        for other in ("title", "notes", "classifier", "stages", "ema", "weight_decay", "training"):
            values.pop(other)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

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


def recipe_names() -> tuple[str, ...]:
    """Return the names of the shipped recipes."""
    return tuple(sorted(path.stem for path in resource("recipes").glob("*.json")))


def read_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name, or a recipe file.

    Raises
    ------
    SettingsError
        If there is none, or it is damaged.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = resource("recipes") / f"{name_or_path}.json"
    try:
        values = json.loads(path.read_text("utf-8"))
        return Recipe(
            name=values["name"],
            title=values["title"],
            seed=int(values["seed"]),
            architecture=Architecture(**_tuples(values["architecture"])),
            training=DetectorTraining(**values["training"]),
            sources={key: Source(**_tuples(source)) for key, source in values["sources"].items()},
            stages=tuple(Stage(**_tuples(stage)) for stage in values["stages"]),
            **{key: values[key] for key in ("weight_decay", "ema", "notes", "classifier") if key in values},
        )
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no recipe '{name_or_path}'; shipped are: {', '.join(recipe_names()) or 'none'}."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"The recipe {path.name} is damaged.", details=str(error)) from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
