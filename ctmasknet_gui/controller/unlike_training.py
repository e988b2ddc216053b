"""Says where the networks are run on something other than what they were trained on."""

from __future__ import annotations

from model_core.base.volume import SeriesEntry, Volume


def is_localizer(entry: SeriesEntry | None) -> bool:
    """Whether a scan recognised a series as an overview image (DICOM C.7.6.1.1.2, image type LOCALIZER)."""
    return entry is not None and any(problem.code == "localizer" for problem in entry.problems)


def unlike_training(volume: Volume, entry: SeriesEntry | None = None) -> str:
    """Return a warning for a series that is not axial chest CT, as far as its files tell; else "".

    Pictures and other files that name neither modality nor plane are taken as they are.
    """
    if volume.modality not in ("", "CT"):
        what = f"{volume.modality} series"
    elif is_localizer(entry):
        what = "localizer"
    elif volume.plane in ("coronal", "sagittal", "oblique"):
        what = f"{volume.plane} series"
    else:
        return ""
    return f"The networks were trained on axial chest CT; results on this {what} mean nothing reliable."
