"""The case file ``.ctmn``: where a person left a case, as JSON that opens it again exactly.

It holds no pixels and nothing of the patient but, unless left out, the path of the series. It is written for
the user alone (mode 0600).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_core import DISCLAIMER, __version__
from model_core.base.asked import AskedAnswer, AskedRegion, Box
from model_core.base.documents import from_values
from model_core.base.errors import ReadError, SettingsError
from model_core.base.files import atomic_path
from model_core.base.settings import DetectionSettings, EvidenceEdit, EvidenceSettings
from model_core.base.volume import Unit, VoiFunction, Window
from model_core.scene import Overlays

SCHEMA_VERSION = 1
# Far above what a person can leave behind in one case.
_LARGEST_BYTES = 20_000_000

Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class CaseSeries:
    """Which series the case is of.

    Attributes
    ----------
    fingerprint:
        Of its voxels, see `base.volume.fingerprint`: what it is recognised by.
    series_id:
        As the reader named it; the same for the same files in the same place.
    size, unit, every:
        As in `Volume`: slices, rows and columns.
    path:
        What was opened; "" where that was left out.
    relative:
        The same from the folder of the case file, with forward slashes; "" where there is none.
    demo:
        Whether it is the program's own phantom.
    """

    fingerprint: str
    series_id: str
    size: tuple[int, int, int]
    unit: Unit
    every: int = 1
    path: str = ""
    relative: str = ""
    demo: bool = False


@dataclass(frozen=True, kw_only=True)
class CaseWeights:
    """One of the weights that ran: its name, SHA-256, and the file where it is none that is shipped."""

    name: str
    sha256: str
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class CaseAnswer:
    """One class of the answer to a box, without its mask; ``mask`` is the 28 x 28 logits row by row."""

    answer: AskedAnswer
    mask: tuple[float, ...] | None = None

    @classmethod
    def of(cls, answer: AskedAnswer) -> CaseAnswer:
        """Return an answer as the file holds it."""
        logits = answer.mask_logits
        mask = None if logits is None else tuple(map(float, logits.ravel()))
        return cls(answer=replace(answer, mask_logits=None), mask=mask)

    @property
    def whole(self) -> AskedAnswer:
        """The answer with its mask. Raises ValueError where that is none."""
        mask = None if self.mask is None else np.array(self.mask, np.float32).reshape(28, 28)
        return replace(self.answer, mask_logits=mask)


@dataclass(frozen=True, kw_only=True)
class CaseAsked:
    """A box that was asked about (`AskedRegion`)."""

    box: Box
    proposal: Box
    answers: tuple[CaseAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class CaseEdit:
    """What is edited of the evidence of a slice (`EvidenceEdit`); candidates as first and length."""

    slice_number: int
    excluded: Runs = ()
    only: Runs | None = None
    asked: tuple[CaseAsked, ...] = ()

    @classmethod
    def of(cls, index: int, edit: EvidenceEdit) -> CaseEdit:
        """Return the edit of a slice, counted from 0, as the file holds it."""
        return cls(
            slice_number=index + 1,
            excluded=as_runs(edit.excluded),
            only=None if edit.only is None else as_runs(edit.only),
            asked=tuple(
                CaseAsked(box=one.box, proposal=one.proposal, answers=tuple(map(CaseAnswer.of, one.answers)))
                for one in edit.asked
            ),
        )

    @property
    def edit(self) -> EvidenceEdit:
        """The edit of the slice. Raises `SettingsError` or ValueError where it is none."""
        return EvidenceEdit(
            excluded=from_runs(self.excluded),
            only=None if self.only is None else from_runs(self.only),
            asked=tuple(
                AskedRegion(
                    box=one.box, proposal=one.proposal, answers=tuple(answer.whole for answer in one.answers)
                )
                for one in self.asked
            ),
        )


@dataclass(frozen=True, kw_only=True)
class CaseClass:
    """The logits of module S for a slice, from the evidence that the weights define."""

    slice_number: int
    logits: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CaseKeyImage:
    """A slice that a person marked, and what they wrote to it."""

    slice_number: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """What was on screen; ``curve`` is that of the window, in hexadecimal."""

    slice_number: int
    width: float
    level: float
    name: str = ""
    function: VoiFunction = "LINEAR"
    curve: str = ""
    inverted: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False
    zoom: float | None = None
    pan: tuple[float, float] = (0.0, 0.0)
    overlays: Overlays
    selected: int | None = None

    @property
    def window(self) -> Window:
        """The window of the slice. Raises ValueError for a curve that is none."""
        return Window(self.width, self.level, self.name, self.function, bytes.fromhex(self.curve))


@dataclass(frozen=True, kw_only=True)
class CaseFile:
    """A case as it was left; slices count from 1, candidates from 0.

    Attributes
    ----------
    weights:
        Those that ran; none where nothing was loaded.
    weights_id:
        Of all that decides candidates and class; equal ids give equal numbers.
    nms_anew:
        As in `EvidenceEdit`, of every edit.
    analysed:
        The slices with results, as first and length.
    classes:
        What their classes were, so that a case opened elsewhere can be compared.
    """

    series: CaseSeries
    weights: tuple[CaseWeights, ...] = ()
    weights_id: str = ""
    detections: DetectionSettings
    evidence: EvidenceSettings
    linked: bool = False
    last_nms_iou: float = 0.75
    nms_anew: bool = False
    edits: tuple[CaseEdit, ...] = ()
    view: CaseView
    key_images: tuple[CaseKeyImage, ...] = ()
    analysed: Runs = ()
    classes: tuple[CaseClass, ...] = ()


def as_runs(numbers: Iterable[int]) -> Runs:
    """Return a set of whole numbers as runs: first and length of each."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][0] + runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return tuple((first, length) for first, length in runs)


