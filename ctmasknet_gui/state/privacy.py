"""Takes patients, and names of files and folders that may be theirs, out of what the window says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from ctmasknet_gui.state import AppState
from model_core.base.volume import PatientText

A_FILE = "a file"
A_FOLDER = "the folder"
_PLACE = re.compile(rf"{A_FILE}\b|{A_FOLDER}\b|file \d+ of \d+")
_QUOTED = re.compile(rf"'({_PLACE.pattern})'")
# Absolute paths of any system, to the end of the sentence or quotation.
_PATHS = re.compile(r"(?:[A-Za-z]:\\|\\\\|(?<![\w.>])/)[^\n'\"<>|:,;]*")
# Files that no catalogue lists: masks, exports, weights. Capitalised words before the name may belong to it.
_FILES = re.compile(
    r"(?:[^\W\d_][\w^-]*[ ^])?[^\s'\"<>|:;,()]+"
    r"\.(?:dcm|ima|nii|gz|nrrd|nhdr|mha|mhd|png|jpe?g|svg|csv|json|zip|safetensors|pth?|bin|dicom)\b(?:#\d+)?",
    re.IGNORECASE,
)
# Folders are called so, and sentences use these words.
_WORDS = re.compile(
    "an?|and|are|as|at|be|but|by|can|cases?|check|ct|data|dicom|disk|exports?|files?|folder|for|from|has|have|"
    "head|home|images?|in|info|is|it|lesions?|lung|masks?|no|not|nothing|of|on|one|only|opened|open|or|out|path|"
    "pictures?|plots?|regions?|results|series|slices?|table|test|that|the|this|to|volume|with|written",
    re.IGNORECASE,
)
# Written in place of whatever identifies a patient.
HIDDEN = "…"
# Between the parts of a name, as files and programs write it.
_BETWEEN = r"[\s^=,_.-]"
# Parts of names that programs invent, and words of this program's sentences.
_NOBODY = re.compile("anon(?:ym\\w*)?|dicom|name|no|none|null|patient|phantom|test|unknown", re.IGNORECASE)
# A number this short identifies nobody, and counts in sentences look like it.
_HARMLESS = re.compile(r"\d{1,4}")


def shown_text(text: str, state: AppState) -> str:
    """Return a text as the window may show it: unchanged, but for privacy mode.

    There a file of the open catalogue is called by its place, "file 12 of 148", any other one "a file"; a
    folder "the folder"; and what identifies a patient is left out.
    """
    if not text or not state.display.privacy:
        return text
    for name, place in _places(state):
        if name in text:
            # A frame of the file is named behind it; a longer name that merely holds this one is left.
            text = re.sub(rf"(?<![\w.^-]){re.escape(name)}(?![\w^-])", place, text)
    text = _FILES.sub(A_FILE, _PATHS.sub(A_FILE, text))
    # Names stand in quotes; what stands in their place is none.
    text = _QUOTED.sub(r"\1", text)
    if _PLACE.match(text):
        text = text[0].upper() + text[1:]
    return without_patients(text, state)


def without_patients(text: str, state: AppState) -> str:
    """Return a text without the names, numbers and dates of the patients of the open catalogue.

    Names go in every form: with carets, as people read them, the other way round, and each part of more than
    two letters alone.
    """
    case = state.case
    patients = {entry.patient for entry in case.catalogue.series} if case.catalogue is not None else set()
    if case.volume is not None:
        patients.add(case.volume.patient)
    pattern = _identifying(frozenset(patients))
    return text if pattern is None else pattern.sub(HIDDEN, text)


@lru_cache(maxsize=8)
def _identifying(patients: frozenset[PatientText]) -> re.Pattern[str] | None:
    """Return what matches everything that identifies these patients, the longest first; None for nothing."""
    forms: dict[str, int] = {}
    for patient in patients:
        for text in (patient.patient_id, patient.institution):
            # A short one may be a part of any other word or number.
            alone = ("", "") if len(text) > 4 else (r"(?<![^\W_])", r"(?![^\W_])")
            if len(text) > 2:
                forms[f"{alone[0]}(?i:{re.escape(text)}){alone[1]}"] = len(text)
        for date in (patient.birth_date, patient.study_date):
            if len(date) > 2:
                forms[_pattern_of_date(date)] = len(date)
        for group in patient.name.split("="):
            forms |= _forms_of_name(group)
    longest_first = sorted(forms, key=lambda form: -forms[form])
    return re.compile("|".join(f"(?:{form})" for form in longest_first)) if forms else None


def _pattern_of_date(date: str) -> str:
    """Return what matches a DICOM date (YYYYMMDD) as programs and people write it."""
    if not re.fullmatch(r"\d{8}", date):
        return re.escape(date)
    year, month, day = date[:4], date[4:6], date[6:]
    either = "|".join("[-./]".join(order) for order in ((day, month, year), (month, day, year)))
    return rf"(?<!\d)(?:{year}[-./]?{month}[-./]?{day}|{either})(?!\d)"


def _forms_of_name(group: str) -> dict[str, int]:
    """Return patterns of one representation of a person name (PS3.5 6.2.1.2), and how long each is."""
    parts = [" ".join(part.split()) for part in group.split("^")]
    words = list(filter(None, parts))
    family, given = parts[0], list(filter(None, parts[1:3]))
    forms: dict[str, int] = {}
    first = given[:1]
    for order in (words, [family, *given], [family, *first], [*given, family], [*first, family]):
        told = list(filter(None, order))
        if len(told) > 1:
            forms[_pattern(told)] = sum(map(len, told))
    if len(words) == 1 and len(words[0]) > 1:
        forms[_pattern(words)] = len(words[0])
    for word in {*words, *re.split(r"[\s-]+", " ".join(words))}:
        if not _NOBODY.fullmatch(word) and len(word) > (1 if _is_dense(word) else 2):
            # Names that are words of sentences, such as Head or Case, go as they are written in the record.
            forms[_pattern([word], exact=_WORDS.fullmatch(word) is not None)] = len(word)
    return forms


def _is_dense(word: str) -> bool:
    """Whether a word is of a script that needs few signs for a name and no spaces between words."""
    return any(unicodedata.east_asian_width(sign) in "WF" for sign in word)


def _pattern(words: Iterable[str], *, exact: bool = False) -> str:
    """Return what matches words one after another, in composed and decomposed spelling."""
    told = list(words)
    spelled = []
    for form in ("NFC", "NFD"):
        plain = [re.escape(unicodedata.normalize(form, word)).replace(r"\ ", f"{_BETWEEN}+") for word in told]
        spelled.append(f"{_BETWEEN}*".join(plain))
    either = "|".join(dict.fromkeys(spelled))
    letters = "" if any(map(_is_dense, told)) else r"[^\W\d_]"
    before, after = (f"(?<!{letters})", f"(?!{letters})") if letters else ("", "")
    return f"{before}(?{'' if exact else 'i'}:{either}){after}"


def _places(state: AppState) -> list[tuple[str, str]]:
    """Return what to replace by what, the longest names first."""
    case = state.case
    named = _named(state)
    if case.catalogue is None and case.volume is None:
        return _longest_first(named)
    paths: dict[str, None] = {}
    root = ""
    if case.catalogue is not None:
        root = case.catalogue.root
        paths |= dict.fromkeys(report.path for report in case.catalogue.files)
        paths |= dict.fromkeys(path for entry in case.catalogue.series for path in entry.files)
    if case.volume is not None and not paths:
        paths |= dict.fromkeys(name.split("#")[0] for name in case.volume.slice_names)
    places: dict[str, str] = {}
    folders = set()
    for number, path in enumerate(paths, 1):
        parts = [part for part in path.replace("\\", "/").split("/") if part]
        place = f"file {number} of {len(paths)}"
        places[path] = place
        if parts:
            places.setdefault(parts[-1], place)
            folders.update(parts[:-1])
    folders.update(part for part in root.replace("\\", "/").split("/") if part)
    for folder in filter(_tells, folders):
        places.setdefault(folder, A_FOLDER)
    if "/" in root or "\\" in root:
        places.setdefault(root, A_FOLDER)
    return _longest_first({**named, **places})


def _named(state: AppState) -> dict[str, str]:
    """Return what to call the files and folders that the user named."""
    places: dict[str, str] = {}
    for path in state.messages.paths:
        *folders, name = [part for part in path.replace("\\", "/").split("/") if part] or [""]
        for folder in filter(_tells, folders):
            places.setdefault(folder, A_FOLDER)
        if not _WORDS.fullmatch(name):
            is_file = re.search(r"\.\w{1,11}$", name) is not None
            places[name] = A_FILE if is_file else A_FOLDER
    return places


def _tells(folder: str) -> bool:
    """Whether a folder on the way may name a patient: short words, such as "data", stand in sentences too."""
    return len(folder) > 4 and not folder.islower()


def _longest_first(places: dict[str, str]) -> list[tuple[str, str]]:
    told = [(name, place) for name, place in places.items() if name and not _HARMLESS.fullmatch(name)]
    return sorted(told, key=lambda item: -len(item[0]))
