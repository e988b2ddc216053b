"""Tell patients and studies apart: a series is of one study of one patient (PS3.3 A.1.2), whatever its UID.

Programs that remove identities, and exporters, give two series one SeriesInstanceUID, or take it away. What
contradicts is kept apart; what a file does not say contradicts nothing.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from model_core.base.filenames import named
from model_core.base.volume import PatientText, Problem, ProblemCode
from model_core.read.dicom.records import Frame
from model_core.read.dicom.stack import mostly_even, on_one_grid

# What is compared, in this order; a person name has three representations (PS3.5 6.2.1.2).
_ATTRIBUTES = (
    "StudyInstanceUID",
    "StudyDate",
    "PatientID",
    "PatientName",
    "PatientName",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
)
_STUDY, _STUDY_DATE, _PATIENT = 0, 1, 2
# What programs write in place of a name that they removed.
_NOBODY = frozenset(
    ("anon", "anonym", "anonymous", "anonymized", "anonymised", "deidentified", "unknown", "none", "null")
)
_BETWEEN_WORDS = re.compile(r"[\s^,]+")

# The values of `_ATTRIBUTES` in a form in which trivial differences of spelling are gone; "" where unknown.
Identity = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Frames of one patient and study; ``label`` and ``mark`` are empty where there is one part.

    ``mark`` sets the part apart from its siblings, for a key that is hashed: it holds patient data.
    """

    frames: tuple[Frame, ...]
    label: str = ""
    mark: str = ""
    problems: tuple[Problem, ...] = ()


def identity_of(frame: Frame) -> Identity:
    """Return whose picture a frame is, and of which study."""
    return _identity(frame.header.study_uid, frame.header.patient)


@lru_cache(maxsize=256)
def _identity(study_uid: str, patient: PatientText) -> Identity:
    groups = (*patient.name.split("="), "", "", "")[:3]
    sex = patient.sex.upper()
    return (
        study_uid,
        _date(patient.study_date),
        " ".join(patient.patient_id.split()).casefold(),
        *map(_words, groups),
        _date(patient.birth_date),
        sex if sex in ("F", "M") else "",
    )


def _words(name: str) -> str:
    """Return a name without what is spelling only: case, carets, commas, spaces, ways to write an accent."""
    # Prefix and suffix, the last two of five parts, make nobody someone else.
    main_parts = "^".join(name.split("^")[:3])
    with contextlib.suppress(UnicodeError):
        # A slice that does not state its character set.
        main_parts = main_parts.encode("latin-1").decode("utf-8")
    plain = unicodedata.normalize("NFKC", main_parts).casefold()
    words = " ".join(filter(None, _BETWEEN_WORDS.split(plain)))
    return "" if words in _NOBODY or "\N{REPLACEMENT CHARACTER}" in words else words


def _date(text: str) -> str:
    digits = "".join(filter(str.isdecimal, text))
    return digits if len(digits) == 8 and digits.strip("0") else ""


def contradictions(identity: Identity, other: Identity) -> tuple[int, ...]:
    """Return the places of the attributes that both state and that differ."""
    pairs = zip(identity, other, strict=True)
    differing = [place for place, (mine, theirs) in enumerate(pairs) if mine and theirs and mine != theirs]
    if identity[_STUDY] and identity[_STUDY] == other[_STUDY] and _STUDY_DATE in differing:
        differing.remove(_STUDY_DATE)  # it may have gone on past midnight
    return tuple(differing)


def split_identities(frames: Sequence[Frame], *, what: str) -> list[Part]:
    """Split the frames of a series by patient and study.

    Parameters
    ----------
    what:
        What the frames have in common, for messages: "One SeriesInstanceUID", or else.

    Returns
    -------
    list of Part
        One where nothing contradicts. A frame that fits several patients alike is of neither.
    """
    of_identity: dict[Identity, list[Frame]] = {}
    for frame in frames:
        of_identity.setdefault(identity_of(frame), []).append(frame)
    if len(of_identity) == 1:
        return [Part(tuple(frames))]
    of_identity, told = _without_idle_studies(of_identity)
    clusters = _clusters(of_identity)
    if len(clusters) == 1:
        return [Part(tuple(frames), problems=told)]
    # In the order of the frames that were found.
    place = {id(frame): number for number, frame in enumerate(frames)}
    parts = [
        (cluster, sorted((f for key in cluster for f in of_identity[key]), key=lambda f: place[id(f)]))
        for cluster in clusters
    ]
    parts.sort(key=lambda part: (-len(part[1]), place[id(part[1][0])]))
    return _told(parts, what=what, told=told)