def from_runs(runs: Runs, *, below: int = 1_000_000) -> frozenset[int]:
    """Return the numbers of runs.

    Raises
    ------
    SettingsError
        If a run is empty, or holds a number that is negative or not ``below``.
    """
    for first, length in runs:
        if first < 0 or length < 1 or first + length > below:
            raise SettingsError(f"The run of {length} from {first} does not lie in 0..{below - 1}.")
    return frozenset(number for first, length in runs for number in range(first, first + length))


def write_case(path: Path, case: CaseFile, *, overwrite: bool = False) -> None:
    """Write a case file, readable by its owner alone.

    Raises
    ------
    ExportError
        If it exists, or cannot be written.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "software": {"name": "ctmasknet", "version": __version__, "disclaimer": DISCLAIMER},
        "case": asdict(case),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.touch(mode=0o600)
        # A file name need not be text.
        temporary.write_text(text + "\n", "utf-8", "surrogateescape")


def read_case(path: Path) -> CaseFile:
    """Read a case file.

    Raises
    ------
    ReadError
        If it cannot be read, is none, is damaged or of a later version of the program.
    """
    name = f"'{path.name}'"
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ReadError(f"{name} is no case file: it is far too large for one.")
        document: Any = json.loads(path.read_text("utf-8", "surrogateescape"))
    except OSError as error:
        raise ReadError(
            f"{name} cannot be read: {error.strerror or 'the system gives no reason'}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{name} is no case file, or is damaged.", details=str(error)) from error
    if not isinstance(document, dict) or not isinstance(document.get("schema_version"), int):
        raise ReadError(f"{name} is no case file of this program.")
    if document["schema_version"] > SCHEMA_VERSION:
        raise ReadError(
            f"{name} was written by a later version of the program. Open it with that one, or a later one."
        )
    try:
        case = document.get("case")
        if isinstance(case, dict):
            case.pop("fast", None)  # of earlier versions: without the mirror image, which is always so now
        return _checked(from_values(CaseFile, case))
    except (SettingsError, ValueError) as error:
        text = error.message if isinstance(error, SettingsError) else str(error)
        raise ReadError(f"{name} is damaged: {text}.".replace("..", "."), details=text) from error


def _checked(case: CaseFile) -> CaseFile:
    """Return a case whose numbers lie where they can. Raises `SettingsError` or ValueError."""
    slices = case.series.size[0]
    numbers = [case.view.slice_number, *(e.slice_number for e in case.edits)]
    numbers += [one.slice_number for one in case.classes]
    numbers += [one.slice_number for one in case.key_images]
    if min(case.series.size) < 1 or case.series.every < 1:
        raise SettingsError(f"a series of {case.series.size} is none")
    if not all(1 <= number <= slices for number in numbers):
        raise SettingsError(f"it names a slice beyond the {slices} of its series")
    if case.view.width <= 0:
        raise SettingsError("the width of its window is not above 0")
    from_runs(case.analysed, below=slices + 1)
    for edit in case.edits:
        if not all(region.answers for region in edit.asked):
            raise SettingsError("a box that was asked about has no answer")
        assert edit.edit is not None
    assert case.view.window
    return case
