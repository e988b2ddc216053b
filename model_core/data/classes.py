"""Slices with one label each: a folder per class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_core.base.arrays import FloatArray
from model_core.base.errors import DataError
from model_core.data.layouts import is_folder
from model_core.data.pictures import (
    hu_range,
    list_pictures,
    read_grey,
    read_index,
    refuse_absent,
    to_hu,
)

# Class folders and the name each class is shown by; the order is the order of the image logits.
CLASS_FOLDERS = {"normal": "Control", "other": "Other (non-COVID)", "covid": "COVID-19"}
COVIDX = "COVIDx-CT"
NOT_STATED = "not stated"

# As COVIDx-CT distributes its pictures: class, patient, scan, slice.
_COVIDX_FILE = re.compile(r"(?:Normal|CP|NCP)_\d+_\d+_\d+")
# What tells the pictures of a source apart: a UUID, eight or more hexadecimal digits, a part with a number,
# or a number at the end.
_SERIAL = re.compile(
    r"(?:[-_. ]+(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|[^-_. ]*\d[^-_. ]*)|\d+)$",
    re.IGNORECASE,
)
# A name that says the class says no source.
_CLASS_WORDS = {*CLASS_FOLDERS, "control", "healthy", "cp", "ncp", "cap", "pneumonia", "covid19", "covid-19"}


@dataclass(frozen=True)
class ClassifiedSlice:
    """One picture and its class.

    Attributes
    ----------
    label:
        Index into the image classes.
    source:
        Where it comes from, see `source_of`. Classes are comparable inside one source only.
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


def source_of(name: str, row: Mapping[str, str]) -> str:
    """Return where a picture comes from: its index row's ``source``, else what its name says before a number.

    ``ho_healthy_00488cdf`` is of "ho_healthy", ``soares_017`` of "soares"; a name that is a number or word
    alone, or says the class, is of "not stated". Pictures named as in COVIDx-CT are of that set.
    """
    if stated := row.get("source"):
        return stated
    if _COVIDX_FILE.fullmatch(name):
        return COVIDX
    serial = _SERIAL.search(name)
    source = name[: serial.start()].rstrip("-_. ") if serial else ""
    telling = any(letter.isalpha() for letter in source) and source.casefold() not in _CLASS_WORDS
    return source if telling else NOT_STATED


def folder_slice(class_folder: str, stem: str, path: Path, row: Mapping[str, str]) -> ClassifiedSlice:
    """Return a picture of a class folder.

    Raises
    ------
    DataError
        If the grey-to-HU map of its index row is not one.
    """
    low, high, stated = hu_range(row, name=stem)
    label = list(CLASS_FOLDERS).index(class_folder)
    patient = row.get("patient") or f"{class_folder}/{stem}"
    return ClassifiedSlice(stem, label, source_of(stem, row), patient, path, low, high, stated)


def read_class_folders(folder: Path) -> list[ClassifiedSlice]:
    """List the pictures of ``normal/``, ``other/`` and ``covid/``; a class folder may be absent.

    Raises
    ------
    DataError
        If there is no picture in any of them, or the content of a file is not here.
    """
    found = list_class_folders(folder)
    refuse_absent(one.image_path for one in found)
    return found


def list_class_folders(folder: Path) -> list[ClassifiedSlice]:
    """As `read_class_folders`, but files whose content is not here are listed.

    Raises
    ------
    DataError
        See there.
    """
    index = read_index_of_classes(folder)
    found = [
        folder_slice(name, stem, path, index.get(f"{name}/{stem}", {}))
        for name in CLASS_FOLDERS
        if is_folder(folder / name)
        for stem, path in list_pictures(folder / name).items()
    ]
    if not found:
        raise DataError(f"'{folder.name}' holds no picture in a class folder ({', '.join(CLASS_FOLDERS)}).")
    return found


def read_index_of_classes(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ``index.tsv`` by ``class/stem``."""
    return read_index(folder / "index.tsv")
