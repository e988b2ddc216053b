"""Asks for the files to open. The system's own dialogs, starting where the last file was."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QDir
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from ctmasknet_gui.state.case import CASE_SUFFIX
from ctmasknet_gui.view.use_cases import UseCases

_CASES = f"CTMaskNet cases (*{CASE_SUFFIX})"
_IMAGES = (
    f"CT images and cases (*.dcm *.dicom *.ima DICOMDIR *.zip *.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd "
    f"*.png *.jpg *.jpeg *{CASE_SUFFIX})"
)
_MASKS = "Masks (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.png)"
_WEIGHTS = "Network weights (*.safetensors *.pth *.pt)"
# DICOM files often have no extension at all.
_ANY = "All files (*)"


class FileDialogs:
    """Opens what the user chose; does nothing on cancel.

    ``folder`` is where the dialogs start, ``export_folder`` where an export is proposed.
    """

    def __init__(self, window: QWidget, use: UseCases) -> None:
        self._window = window
        self._use = use
        self.folder = self.export_folder = Path(QDir.homePath())

    def ask_files(self) -> None:
        """Ask for files to open."""
        names, _ = QFileDialog.getOpenFileNames(
            self._window, "Open CT files or a case", str(self.folder), f"{_IMAGES};;{_ANY}"
        )
        if names:
            self._use.open_paths(tuple(Path(name) for name in names))

    def ask_folder(self) -> None:
        """Ask for a folder to open."""
        name = QFileDialog.getExistingDirectory(
            self._window, "Open a folder of DICOM slices or pictures", str(self.folder)
        )
        if name:
            self._use.open_paths((Path(name),))

    def ask_reference(self) -> None:
        """Ask for a mask file of the open series."""
        name, _ = QFileDialog.getOpenFileName(
            self._window, "Load a reference mask", str(self.folder), f"{_MASKS};;{_ANY}"
        )
        if name:
            self._use.open_reference(Path(name))

    def ask_case(self) -> None:
        """Ask where to save the open case."""
        proposed = str(self.export_folder / f"case{CASE_SUFFIX}")
        name, _ = QFileDialog.getSaveFileName(self._window, "Save the case", proposed, _CASES)
        if name:
            path = Path(name)
            if path.suffix.lower() != CASE_SUFFIX:
                path = Path(f"{name}{CASE_SUFFIX}")
                if path.exists() and not self._may_replace(path):
                    return
            self._use.save_case(path)

    def _may_replace(self, path: Path) -> bool:
        """Ask as the dialog does of the name that was typed, which is not the whole one."""
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self._window,
            "Replace the case?",
            f"{path.name} exists already. Replace it?",
            buttons.Yes | buttons.Cancel,
            buttons.Cancel,
        )
        return bool(answer == buttons.Yes)

    def ask_weights(self) -> None:
        """Ask for weight files: one, or a segmentation and a classifier."""
        names, _ = QFileDialog.getOpenFileNames(
            self._window, "Load network weights", str(self.folder), f"{_WEIGHTS};;{_ANY}"
        )
        if names:
            self._use.choose_weights(tuple(names))