def _told(
    parts: Sequence[tuple[list[Identity], list[Frame]]], *, what: str, told: tuple[Problem, ...]
) -> list[Part]:
    differing = sorted(
        {
            place
            for number, (cluster, _) in enumerate(parts)
            for other, _ in parts[:number]
            for identity in cluster
            for contrary in other
            for place in contradictions(identity, contrary)
        }
    )
    kind = "patient" if any(place >= _PATIENT for place in differing) else "study"
    kinds = {"patient": "patients", "study": "studies"}[kind]
    code: ProblemCode = "mixed_patients" if kind == "patient" else "mixed_studies"
    names = ", ".join(dict.fromkeys(_ATTRIBUTES[place] for place in differing))
    text = f"{what} stands for images of {len(parts)} {kinds}: they differ in {names}."
    result = []
    for number, (cluster, members) in enumerate(parts, 1):
        label = f"{kind} {number} of {len(parts)}"
        other = parts[0 if number > 1 else 1][1][0]
        action = f"They are never mixed: split, and this is {label}."
        problem = Problem("warning", text, action, named((members[0].name, other.name)), code=code)
        result.append(Part(tuple(members), label, repr(max(cluster, key=_said)), (problem, *told)))
    return result


def _said(identity: Identity) -> int:
    return sum(map(bool, identity))


def _clusters(of_identity: dict[Identity, list[Frame]]) -> list[list[Identity]]:
    """Join identities that contradict nothing, those that say most first."""
    clusters: list[list[Identity]] = []
    for identity in sorted(of_identity, key=_said, reverse=True):
        fitting = [
            cluster for cluster in clusters if not any(contradictions(identity, other) for other in cluster)
        ]
        likely = fitting if len(fitting) < 2 else _most_alike(identity, fitting)
        if len(likely) == 1 and not _stack_of_its_own(identity, likely[0], of_identity):
            likely[0].append(identity)
        else:
            clusters.append([identity])
    return clusters


def _most_alike(identity: Identity, fitting: list[list[Identity]]) -> list[list[Identity]]:
    """Return the clusters that share most with an identity; none where no one shares anything."""
    shared = [max(_shared(identity, other) for other in cluster) for cluster in fitting]
    most = max(shared)
    return [cluster for cluster, count in zip(fitting, shared, strict=True) if count == most > 0]


def _shared(one: Identity, other: Identity) -> int:
    return sum(bool(value) and value == theirs for value, theirs in zip(one, other, strict=True))


def _stack_of_its_own(
    identity: Identity, cluster: list[Identity], of_identity: dict[Identity, list[Frame]]
) -> bool:
    """Whether frames share nothing with those that they do not contradict, and are a scan without them."""
    if any(_shared(identity, other) for other in cluster):
        return False
    mine, theirs = of_identity[identity], [frame for other in cluster for frame in of_identity[other]]
    return on_one_grid(mine) and on_one_grid(theirs)


def _without_idle_studies(
    of_identity: dict[Identity, list[Frame]],
) -> tuple[dict[Identity, list[Frame]], tuple[Problem, ...]]:
    """Disregard StudyInstanceUIDs where nearly every file has its own, but they make one even stack."""
    frames = [frame for members in of_identity.values() for frame in members]
    studies = {identity[_STUDY] for identity in of_identity} - {""}
    files = {frame.header.path for frame in frames}
    if len(studies) < 3 or 2 * len(studies) <= len(files) or not mostly_even(frames):
        return of_identity, ()
    merged: dict[Identity, list[Frame]] = {}
    for identity, members in of_identity.items():
        merged.setdefault(("", *identity[1:]), []).extend(members)
    text = f"The {len(frames)} images name {len(studies)} different studies (StudyInstanceUID)."
    action = "Their positions make one stack, so they are shown as one."
    names = named(frame.name for frame in frames)
    return merged, (Problem("warning", text, action, names, code="study_uid_per_slice"),)
