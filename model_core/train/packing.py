"""Data sets packed into one file over the network's HU window, so that an epoch reads no pictures."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.errors import DataError
from model_core.base.files import atomic_path
from model_core.base.settings import InputSpec
from model_core.data import ClassifiedSlice, LabelledSlice, read_class_folders, read_segmentation
from model_core.data.classes import CLASS_FOLDERS
from model_core.data.pictures import read_grey, read_index_picture, refuse_absent, to_hu
from model_core.engine.greymap import estimate_hu_range
from model_core.train.recipe import Recipe, Source

logger = logging.getLogger(__name__)

LESION_BITS, LUNG_BIT = 0b011, 0b100
_VERSION = 6


@dataclass(frozen=True, eq=False)
class PackedSlice:
    """A slice ready for augmentation.

    Attributes
    ----------
    image:
        (H, W) uint8 over the network's HU window.
    labels:
        (H, W) uint8: the lesion value in the low two bits, lung in the third.
    has_lung:
        Whether lung masks exist (where not, the lung bit means nothing).
    original:
        `digest` of the slice in the data folder; empty where it is as it was read.
    image_class:
        Of a classified picture: index into `data.classes.CLASS_FOLDERS`.
    picture:
        SHA-256 of the grey levels of the file: one picture has one, whatever it is called in which data set.
    """

    name: str
    source: str
    patient: str
    validation: bool
    cropped: bool
    has_lung: bool
    hu_error: float
    image: ByteArray
    labels: ByteArray
    original: str = ""
    image_class: int | None = None
    picture: str = ""

    @property
    def outlined(self) -> bool:
        """Whether it is known what is a lesion: not of classified pictures, whose labels are empty."""
        return self.image_class is None

    @property
    def lesion(self) -> ByteArray:
        """(H, W) mask: 0 background, 1 GGO or lesion, 2 consolidation."""
        lesion: ByteArray = np.bitwise_and(self.labels, LESION_BITS, dtype=np.uint8)
        return lesion

    def image_hu(self) -> FloatArray:
        """Return the picture as (H, W) HU."""
        spec = InputSpec()
        return to_hu(self.image, low=spec.low_hu, high=spec.high_hu)

    def mask(self) -> ByteArray:
        """Return `lesion`."""
        return self.lesion

    @property
    def digest(self) -> str:
        """SHA-256 of picture and labels: what a split list names a slice by."""
        return self.original or hashlib.sha256(self.image.tobytes() + self.lesion.tobytes()).hexdigest()


def pack(recipe: Recipe, data: Path, cache: Path) -> list[PackedSlice]:
    """Return every slice of the recipe's sources, from the cache file where it fits.

    Parameters
    ----------
    data:
        The folder that holds the sources' folders.
    cache:
        A folder; gets ``packed-<hash>.npz``, another one where files of the sources change.

    Raises
    ------
    DataError
        If a source is missing, empty or damaged, a validation patient does not exist, or the cache is
        damaged.
    """
    key = {
        name: [source.folder, source.kind, source.prefix, *([source.image_class] * bool(source.image_class))]
        for name, source in recipe.sources.items()
    }
    folders = sorted({data / source.folder for source in recipe.sources.values()})
    known = [_VERSION, key, [files_digest(folder) for folder in folders]]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
    path = cache / f"packed-{digest}.npz"
    if not path.is_file():
        _write_cache(_read_all(recipe, data), path)
    return _read_cache(recipe, path)


def files_digest(folder: Path) -> str:
    """Return a hash of what lies in a folder (names, sizes and times of its files): a cache of it is another.

    The same for a folder that does not exist and an empty one; who reads them says so.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        about = path.stat()
        digest.update(f"{path.relative_to(folder).as_posix()} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; linked folders count, each once."""
    entered = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(root)) in entered:
            folders.clear()
            continue
        entered.add(place)
        yield from (path for name in names if (path := Path(root, name)).is_file())


def window_to_bytes(hu: FloatArray) -> ByteArray:
    """Map HU to 0..255 over the network's window, rounded and clipped."""
    spec = InputSpec()
    scaled = (hu - spec.low_hu) * (255.0 / (spec.high_hu - spec.low_hu))
    packed: ByteArray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return packed


def _write_cache(slices: Iterable[PackedSlice], path: Path) -> None:
    rows, pixels, labels = [], [], []
    for one in slices:
        pixels.append(one.image.ravel())
        labels.append(one.labels.ravel())
        about = [one.source, one.name, one.patient, bool(one.has_lung), one.digest, one.picture]
        rows.append([*about, *one.image.shape])
    with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            rows=np.array(json.dumps(rows)),
            pixels=np.concatenate(pixels),
            labels=np.concatenate(labels),
        )


