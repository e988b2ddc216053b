"""Equal pictures inside a set, and what two sets share that should not."""

from __future__ import annotations

from collections.abc import Iterable

from model_core.data.checking.facts import CheckedSet, Findings, SliceFacts


def find_duplicates(slices: Iterable[SliceFacts], findings: Findings) -> None:
    """Tell of pictures that stand in a set more than once."""
    by_digest: dict[str, list[SliceFacts]] = {}
    for one in slices:
        by_digest.setdefault(one.digest, []).append(one)
    for same in by_digest.values():
        if len(same) == 1:
            continue
        names = " = ".join(_name(one) for one in same)
        if len({one.label for one in same}) > 1:
            findings.add("error", "Equal pictures stand in different classes.", file=names)
        elif len({one.mask.digest if one.mask else "" for one in same}) > 1:
            findings.add("error", "Equal pictures have different masks.", file=names)
        else:
            findings.add("warning", "Pictures stand in the set more than once.", file=names)


def find_shared(checked: CheckedSet, other: CheckedSet, findings: Findings) -> None:
    """Tell of patients and pictures that two sets share (training against validation)."""
    action = f"Take them out of '{checked.name}' or '{other.name}'."
    patients, others = _patients(checked), _patients(other)
    for patient in sorted(set(patients) & set(others)):
        count = f"{patients[patient]} and {others[patient]} slices"
        findings.add("error", "Patients are in both sets.", action=action, file=f"{patient} ({count})")
    if not patients or not others:
        findings.add(
            "warning",
            "No patient is known, so that patients in both sets cannot be found.",
            action="Give index.tsv a column patient.",
        )
    elsewhere = {one.digest: one for one in other.slices}
    for one in checked.slices:
        if one.digest in elsewhere:
            names = f"{_name(one)} = {_name(elsewhere[one.digest])}"
            findings.add("error", "Pictures are in both sets.", action=action, file=names)


def _patients(checked: CheckedSet) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in checked.slices:
        if one.patient:
            counts[one.patient] = counts.get(one.patient, 0) + 1
    return counts


def _name(one: SliceFacts) -> str:
    return one.name if one.label < 0 else f"{one.name} (class {one.label})"
