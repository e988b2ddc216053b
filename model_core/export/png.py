"""Pictures as PNG files that say what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_core import DISCLAIMER, __version__
from model_core.base.arrays import ByteArray
from model_core.base.errors import ExportError
from model_core.base.files import atomic_path

RESEARCH_USE = "Research use only – not for diagnosis"


def write_png(path: Path, rgb: ByteArray, *, overwrite: bool = False) -> None:
    """Write an (h, w, 3) or (h, w) uint8 picture; its text chunks name the program and the research use.

    Raises
    ------
    ExportError
        If the file exists and may not be replaced, does not end in .png, or cannot be written.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if path.suffix.lower() != ".png":
        raise ExportError(f"'{path.name}' is not a PNG file name: let it end in .png.")
    about = PngInfo()
    about.add_text("Software", f"CTMaskNet {__version__}")
    # Latin-1 only: that is what every reader of a tEXt chunk understands.
    about.add_text("Disclaimer", RESEARCH_USE.replace("–", "-"))
    about.add_text("Comment", DISCLAIMER)
    with atomic_path(path, overwrite=overwrite) as temporary:
        Image.fromarray(np.ascontiguousarray(rgb)).save(temporary, format="PNG", pnginfo=about)
