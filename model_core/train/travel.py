"""The packed slices of a recipe as one small file, to train where the data folder is not.

Pictures are JPEG-LS with a bounded error (ISO 14495-1), labels exact. A slice keeps the hash it had in the
data folder, so that split lists of both agree.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from model_core.base.arrays import ByteArray
from model_core.base.errors import DataError, SettingsError
from model_core.base.files import atomic_path
from model_core.base.jobs import Progress
from model_core.train.packing import PackedSlice, as_slice, chosen
from model_core.train.recipe import Recipe

FORMAT = "ctmasknet packed slices 1"
LONGEST_SIDE = 512
# Grey steps of the network's window (5.9 HU) that a pixel may be off; the grey scales are known to 50 HU.
LARGEST_ERROR = 3
_INDEX = "index.json"


def write_packed(
    slices: Sequence[PackedSlice], path: Path, *, error: int = 1, longest: int = LONGEST_SIDE
) -> Generator[Progress | Path, None, None]:
    """Write the slices; yields `Progress` and, last, the path.

    Parameters
    ----------
    error:
        Grey steps a pixel may be off, 0 to 3.
    longest:
        Larger slices are made smaller to this many pixels on their longer side (pictures averaged, labels by
        nearest neighbour).

    Raises
    ------
    SettingsError
        If ``error`` is outside 0..3.
    ExportError
        If the file cannot be written.
    """
    import jpeg_ls  # type: ignore[import-untyped]

    if not 0 <= error <= LARGEST_ERROR:
        raise SettingsError(f"A pixel may be off by 0 to {LARGEST_ERROR} grey steps, not {error}.")
    rows = []
    with (
        atomic_path(path, overwrite=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file,
    ):
        for number, one in enumerate(slices):
            yield Progress(number, len(slices), one.source)
            image, labels = _smaller(one, longest)
            rows.append([one.source, one.name, one.patient, *image.shape, bool(one.has_lung), one.digest])
            coded = jpeg_ls.encode(np.ascontiguousarray(image), lossy_error=error)
            file.writestr(f"{number}.jls", coded.tobytes())
            file.writestr(f"{number}.labels", zlib.compress(labels.tobytes(), 9))
        file.writestr(_INDEX, json.dumps({"format": FORMAT, "slices": rows}))
    yield path


def read_packed(recipe: Recipe, path: Path) -> list[PackedSlice]:
    """Return the slices of the recipe's sources; other sources in the file are skipped.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another kind, or lacks a source, a held-out patient or an
        excluded slice of the recipe.
    """
    try:
        with zipfile.ZipFile(path) as file:
            index = json.loads(file.read(_INDEX))
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']!r}")
            found = [
                _read_one(file, recipe, number, row)
                for number, row in enumerate(index["slices"])
                if row[0] in recipe.sources
            ]
    except FileNotFoundError as error:
        raise DataError(f"There is no file '{path}'. `ctmasknet train pack` makes one.") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path.name} is damaged or no file of packed slices. `ctmasknet train pack` makes one.",
            details=str(error),
        ) from error
    if missing := sorted(set(recipe.sources) - {one.source for one in found}):
        raise DataError(
            f"{path.name} has no slices of {', '.join(missing)}: pack with this recipe, or switch the "
            "sources off (--without)."
        )
    return chosen(recipe, found)


def _read_one(file: zipfile.ZipFile, recipe: Recipe, number: int, row: list[object]) -> PackedSlice:
    import jpeg_ls

    source, name, patient, height, width, has_lung, digest = row
    shape = int(str(height)), int(str(width))
    coded = np.frombuffer(file.read(f"{number}.jls"), np.uint8)
    image: ByteArray = np.asarray(jpeg_ls.decode(coded), np.uint8)
    labels = np.frombuffer(zlib.decompress(file.read(f"{number}.labels")), np.uint8)
    if image.shape != shape or labels.size != image.size:
        raise ValueError(f"slice {number} has another size than its index says")
    return as_slice(
        recipe.sources[str(source)],
        image,
        labels.reshape(shape),
        name=str(name),
        source_name=str(source),
        patient=str(patient),
        has_lung=bool(has_lung),
        original=str(digest),
    )


def _smaller(one: PackedSlice, longest: int) -> tuple[ByteArray, ByteArray]:
    factor = longest / max(one.image.shape)
    if factor >= 1:
        return one.image, one.labels
    height, width = one.image.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = Image.fromarray(one.image).resize(size, Image.Resampling.BOX)
    labels = Image.fromarray(one.labels).resize(size, Image.Resampling.NEAREST)
    return np.asarray(image, np.uint8), np.asarray(labels, np.uint8)
