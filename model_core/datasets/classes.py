"""Slices with one label each: a folder per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_core.datasets.pictures import hu_range, list_pictures, read_grey, read_index, to_hu
from model_core.errors import DataError
from model_core.types import FloatArray

# Class folders and the name each class is shown by; the order is the order of the image logits.
CLASS_FOLDERS = {"normal": "Control", "other": "Other (non-COVID)", "covid": "COVID-19"}


@dataclass(frozen=True)
class ClassifiedSlice:
    """One picture and its class.

    Attributes
    ----------
    label:
        Index into the image classes.
    source:
        Where it comes from (the index table's ``source``, else the file name up to its number). Classes
        are comparable inside one source only.
    patient:
        Group of slices that belong together; where nothing is said, one for each picture (``class/stem``).
    low_hu, high_hu, hu_stated:
        Approximate HU at grey 0 and at grey 255, and whether the data set says so.
    """

    name: str
    label: int
    source: str
    patient: str
    image_path: Path
    low_hu: float
    high_hu: float
    hu_stated: bool = False

    def image_hu(self) -> FloatArray:
        """Read the picture as (H, W) approximate HU.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        return to_hu(read_grey(self.image_path), low=self.low_hu, high=self.high_hu)


def read_class_folders(folder: Path) -> list[ClassifiedSlice]:
    """List the pictures of ``normal/``, ``other/`` and ``covid/``; a class folder may be absent.

    Raises
    ------
    DataError
        If there is no picture in any of them.
    """
    index = read_index_of_classes(folder)
    found = []
    for label, name in enumerate(CLASS_FOLDERS):
        if not (folder / name).is_dir():
            continue
        for stem, path in list_pictures(folder / name).items():
            row = index.get(f"{name}/{stem}", {})
            low, high, stated = hu_range(row, name=stem)
            source = row.get("source") or stem.rstrip("0123456789").rstrip("_-")
            patient = row.get("patient") or f"{name}/{stem}"
            found.append(ClassifiedSlice(stem, label, source, patient, path, low, high, stated))
    if not found:
        raise DataError(f"'{folder.name}' holds no picture in a class folder ({', '.join(CLASS_FOLDERS)}).")
    return found


def read_index_of_classes(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ``index.tsv`` by ``class/stem``."""
    return read_index(folder / "index.tsv")
