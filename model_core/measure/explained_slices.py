"""Slices that explanations are measured on: their ranked regions, as they are and after small changes."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from model_core.base.arrays import BoolArray, FloatArray
from model_core.base.errors import DataError
from model_core.base.files import atomic_path
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult
from model_core.base.settings import GreyMap
from model_core.data import ClassifiedSlice, LabelledSlice
from model_core.engine import Pipeline, run
from model_core.engine.evidence import evidence_batch
from model_core.measure.slices import one_slice_volume, with_grey_map

# Changes of a picture that a person hardly sees: noise of so many HU, and a shift by so many pixels.
NOISE_HU, SHIFT_PX = 20.0, 1
PICTURES = ("as it is", f"noise of {NOISE_HU:g} HU", f"shifted by {SHIFT_PX} pixel")
_VERSION = 1
# Groups of slices that results are given by.
LESIONS, CONTROLS = "lesion slices", "controls"

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """A slice to measure on.

    Attributes
    ----------
    group:
        `LESIONS` or `CONTROLS`; results are given by it.
    seen:
        Whether the detector trained on it; None where no list says so.
    """

    slice: LabelledSlice | ClassifiedSlice
    group: str
    seen: bool | None

    @property
    def mask(self) -> BoolArray | None:
        """(H, W) where a lesion is; None of a slice without reference mask."""
        return self.slice.mask() > 0 if isinstance(self.slice, LabelledSlice) else None


@dataclass(frozen=True, eq=False)
class Ranked:
    """All regions that rank in a picture, best first: (M, 5) rows, and (M, 4) boxes in slice pixels."""

    rows: FloatArray
    boxes: FloatArray


@dataclass(frozen=True, eq=False)
class Case:
    """A slice with the regions of its picture and of changed ones (`PICTURES`), back in its own pixels."""

    name: str
    patient: str
    group: str
    seen: bool | None
    looks: tuple[Ranked, ...]
    mask: BoolArray | None
    shape: tuple[int, int]


def spread(slices: Sequence[T], groups: Sequence[str], count: int) -> list[T]:
    """Return ``count`` slices, as many of each group as there are, evenly spread over its order."""
    members: dict[str, list[T]] = {}
    for item, group in zip(slices, groups, strict=True):
        members.setdefault(group, []).append(item)
    left, found = count, []
    # Small groups give all they have, and the others share what is left.
    for done, group in enumerate(sorted(members, key=lambda name: (len(members[name]), name))):
        share = min(len(members[group]), left // (len(members) - done))
        places = np.linspace(0, len(members[group]) - 1, share).round().astype(int).tolist()
        found += [members[group][k] for k in places]
        left -= share
    return found


def gather(
    pipeline: Pipeline, subjects: Sequence[Subject], grey_map: GreyMap, *, work: Path | None = None
) -> Generator[Progress | list[Case], None, None]:
    """Run the detector over the slices and their changed pictures; the last item are the cases.

    Parameters
    ----------
    work:
        Folder where the regions are kept; the same slices and weights find them there again.

    Raises
    ------
    DataError
        If a picture or kept file is damaged.
    """
    stored = None if work is None else work / f"regions-{_digest(pipeline, subjects, grey_map)}.npz"
    kept = _read(stored) if stored is not None and stored.is_file() else {}
    found, total = [], len(subjects) * len(PICTURES)
    arrays: dict[str, Any] = {}
    for number, subject in enumerate(subjects):
        item = as_measured(subject.slice, grey_map)
        looks, shape = [], (0, 0)
        for kind in range(len(PICTURES)):
            key = f"{number}-{kind}"
            yield Progress(number * len(PICTURES) + kind, total, "Regions")
            if kept:
                looks.append(Ranked(kept[f"{key}-rows"], kept[f"{key}-boxes"]))
                shape = tuple(kept[f"{number}-shape"].tolist())
            else:
                hu = item.image_hu()
                shape = hu.shape
                looks.append(_ranked(pipeline, _changed(hu, kind, item.name), item.name, kind))
            arrays |= {f"{key}-rows": looks[-1].rows, f"{key}-boxes": looks[-1].boxes}
        arrays[f"{number}-shape"] = np.array(shape)
        case = Case(
            item.name, item.patient, subject.group, subject.seen, tuple(looks), subject.mask,
            (int(shape[0]), int(shape[1])),
        )  # fmt: skip
        found.append(case)
    if stored is not None and not kept:
        stored.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(stored, overwrite=True) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
    yield found


def as_measured(item: LabelledSlice | ClassifiedSlice, grey_map: GreyMap) -> LabelledSlice | ClassifiedSlice:
    """Return a slice with the grey-to-HU map that weights want, see `with_grey_map`."""
    if isinstance(item, LabelledSlice):
        return with_grey_map([item], grey_map)[0]
    return with_grey_map([item], grey_map)[0]


def _changed(hu: FloatArray, kind: int, name: str) -> FloatArray:
    """Return a picture as it is, with noise, or shifted to the right, its left edge repeated."""
    if kind == 1:
        noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, NOISE_HU, hu.shape)
        return (hu + noise).astype(np.float32)
    if kind == 2:
        return np.pad(hu, ((0, 0), (SHIFT_PX, 0)), mode="edge")[:, : hu.shape[1]]
    return hu


def _ranked(pipeline: Pipeline, hu: FloatArray, name: str, kind: int) -> Ranked:
    """Return every region of a picture that ranks, back where it would be in the unchanged one."""
    volume = one_slice_volume(hu, name=name)
    (result,) = (item for item in run(pipeline, volume, [0]) if isinstance(item, SliceResult))
    candidates = result.evidence_candidates
    assert candidates is not None
    everything = dataclasses.replace(pipeline.evidence, batch_size=max(1, len(candidates)))
    batch = evidence_batch(candidates, everything, size=None)
    boxes = result.evidence_placement.in_slice(candidates.boxes[batch.kept])
    if kind == 2:
        boxes = boxes - np.array([SHIFT_PX, 0, SHIFT_PX, 0], np.float32)
    return Ranked(batch.rows, boxes)


def _digest(pipeline: Pipeline, subjects: Sequence[Subject], grey_map: GreyMap) -> str:
    named = [f"{one.slice.image_path.parent.parent.name}/{one.slice.name}" for one in subjects]
    text = repr((_VERSION, PICTURES, pipeline.weights_id, grey_map, named))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path.name} is damaged; delete it to compute it again.", details=str(error)
        ) from error


def choose(
    sets: Mapping[str, Sequence[LabelledSlice]],
    controls: Sequence[ClassifiedSlice],
    held_out: Mapping[str, bool] | None,
    *,
    count: int,
    control_count: int,
) -> list[Subject]:
    """Return ``count`` slices of segmentation sets and ``control_count`` controls of a class set.

    Parameters
    ----------
    sets:
        By the name of each set. Where ``held_out`` knows slices that the detector never saw, only those are
        taken.
    controls:
        Of which those of class 0 are taken, sources alike.
    held_out:
        Whether the detector never saw a slice, by name; None where nothing is known.

    Raises
    ------
    DataError
        If there are not so many.
    """
    named = [(item, name) for name, slices in sets.items() for item in slices]
    unseen = [(item, name) for item, name in named if held_out and held_out.get(item.name)]
    chosen = spread(*_columns(unseen or named), count)
    healthy = [(item, item.source) for item in controls if item.label == 0]
    normal = spread(*_columns(healthy), control_count)
    for have, wanted, group in ((len(chosen), count, LESIONS), (len(normal), control_count, CONTROLS)):
        if have < wanted:
            raise DataError(f"{wanted} {group} are wanted, and there are {have}: ask for fewer.")

    def seen(name: str) -> bool | None:
        return None if held_out is None or name not in held_out else not held_out[name]

    return [Subject(one, LESIONS, seen(one.name)) for one in chosen] + [
        Subject(one, CONTROLS, seen(one.name)) for one in normal
    ]


def _columns(pairs: Sequence[tuple[T, str]]) -> tuple[list[T], list[str]]:
    """Return slices and the names of their groups apart."""
    return [item for item, _ in pairs], [name for _, name in pairs]
