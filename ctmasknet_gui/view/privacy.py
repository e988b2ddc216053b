"""Takes names of files and folders out of what the window says: they may hold a patient's name."""

from __future__ import annotations

import re

from ctmasknet_gui.state import AppState

A_FILE = "a file"
A_FOLDER = "the folder"
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
    "an?|and|as|at|be|but|by|can|cases?|check|ct|data|dicom|disk|exports?|files?|folder|for|from|has|have|head|"
    "home|images?|in|info|is|it|lung|masks?|no|not|nothing|of|on|one|only|opened|open|or|out|path|pictures?|"
    "results|series|slices?|table|test|that|the|this|to|volume|with",
    re.IGNORECASE,
)
# A number this short identifies nobody, and counts in sentences look like it.
_HARMLESS = re.compile(r"\d{1,4}")


def shown_text(text: str, state: AppState) -> str:
    """Return a text as the window may show it: unchanged, but for privacy mode.

    There a file of the open catalogue is called by its place, "file 12 of 148", any other one "a file"; a
    folder "the folder".
    """
    if not text or not state.display.privacy:
        return text
    for name, place in _places(state):
        if name in text:
            # A frame of the file is named behind it; a longer name that merely holds this one is left.
            text = re.sub(rf"(?<![\w.^-]){re.escape(name)}(?![\w^-])", place, text)
    return _FILES.sub(A_FILE, _PATHS.sub(A_FILE, text))


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
