"""Slices with one label each: a folder per class."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_core.base.errors import DataError
from model_core.data.findings import Findings, tell
from model_core.data.layouts import is_folder, list_pictures
from model_core.data.lists import read_listed
from model_core.data.pictures import (
    GreyPicture,
    hu_range,
    read_index,
    refuse_absent,
    tell_stray_rows,
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
class ClassifiedSlice(GreyPicture):
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


def list_class_folders(
    folder: Path, *, list_file: Path | None = None, report: Findings | None = None
) -> list[ClassifiedSlice]:
    """As `read_class_folders`, those of a list, but without their content; faults may be reported.

    Raises
    ------
    DataError
        See there; or if a name of the list is not there, lies in several classes, stands twice, or
        contradicts the list's class.
    """
    index = read_index(folder / "index.tsv", report=report)
    pictures = {
        (name, stem): path
        for name in CLASS_FOLDERS
        if is_folder(folder / name)
        for stem, path in list_pictures(folder / name, report=report).items()
    }
    if report is not None:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and inner.name not in CLASS_FOLDERS:
                report.add("warning", "no_class", "Folders that are no class are not read.", file=inner.name)
    elif not pictures:
        raise DataError(f"'{folder.name}' holds no picture in a class folder ({', '.join(CLASS_FOLDERS)}).")
    tell_stray_rows(sorted(index), {f"{name}/{stem}" for name, stem in pictures}, report=report)
    listed = _listed(pictures, list_file, report)
    found = []
    for name, stem in pictures if listed is None else (key for key in pictures if key in listed):
        row, path = index.get(f"{name}/{stem}", {}), pictures[name, stem]
        try:
            low, high, stated = hu_range(row, name=stem)
        except DataError as error:
            tell(report, error, "grey_map")
            continue
        label, patient = list(CLASS_FOLDERS).index(name), row.get("patient") or f"{name}/{stem}"
        source = source_of(stem, row)
        found.append(ClassifiedSlice(stem, label, source, patient, path, low, high, stated))
    return found


def _listed(
    pictures: Collection[tuple[str, str]], list_file: Path | None, report: Findings | None
) -> set[tuple[str, str]] | None:
    """Return the pictures, class folder and stem, that a list names: by ``class/name``, or by name alone."""
    meant: dict[str, list[tuple[str, str]]] = {}
    for name, stem in pictures:
        meant.setdefault(stem, []).append((name, stem))
        meant[f"{name}/{stem}"] = [(name, stem)]
    listed = read_listed(list_file, meant, folders=CLASS_FOLDERS, report=report)
    if listed is None:
        return None
    assert list_file is not None
    kept: set[tuple[str, str]] = set()
    for text, label in listed.items():
        name, stem = meant[text][0]
        number = list(CLASS_FOLDERS).index(name)
        if len(meant[text]) > 1:
            where = " and ".join(other for other, _ in meant[text])
            says = f"names '{text}', which lies in {where}: write the folder before the name ({name}/{text})."
            tell(report, DataError(f"{list_file.name} {says}"), "ambiguous_name")
        elif label not in (None, number):
            says = f"lies in the folder of class {number}, but {list_file.name} gives it class {label}."
            tell(report, DataError(f"'{stem}' {says}"), "wrong_class")
        elif (name, stem) in kept:
            tell(report, DataError(f"The list {list_file.name} names '{stem}' twice."), "split_list")
        kept.update(meant[text])
    return kept
