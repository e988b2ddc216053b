"""Write a volume as a CT series that any viewer reads; meant for synthetic data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_core.base.errors import SettingsError
from model_core.base.files import atomic_path
from model_core.base.volume import Volume

RESCALE_INTERCEPT = -1024


def write_dicom(volume: Volume, folder: Path) -> list[Path]:
    """Write each slice as a CT Image Storage file (explicit VR little endian, int16).

    Patient and study are invented; the UIDs depend on the series id only, so writing twice gives
    equal files.

    The volume is in HU, with known geometry; the folder is made if missing; the files are head to feet.

    Raises
    ------
    SettingsError
        If the volume has no geometry, is not in HU, or holds values that do not fit 16 bits.
    ExportError
        If the folder cannot be written.
    """
    geometry = volume.geometry
    needed = (*geometry.spacing_mm, geometry.axes, geometry.origin_mm)
    if volume.unit != "HU" or any(value is None for value in needed):
        raise SettingsError(
            "Only a volume in HU with known spacing, position and orientation can be written as DICOM."
        )
    highest, most = int(volume.voxels.max()), 32767 + RESCALE_INTERCEPT
    if highest > most:
        raise SettingsError(f"The volume holds {highest} HU; at most {most} HU fit a stored 16-bit value.")
    files = [folder / f"slice_{index:04d}.dcm" for index in range(volume.slices)]
    for index, path in enumerate(files):
        _write_slice(volume, index, path)
    return files


def _write_slice(volume: Volume, index: int, path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    geometry = volume.geometry
    assert geometry.axes is not None
    assert geometry.origin_mm is not None
    step, row, column = (float(value or 0) for value in geometry.spacing_mm)
    position = np.array(geometry.origin_mm) + geometry.axes[0] * step * index
    orientation = np.concatenate([geometry.axes[2], geometry.axes[1]]) + 0.0  # no -0

    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SpecificCharacterSet = "ISO_IR 192"
    item.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    item.SOPClassUID = CTImageStorage
    item.SOPInstanceUID = generate_uid(entropy_srcs=[volume.series_id, "instance", str(index)])
    item.StudyInstanceUID = generate_uid(entropy_srcs=[volume.series_id, "study"])
    item.SeriesInstanceUID = generate_uid(entropy_srcs=[volume.series_id, "series"])
    item.FrameOfReferenceUID = generate_uid(entropy_srcs=[volume.series_id, "frame"])
    item.StudyDate = item.SeriesDate = "20200101"
    item.StudyTime = "120000"
    item.StudyID = "1"
    item.AccessionNumber = item.ReferringPhysicianName = item.PositionReferenceIndicator = ""
    item.Modality = "CT"
    item.Manufacturer = "CTMaskNet phantom"
    item.StudyDescription = "Synthetic chest"
    item.SeriesDescription = volume.title
    item.PatientName = "PHANTOM^SYNTHETIC"
    item.PatientID = "PHANTOM"
    item.PatientBirthDate = ""
    item.PatientSex = "O"
    item.PatientPosition = "HFS"
    item.KVP = "120"
    item.SeriesNumber = item.AcquisitionNumber = 1
    item.InstanceNumber = index + 1
    item.ImagePositionPatient = [f"{value:.6f}" for value in position]
    item.ImageOrientationPatient = [f"{value:.6f}" for value in orientation]
    item.SliceLocation = f"{float(position @ np.cross(geometry.axes[2], geometry.axes[1])):.6f}"
    item.SliceThickness = f"{step:.6g}"
    item.PixelSpacing = [f"{row:.9g}", f"{column:.9g}"]
    item.WindowCenter = [f"{window.level:g}" for window in volume.windows] or ["-600"]
    item.WindowWidth = [f"{window.width:g}" for window in volume.windows] or ["1500"]
    item.WindowCenterWidthExplanation = [window.name for window in volume.windows] or ["Lung"]
    item.RescaleIntercept = str(RESCALE_INTERCEPT)
    item.RescaleSlope = "1"
    item.RescaleType = "HU"
    stored = (volume.voxels[index].astype(np.int32) - RESCALE_INTERCEPT).astype(np.int16)
    item.set_pixel_data(stored, "MONOCHROME2", 16, generate_instance_uid=False)
    with atomic_path(path, overwrite=True) as temporary:
        item.save_as(temporary, enforce_file_format=True)
