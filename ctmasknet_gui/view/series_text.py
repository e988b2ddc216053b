"""What the list of series says of patients, studies and series, and of what was noticed while reading."""

from __future__ import annotations

from collections.abc import Sequence

from ctmasknet_gui.state import AppState
from model_core.base.volume import Catalogue, PatientText, Problem, SeriesEntry, readable_name
from model_core.scene.corners import readable_date

NO_STUDY = "Study not stated"
_STATUS_RANK = {"error": 2, "warning": 1, "info": 0}


def patient_text(patient: PatientText) -> str:
    """Return whom a series is of: name, number and date of birth, as far as known."""
    born = f"born {readable_date(patient.birth_date)}" if patient.birth_date else ""
    parts = (readable_name(patient.name), patient.patient_id, born)
    return " · ".join(filter(None, parts)) or "Patient not stated"


def study_text(patient: PatientText) -> str:
    """Return of which study a series is: date and description, as far as known."""
    words = " ".join(patient.study_description.replace("^", " ").split())
    if words.casefold() in ("none", "null"):  # what some programs write for nothing
        words = ""
    return " · ".join(filter(None, (readable_date(patient.study_date), words))) or NO_STUDY


def grouped(series: Sequence[SeriesEntry]) -> list[list[list[SeriesEntry]]]:
    """Return series by patient, and each patient's by study, in the order in which they first come."""
    patients: dict[str, dict[str, list[SeriesEntry]]] = {}
    for entry in series:
        studies = patients.setdefault(patient_text(entry.patient), {})
        studies.setdefault(study_text(entry.patient), []).append(entry)
    return [list(studies.values()) for studies in patients.values()]


def describe_size(entry: SeriesEntry, slices: int | None = None) -> str:
    """Return for example ``148 × 512², CT``; ``slices`` are those that could be read, where that is known."""
    depth, height, width = entry.size
    depth = depth if slices is None else slices
    plane = f"{height}²" if height == width else f"{width}×{height}"
    return f"{depth} × {plane}, {entry.modality or 'image'}"


def describe_status(entry: SeriesEntry) -> str:
    """Return the worst problem in words, or that there is none."""
    if not entry.problems:
        return "complete"
    return max(entry.problems, key=lambda problem: _STATUS_RANK[problem.level]).text


def count_problems(entry: SeriesEntry) -> str:
    """Return how many problems of the worst level there are: what fits where `describe_status` does not."""
    worst = max((problem.level for problem in entry.problems), key=_STATUS_RANK.__getitem__, default="info")
    count = sum(problem.level == worst for problem in entry.problems)
    noun = {"error": "error", "warning": "warning", "info": "note"}[worst]
    return f"{count} {noun}{'s' * (count != 1)}"


def describe_problem(problem: Problem) -> str:
    """Return a problem and what was done about it."""
    return f"{problem.text} {problem.action}".strip()


def problems_shown(state: AppState) -> list[Problem]:
    """Problems of the open volume, else of its entry; then files of the catalogue that cannot be read."""
    case = state.case
    found: list[Problem] = []
    if case.volume is not None:
        found += case.volume.problems
    elif case.catalogue is not None:
        for entry in case.catalogue.series:
            found += entry.problems
    if case.catalogue is not None:
        found += _unreadable(case.catalogue)
    return list(dict.fromkeys(found))


def _unreadable(catalogue: Catalogue) -> list[Problem]:
    reasons: dict[str, list[str]] = {}
    for report in catalogue.files:
        if report.status == "error":
            name = report.path.replace("\\", "/").rsplit("/", 1)[-1]
            reasons.setdefault(report.reason or "not readable", []).append(name)
    return [
        Problem(
            "error",
            f"{len(names)} file{'s' * (len(names) > 1)}: {reason}",
            files=tuple(names),
            code="unreadable_files",
        )
        for reason, names in reasons.items()
    ]
