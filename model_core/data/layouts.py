"""Where a data set keeps its pictures and masks: our own layout and those of the papers' data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_core.base.errors import DataError
from model_core.base.filenames import absent, plain_name
from model_core.data.findings import Findings, shown, tell
from model_core.data.pictures import SUFFIXES, refuse_absent

# Folder names: ours, those of the released code (imgs, masks), those of the CNCB archive (image, mask).
_IMAGE_FOLDERS = ("images", "imgs", "image")
_MASK_FOLDERS = ("masks", "mask")
# COVIDx-CT is distributed with its pictures in 2A_images.
_PICTURE_FOLDERS = (*_IMAGE_FOLDERS, "2A_images", "3A_images")


@dataclass(frozen=True)
class MaskLayout:
    """Folders of a segmentation set.

    Attributes
    ----------
    complete:
        Whether every picture needs a mask (``images/`` and ``masks/``). In the papers' layouts a picture
        without a mask file is a negative slice.
    """

    images: Path
    masks: Path
    complete: bool


def find_mask_layout(folder: Path) -> MaskLayout | None:
    """Return the layout of a segmentation set, or None where ``folder`` is not one.

    Raises
    ------
    DataError
        If one of its folders is a link that leads nowhere.
    """
    images = next((folder / name for name in _IMAGE_FOLDERS if is_folder(folder / name)), None)
    masks = next((folder / name for name in _MASK_FOLDERS if is_folder(folder / name)), None)
    if images is None or masks is None:
        return None
    return MaskLayout(images, masks, complete=(images.name, masks.name) == ("images", "masks"))


def is_folder(path: Path) -> bool:
    """Return whether there is a folder.

    Raises
    ------
    DataError
        If there is a link that leads nowhere: without it, a part of a data set would be missing unseen.
    """
    if path.is_dir():
        return True
    if path.is_symlink():
        refuse_absent([path])
    return False


def group_pictures(folder: Path, *, nested: bool = True) -> dict[str, tuple[Path, ...]]:
    """Return the png and jpg files of a folder by stem (composed Unicode); more than one of a name is kept.

    Where ``nested`` and without pictures of its own, a folder per patient is looked into: ``110/104.jpg``
    is ``110_104``. Files whose content is not here are listed, too (`pictures.refuse_absent`), so is the link
    of a patient that leads nowhere.
    """
    found: dict[str, list[Path]] = {}
    for path in _pictures(folder):
        found.setdefault(plain_name(path.stem), []).append(path)
    if nested and not found:
        for inner in sorted(folder.iterdir()):
            if inner.is_symlink() and absent(inner):
                found.setdefault(plain_name(inner.name), []).append(inner)
            for path in _pictures(inner) if inner.is_dir() else ():
                found.setdefault(plain_name(f"{inner.name}_{path.stem}"), []).append(path)
    return {name: tuple(paths) for name, paths in sorted(found.items())}


def one_each(groups: Mapping[str, tuple[Path, ...]], *, report: Findings | None = None) -> dict[str, Path]:
    """Return the file of every name; of several, where that is reported, the first.

    Raises
    ------
    DataError
        If there are several of one name and nothing is reported.
    """
    for name, paths in groups.items():
        if len(paths) > 1:
            error = DataError(
                f"Two pictures are called '{name}' in '{paths[0].parent.name}'.", details=str(paths[0].parent)
            )
            text = "Two files have one name and differ in their ending."
            tell(report, error, "duplicate_name", text=text, files=[", ".join(map(shown, paths))])
    return {name: paths[0] for name, paths in groups.items()}


def list_pictures(folder: Path, *, report: Findings | None = None) -> dict[str, Path]:
    """Return the pictures of a folder by stem (composed Unicode), in the order of their file names.

    Files whose content is not here are listed, too, see `pictures.refuse_absent`.

    Raises
    ------
    DataError
        If the folder is missing, or holds two pictures of one stem and nothing is reported.
    """
    if not folder.is_dir():
        raise DataError(
            f"The folder '{folder.name}' is missing in '{folder.parent.name}'.", details=str(folder)
        )
    found = one_each(group_pictures(folder, nested=False), report=report)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def picture_folder(folder: Path) -> Path:
    """Return the folder itself where it holds pictures, else the one inside that usually does."""
    if any(_pictures(folder)):
        return folder
    return next((folder / name for name in _PICTURE_FOLDERS if (folder / name).is_dir()), folder)


def _pictures(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    ]
