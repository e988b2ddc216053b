"""Where a data set keeps its pictures and masks: our own layout and those of the papers' data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_core.datasets.pictures import SUFFIXES

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
    """Return the layout of a segmentation set, or None where ``folder`` is not one."""
    images = next((folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), None)
    masks = next((folder / name for name in _MASK_FOLDERS if (folder / name).is_dir()), None)
    if images is None or masks is None:
        return None
    return MaskLayout(images, masks, complete=(images.name, masks.name) == ("images", "masks"))


def group_pictures(folder: Path, *, nested: bool = True) -> dict[str, tuple[Path, ...]]:
    """Return the png and jpg files of a folder by stem; more than one file of a name is kept.

    Where ``nested`` and without pictures of its own, a folder per patient is looked into: ``110/104.jpg``
    is ``110_104``.
    """
    found: dict[str, list[Path]] = {}
    for path in _pictures(folder):
        found.setdefault(path.stem, []).append(path)
    if nested and not found:
        for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
            for path in _pictures(inner):
                found.setdefault(f"{inner.name}_{path.stem}", []).append(path)
    return {name: tuple(paths) for name, paths in sorted(found.items())}


def picture_folder(folder: Path) -> Path:
    """Return the folder itself where it holds pictures, else the one inside that usually does."""
    if any(_pictures(folder)):
        return folder
    return next((folder / name for name in _PICTURE_FOLDERS if (folder / name).is_dir()), folder)


def _pictures(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
