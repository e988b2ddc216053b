"""Write a volume as a CT series that any viewer reads; meant for synthetic data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from model_core.errors import ExportError, SettingsError
from model_core.types import Volume

RESCALE_INTERCEPT = -1024


def _uid(*parts: object) -> str:
    """Deterministic UID under 2.25 (PS3.5 B.2): a 128-bit number from a hash of the parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def write_dicom(volume: Volume, folder: Path) -> list[Path]:
    """Write each slice as a CT Image Storage file (explicit VR little endian, int16).

    Patient and study are invented; the UIDs depend on the series id only, so writing twice gives
    equal files.

    Parameters
    ----------
    volume:
        In HU, with known geometry.
    folder:
        Made if missing.

    Returns
    -------
    The files, head to feet.

    Raises
    ------
    SettingsError
        If the volume has no geometry, is not in HU, or holds values that do not fit 16 bits.
    ExportError
        If the folder cannot be written.
    """
    geometry = volume.geometry
    if volume.unit != "HU" or geometry.axes is None or geometry.origin_mm is None:
        raise SettingsError(
            "Only a volume in HU with known position and orientation can be written as DICOM."
        )
    if None in geometry.spacing_mm:
        raise SettingsError("Only a volume with known spacing can be written as DICOM.")
    highest, most = int(volume.voxels.max()), 32767 + RESCALE_INTERCEPT
    if highest > most:
        raise SettingsError(f"The volume holds {highest} HU; at most {most} HU fit a stored 16-bit value.")
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(volume.slices):
            path = folder / f"slice_{index:04d}.dcm"
            _write_slice(volume, index, path)
            files.append(path)
    except OSError as error:
        raise ExportError(
            f"The DICOM series cannot be written to the folder {folder.name}: {error.strerror or 'error'}. "
            "Choose a folder with free space that you may write to.",
            details=str(error),
        ) from error
    return files


def _write_slice(volume: Volume, index: int, path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    geometry = volume.geometry
    assert geometry.axes is not None
    assert geometry.origin_mm is not None
    step, row, column = (float(value or 0) for value in geometry.spacing_mm)
    position = np.array(geometry.origin_mm) + geometry.axes[0] * step * index
    normal = np.cross(geometry.axes[2], geometry.axes[1])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(_uid(volume.series_id, "instance", index))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_uid("ctmasknet"))

    item = Dataset()
    item.file_meta = meta
    item.SpecificCharacterSet = "ISO_IR 192"
    item.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    item.SOPClassUID = CTImageStorage
    item.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    item.StudyDate = item.SeriesDate = "20200101"
    item.StudyTime = "120000"
    item.AccessionNumber = ""
    item.Modality = "CT"
    item.Manufacturer = "CTMaskNet phantom"
    item.ReferringPhysicianName = ""
    item.StudyDescription = "Synthetic chest"
    item.SeriesDescription = volume.title
    item.PatientName = "PHANTOM^SYNTHETIC"
    item.PatientID = "PHANTOM"
    item.PatientBirthDate = ""
    item.PatientSex = "O"
    item.KVP = "120"
    item.SliceThickness = f"{step:.6g}"
    item.PatientPosition = "HFS"
    item.StudyInstanceUID = _uid(volume.series_id, "study")
    item.SeriesInstanceUID = _uid(volume.series_id, "series")
    item.FrameOfReferenceUID = _uid(volume.series_id, "frame")
    item.StudyID = "1"
    item.SeriesNumber = 1
    item.AcquisitionNumber = 1
    item.InstanceNumber = index + 1
    item.PositionReferenceIndicator = ""
    item.ImagePositionPatient = [f"{value:.6f}" for value in position]
    item.ImageOrientationPatient = [
        f"{value + 0.0:.6f}" for value in (*geometry.axes[2].tolist(), *geometry.axes[1].tolist())
    ]
    item.SliceLocation = f"{float(position @ normal):.6f}"
    item.SamplesPerPixel = 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.Rows, item.Columns = volume.voxels.shape[1:]
    item.PixelSpacing = [f"{row:.9g}", f"{column:.9g}"]
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit = 15
    item.PixelRepresentation = 1
    item.WindowCenter = [f"{window.level:g}" for window in volume.windows] or ["-600"]
    item.WindowWidth = [f"{window.width:g}" for window in volume.windows] or ["1500"]
    item.WindowCenterWidthExplanation = [window.name for window in volume.windows] or ["Lung"]
    item.RescaleIntercept = str(RESCALE_INTERCEPT)
    item.RescaleSlope = "1"
    item.RescaleType = "HU"
    stored = volume.voxels[index].astype(np.int32) - RESCALE_INTERCEPT
    item.PixelData = stored.astype("<i2").tobytes()
    item.save_as(path, enforce_file_format=True)