def _read_cache(recipe: Recipe, path: Path) -> list[PackedSlice]:
    found, start = [], 0
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            rows, pixels, labels = json.loads(str(file["rows"])), file["pixels"], file["labels"]
        for source, name, patient, has_lung, digest, picture, height, width in rows:
            end = start + height * width
            image, own = (values[start:end].reshape(height, width) for values in (pixels, labels))
            one = _as_slice(recipe, source, image, own, name, patient, has_lung)
            found.append(replace(one, original=digest, picture=picture))
            start = end
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path.name} is no file of packed slices, or damaged; delete it to pack again.",
            details=str(error),
        ) from error
    return _chosen(recipe, found)


def _as_slice(
    recipe: Recipe,
    source_name: str,
    image: ByteArray,
    labels: ByteArray,
    name: str,
    patient: str,
    has_lung: bool,
) -> PackedSlice:
    """Return a packed slice with what its source says about it."""
    source = recipe.sources[source_name]
    return PackedSlice(
        name=name,
        source=source_name,
        patient=patient,
        validation=source.holds_out(name=name, patient=patient),
        cropped=source.cropped,
        has_lung=has_lung,
        hu_error=source.hu_error,
        image=image,
        labels=labels,
        image_class=list(CLASS_FOLDERS).index(source.image_class) if source.image_class else None,
    )


def _read_all(recipe: Recipe, data: Path) -> Iterator[PackedSlice]:
    for name, source in recipe.sources.items():
        empty = True
        for stem, patient, path, image, mask, has_lung in _slices(source, data):
            if image.shape != mask.shape:
                raise DataError(
                    f"Picture and mask '{stem}' differ in size: {image.shape[1]} x {image.shape[0]} and "
                    f"{mask.shape[1]} x {mask.shape[0]}."
                )
            one = _as_slice(recipe, name, image, mask, stem, patient, has_lung)
            yield replace(one, picture=hashlib.sha256(read_grey(path).tobytes()).hexdigest())
            empty = False
        if empty:
            raise DataError(
                f"The source {name} has no slice: '{source.folder}' holds no picture of its kind"
                + (f" whose source begins with '{source.prefix}'." if source.prefix else ".")
            )
        logger.info("packed %s", name)


def _slices(source: Source, data: Path) -> Iterator[tuple[str, str, Path, ByteArray, ByteArray, bool]]:
    folder = data / source.folder
    if source.kind == "pairs":
        for pair in read_segmentation(folder):
            image = window_to_bytes(pair.image_hu())
            yield (pair.name, pair.patient, pair.image_path, image, *_labels(pair, folder))
    else:
        wanted = list(CLASS_FOLDERS).index(source.image_class or "normal")
        for one in read_class_folders(folder):
            if one.label == wanted and one.source.startswith(source.prefix):
                image = _normalised(one)
                yield one.name, one.patient, one.image_path, image, np.zeros_like(image), False


def _labels(pair: LabelledSlice, folder: Path) -> tuple[ByteArray, bool]:
    """Return the packed labels of a slice and whether they know the lung."""
    mask: ByteArray = pair.mask()
    path = folder / "lung_masks" / pair.mask_path.name
    refuse_absent([path])
    if not path.is_file():
        return mask, False
    lung = read_index_picture(path)
    return mask | np.where(lung > 0, LUNG_BIT, 0).astype(np.uint8), True


def _normalised(one: ClassifiedSlice) -> ByteArray:
    """Bring a picture without a grey-to-HU map to the network's window by its lung and tissue peaks."""
    grey = read_grey(one.image_path)
    low, high = estimate_hu_range(grey)
    return window_to_bytes(to_hu(grey, low=low, high=high))


def _chosen(recipe: Recipe, slices: list[PackedSlice]) -> list[PackedSlice]:
    """Return the slices without those that their source excludes; see `same_side`.

    Raises
    ------
    DataError
        If a held-out patient or an excluded slice does not exist.
    """
    for name, source in recipe.sources.items():
        mine = [one for one in slices if one.source == name]
        if missing := sorted(set(source.validation) - {one.patient for one in mine}):
            raise DataError(f"Held-out patients of {name} are not in the data: {', '.join(missing)}.")
        if missing := sorted(set(source.exclude) - {one.name for one in mine}):
            raise DataError(f"Excluded slices of {name} are not in the data: {', '.join(missing)}.")
    return same_side([one for one in slices if one.name not in recipe.sources[one.source].exclude])


def same_side(slices: Iterable[PackedSlice]) -> list[PackedSlice]:
    """Return the slices with a picture that is held out under one name held out under every name."""
    slices = list(slices)
    held = {one.picture for one in slices if one.validation} - {""}
    return [replace(one, validation=one.validation or one.picture in held) for one in slices]
