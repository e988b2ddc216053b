"""Class sets of any known layout: class folders, COVIDx-CT and iCTCF as in the papers (spec §1.2, §1.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_core.base.errors import DataError
from model_core.data.classes import (
    CLASS_FOLDERS,
    COVIDX,
    ClassifiedSlice,
    list_class_folders,
    source_of,
)
from model_core.data.findings import Findings, tell
from model_core.data.layouts import group_pictures, is_folder, one_each, picture_folder
from model_core.data.lists import data_and_list, read_listed
from model_core.data.pictures import hu_range, read_index, refuse_absent

# The classes of COVIDx-CT. Its class 1 is common pneumonia proper; class folders hold any other disease.
PAPER_CLASSES = ("Control", "Common Pneumonia", "COVID-19")
ICTCF = "iCTCF"

_WORDS = {"Normal": 0, "CP": 1, "NCP": 2}
_COVIDX_NAME = re.compile(r"([012]|Normal|CP|NCP)_([^_]+)_(.+)")
_ICTCF_NAME = re.compile(r"(?:([02])_)?([np])CT(\d+)")
_INDEX_CLASSES = {name: label for label, name in enumerate(CLASS_FOLDERS)} | {"0": 0, "1": 1, "2": 2}

EXPECTED_CLASSES = (
    f"class folders ({', '.join(CLASS_FOLDERS)}), pictures with an index.tsv that has a column class, names "
    "class_patient_scan_slice (COVIDx-CT; class 0, 1, 2 or Normal, CP, NCP), names 2_pCT<id> and 0_nCT<id> "
    "(iCTCF), or a split list that gives each picture its class"
)


class UnknownClassError(DataError):
    """Neither name, list nor index says the class of a picture."""


@dataclass(frozen=True)
class _ClassOfSlice:
    """What name, list and index say of one picture."""

    label: int
    patient: str
    source: str


def read_classes(folder: Path, *, list_file: Path | None = None) -> list[ClassifiedSlice]:
    """List the slices of a class set by name, whatever known layout it has.

    Parameters
    ----------
    folder:
        Class folders (see `classes.read_class_folders`); or pictures, in the folder itself or in
        ``images/``, ``imgs/`` or ``2A_images/``, whose class is in their name, in ``index.tsv`` or in the
        list. Or a split list inside such a folder.
    list_file:
        Split list of the released code (names) or of COVIDx-CT (name, class, box); only the slices it
        names are returned. The box is not used: the papers do not crop.

    Returns
    -------
    list of ClassifiedSlice
        Labels 0 control, 1 common pneumonia or other, 2 COVID-19; `class_names` gives the words. iCTCF has
        0 and 2 only. Its names carry no patient, so there each slice is a patient of its own.

    Raises
    ------
    DataError
        If the layout is none of these, a class is unknown or contradicts itself, a listed picture is missing,
        or the content of a file is not here.
    """
    folder, list_file = data_and_list(folder, list_file)
    found = list_classes(folder, list_file=list_file)
    refuse_absent(one.image_path for one in found)
    return found


def list_classes(
    folder: Path, *, list_file: Path | None = None, report: Findings | None = None
) -> list[ClassifiedSlice]:
    """As `read_classes`, but files whose content is not here are listed, and faults may be reported.

    Raises
    ------
    DataError
        See there; what is no class set at all is never reported.
    """
    if has_class_folders(folder):
        return list_class_folders(folder, list_file=list_file, report=report)
    groups = group_pictures(picture_folder(folder), nested=False)
    if not groups:
        error = DataError(f"'{folder.name}' holds no png or jpg picture: expected {EXPECTED_CLASSES}.")
        tell(report, error, "no_picture", text="There is no png or jpg picture.")
    known = {numbered(name) for name in groups}
    listed = read_listed(list_file, known, named=numbered, report=report)
    if listed is not None:
        groups = {name: paths for name, paths in groups.items() if numbered(name) in listed}
    index = read_index(folder / "index.tsv", report=report)
    found = []
    for name, path in one_each(groups, report=report).items():
        label = None if listed is None else listed.get(numbered(name))
        try:
            row = index.get(name, {})
            about = _class_of(name, listed_label=label, row=row)
            low, high, stated = hu_range(row, name=name)
        except UnknownClassError as error:
            text, action = "The class of pictures is unknown.", f"Expected {EXPECTED_CLASSES}."
            tell(report, error, "unknown_class", text=text, action=action, files=[name])
        except DataError as error:
            text = "The class of pictures or their grey-to-HU map is wrong."
            tell(report, error, "wrong_class", text=text, files=[error.message])
        else:
            where = path, low, high, stated
            found.append(ClassifiedSlice(name, about.label, about.source, about.patient, *where))
    return found


def numbered(name: str) -> str:
    """Return a COVIDx-CT name with its class as a number (``NCP_96_1328_0035``: ``2_96_1328_0035``).

    The set is distributed with words; the released code renamed its files and lists them by numbers.
    """
    word, _, rest = name.partition("_")
    return f"{_WORDS[word]}_{rest}" if word in _WORDS else name


def has_class_folders(folder: Path) -> bool:
    """Say whether a folder is sorted by class (``normal/``, ``other/``, ``covid/``; not all are needed).

    Raises
    ------
    DataError
        If one of these is a link that leads nowhere.
    """
    return any(is_folder(folder / name) for name in CLASS_FOLDERS)


def class_names(slices: Iterable[ClassifiedSlice]) -> tuple[str, ...]:
    """Return the names of the classes 0, 1, 2 in a set of slices.

    Class 1 is "Common Pneumonia" where all its slices (or, without any, all slices) are from COVIDx-CT.
    """
    slices = tuple(slices)
    telling = [one for one in slices if one.label == 1] or slices
    if telling and all(one.source == COVIDX for one in telling):
        return PAPER_CLASSES
    return tuple(CLASS_FOLDERS.values())


def _class_of(name: str, *, listed_label: int | None, row: Mapping[str, str]) -> _ClassOfSlice:
    """Return class, patient and source of a picture from its name, its list and its index row."""
    named = _by_name(name)
    said = {"name": named.label if named else None, "list": listed_label, "index.tsv": _by_index(name, row)}
    labels = {where: label for where, label in said.items() if label is not None}
    if not labels:
        raise UnknownClassError(f"The class of '{name}' is unknown: expected {EXPECTED_CLASSES}.")
    if len(set(labels.values())) > 1:
        text = ", ".join(f"{label} by its {where}" for where, label in labels.items())
        raise DataError(f"The class of '{name}' contradicts itself: {text}.")
    label = next(iter(labels.values()))
    patient = row.get("patient") or (named.patient if named else _without_slice(name))
    source = row.get("source") or (named.source if named else source_of(name, row))
    return _ClassOfSlice(label, patient, source)


def _by_name(name: str) -> _ClassOfSlice | None:
    if match := _ICTCF_NAME.fullmatch(name):
        label = 2 if match[2] == "p" else 0
        if match[1] is not None and int(match[1]) != label:
            raise DataError(
                f"The class of '{name}' contradicts itself: pCT is 2 (COVID-19), nCT is 0 (negative)."
            )
        return _ClassOfSlice(label, name, ICTCF)
    if match := _COVIDX_NAME.fullmatch(name):
        label = _WORDS[match[1]] if match[1] in _WORDS else int(match[1])
        return _ClassOfSlice(label, f"{label}_{match[2]}", COVIDX)
    return None


def _by_index(name: str, row: Mapping[str, str]) -> int | None:
    text = row.get("class", "").strip().lower()
    if not text:
        return None
    if text not in _INDEX_CLASSES:
        raise DataError(
            f"The class of '{name}' in index.tsv is '{text}'; use {', '.join(CLASS_FOLDERS)} or 0, 1, 2."
        )
    return _INDEX_CLASSES[text]


def _without_slice(name: str) -> str:
    """Return a name without the number at its end, which is all that tells slices of one scan apart."""
    return re.sub(r"[-_][A-Za-z]*\d+$", "", name) or name
