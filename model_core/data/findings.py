"""Problems of a data set: raised at once in training, collected where a set is checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from model_core.base.errors import DataError
from model_core.base.volume import Level, Problem, ProblemCode


class Findings:
    """Collects problems; those of one kind become one problem that names every file."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self._found: dict[tuple[Level, ProblemCode, str, str], list[str]] = {
            (problem.level, problem.code, problem.text, problem.action): list(problem.files)
            for problem in problems
        }

    def add(self, level: Level, code: ProblemCode, text: str, *, action: str = "", file: str = "") -> None:
        """Add a problem, or one more file of a known problem."""
        files = self._found.setdefault((level, code, text, action), [])
        if file:
            files.append(file)

    def problems(self) -> tuple[Problem, ...]:
        """Return the problems, errors first, else in the order they were found."""
        order = {"error": 0, "warning": 1, "info": 2}
        found = [
            Problem(level, text, action, tuple(files), code)
            for (level, code, text, action), files in self._found.items()
        ]
        return tuple(sorted(found, key=lambda problem: order[problem.level]))


def tell(
    report: Findings | None,
    error: DataError,
    code: ProblemCode,
    *,
    text: str = "",
    action: str = "",
    files: Iterable[str] = ("",),
) -> None:
    """Raise what is wrong with a data set, or add it to the report: as the error says it, or by file.

    Raises
    ------
    DataError
        The ``error``, where there is no report.
    """
    if report is None:
        raise error
    for file in files:
        report.add("error", code, text or error.message, action=action, file=file)


def shown(path: Path) -> str:
    """Return a file with its folder: names alone are the same for a picture and its mask."""
    return f"{path.parent.name}/{path.name}"
