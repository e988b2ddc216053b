"""Lesions through the slices of a scan: how large, where, how dense; and how much of the lungs they take."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import ndimage

from model_core.anatomy.lungs import LEFT, RIGHT, Lungs
from model_core.base.arrays import BoolArray, ByteArray, DoubleArray, VoxelArray
from model_core.base.jobs import Progress
from model_core.base.results import Third
from model_core.base.volume import Volume
from model_core.explain.scan import slice_steps_mm

Side = Literal["right", "left"]
# Smaller pieces, in slice pixels over all slices, are counted but not listed.
SMALLEST_PX = 20
# Aeration by HU (Gattinoni et al., AJRCCM 2001, 164:1701): poorly aerated up to, non-aerated from.
POORLY_HU, NON_AERATED_HU = -500, -100
# Limits of the share of the more affected lung: grades CT-1 to CT-4 (Morozov et al., MosMedData, 2020).
GRADES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Lesion:
    """What hangs together in three dimensions (26 neighbours).

    Attributes
    ----------
    number:
        From 1, the largest first.
    first, last, largest:
        Slices from 0: where it begins and ends, and where it takes most pixels.
    place:
        Its middle in the ``largest`` slice, x and y in slice pixels.
    pixel:
        The pixel of it there that lies nearest to that, row and column.
    label:
        Region class that most of its pixels have, from 1.
    ml:
        None where pixel size or slice distance is unknown.
    mean_hu, poorly_aerated, non_aerated:
        Mean, and the shares of its voxels above -500 up to -100 HU and above -100 HU; None without HU.
    side, third:
        The lung and the third of the slices with lung that hold most of it; None outside of them.
    lung_share:
        Of the volume of both lungs; None where that is unknown.
    """

    number: int
    first: int
    last: int
    largest: int
    place: tuple[float, float]
    pixel: tuple[int, int]
    label: int
    pixels: int
    ml: float | None
    mean_hu: float | None
    poorly_aerated: float | None
    non_aerated: float | None
    side: Side | None
    third: Third | None
    lung_share: float | None


@dataclass(frozen=True)
class Burden:
    """All lesions of a scan.

    Attributes
    ----------
    lesions:
        Those of at least `SMALLEST_PX`, the largest first; ``smaller`` is how many others there are.
    lung_shares:
        Share of each lung that is marked; None where the lungs are unknown, or not all of them was analysed.
    grade:
        0 to 4: nothing marked, then by the share of the more affected lung up to 25, 50, 75 % and above
        (the grades CT-0 to CT-4 of MosMedData); None where the shares are. A number of the masks, no
        assessment by a person.
    """

    lesions: tuple[Lesion, ...]
    smaller: int
    lung_shares: Mapping[Side, float] | None
    grade: int | None


def burden(
    volume: Volume, labels: ByteArray, *, lungs: Lungs | None = None, analysed: Collection[int] | None = None
) -> Generator[Progress | Burden, None, None]:
    """Yield, last, the lesions of a (D, H, W) label volume in display order (0 none, else the region class).

    What is marked in slices that are known to lie outside the ``lungs`` does not count, as in the verdict;
    None leaves side, third and shares unknown, and counts every slice. ``analysed`` are the slices that were
    looked at, None for all: nothing is known of the others.
    """
    total = volume.slices
    yield Progress(0, total, "Joining lesions")
    rows, columns = _extent(labels)
    # Of all else nothing is needed, and numbers of pieces take four times the memory of labels.
    part, marked = labels[:, rows, columns], labels[:, rows, columns] > 0
    if lungs is not None:
        marked[list(lungs.outside)] = False
    pieces, count = ndimage.label(marked, structure=np.ones((3, 3, 3), bool))
    steps, area = slice_steps_mm(volume), volume.geometry.pixel_area_mm2
    known = lungs if lungs is not None and lungs.state == "found" else None
    sides = np.zeros((count + 1, 3), np.int64)
    in_lung = np.zeros(3, np.float64)
    covered = np.zeros(3, np.float64)
    weights = np.ones(total) if steps is None else steps
    for index in range(total if known is not None else 0):
        assert known is not None
        yield Progress(index, total, "Measuring lesions")
        map_ = known.sides(index)
        in_lung += weights[index] * np.bincount(map_.ravel(), minlength=3)
        own = marked[index]
        if own.any():
            here = map_[rows, columns][own]
            covered += weights[index] * np.bincount(here, minlength=3)
            np.add.at(sides, (pieces[index][own], here), 1)
    both = float(in_lung[[RIGHT, LEFT]].sum())
    found = [
        _lesion(k, place, volume.voxels[:, rows, columns], part, pieces, weights, hu=volume.unit == "HU")
        for k, place in enumerate(ndimage.find_objects(pieces), start=1)
    ]
    found = [(size, _moved(lesion, rows.start, columns.start)) for size, lesion in found]
    order = sorted(range(count), key=lambda k: (-found[k][0], -found[k][1].pixels, found[k][1].first))
    lesions: list[Lesion] = []
    for k in order:
        size, lesion = found[k]
        if lesion.pixels < SMALLEST_PX:
            continue
        lesions.append(
            _placed(
                lesion,
                number=len(lesions) + 1,
                ml=None if steps is None or area is None else size * area / 1000.0,
                by_side=sides[k + 1],
                lungs=known,
                share=size / both if both else None,
            )
        )
    whole = known is not None and (analysed is None or set(known.slices) <= set(analysed))
    shares = _shares(covered, in_lung) if whole and both else None
    yield Burden(tuple(lesions), count - len(lesions), shares, _grade(shares))


def _lesion(
    number: int,
    place: tuple[slice, slice, slice],
    voxels: VoxelArray,
    labels: ByteArray,
    pieces: np.ndarray,
    weights: DoubleArray,
    *,
    hu: bool,
) -> tuple[float, Lesion]:
    """Return the size of a piece in pixels times slice weight, and what of it needs nothing else."""
    own: BoolArray = pieces[place] == number
    each = np.count_nonzero(own, axis=(1, 2))
    first, largest = place[0].start, int(each.argmax())
    rows, columns = np.nonzero(own[largest])
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    dense = _aeration(voxels[place][own]) if hu else (None, None, None)
    lesion = Lesion(
        number=number,
        first=first,
        last=place[0].stop - 1,
        largest=first + largest,
        place=(place[2].start + float(columns.mean()) + 0.5, place[1].start + float(rows.mean()) + 0.5),
        pixel=(place[1].start + int(rows[nearest]), place[2].start + int(columns[nearest])),
        label=int(np.bincount(labels[place][own]).argmax()),
        pixels=int(each.sum()),
        ml=None,
        mean_hu=dense[0],
        poorly_aerated=dense[1],
        non_aerated=dense[2],
        side=None,
        third=None,
        lung_share=None,
    )
    return float(each @ weights[place[0]]), lesion


def _extent(labels: ByteArray) -> tuple[slice, slice]:
    """Return the rows and columns that hold everything that is marked."""
    found = []
    for axis in (2, 1):
        where = np.flatnonzero(labels.any(axis=(0, axis)))
        found.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 1))
    return found[0], found[1]


def _moved(lesion: Lesion, row: int, column: int) -> Lesion:
    """Return a lesion of a part of the slices that begins there, with its place in the whole."""
    (x, y), (down, right) = lesion.place, lesion.pixel
    return replace(lesion, place=(x + column, y + row), pixel=(down + row, right + column))


def _aeration(values: np.ndarray) -> tuple[float, float, float]:
    non = float(np.mean(values > NON_AERATED_HU))
    return float(values.mean(dtype=np.float64)), float(np.mean(values > POORLY_HU)) - non, non


def _placed(
    lesion: Lesion,
    *,
    number: int,
    ml: float | None,
    by_side: np.ndarray,
    lungs: Lungs | None,
    share: float | None,
) -> Lesion:
    side: Side | None = None
    if by_side[[RIGHT, LEFT]].any():
        side = "right" if by_side[RIGHT] >= by_side[LEFT] else "left"
    third = None if lungs is None else lungs.third(lesion.largest)
    return replace(lesion, number=number, ml=ml, side=side, third=third, lung_share=share)


def _shares(covered: DoubleArray, in_lung: DoubleArray) -> dict[Side, float]:
    names: Iterable[tuple[Side, int]] = (("right", RIGHT), ("left", LEFT))
    return {name: float(covered[k] / in_lung[k]) if in_lung[k] else 0.0 for name, k in names}


def _grade(shares: Mapping[Side, float] | None) -> int | None:
    if shares is None:
        return None
    most = max(shares.values())
    return 0 if most == 0 else 1 + sum(most > limit for limit in GRADES)
