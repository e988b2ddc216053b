"""Synthetic DICOM files for tests: small, with every element under the test's control."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)
SERIES = "1.2.826.0.1.3680043.8.498.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


def dataset(pixels, *, syntax=ExplicitVRLittleEndian, **elements):
    """Return a CT slice as a data set; ``elements`` are set last, None removes one."""
    pixels = np.asarray(pixels)
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = syntax
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = CTImageStorage
    item.SOPInstanceUID = generate_uid()
    item.Modality = "CT"
    item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.PatientName = "SECRET^NAME"
    item.PatientID = "SECRET-ID"
    item.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
    item.SeriesInstanceUID = SERIES
    item.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.2"
    item.InstanceNumber = 1
    item.ImagePositionPatient = [0, 0, 0]
    item.ImageOrientationPatient = list(AXIAL)
    item.PixelSpacing = [0.5, 0.75]
    item.SliceThickness = 99  # never the distance between slices
    item.SamplesPerPixel = 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.Rows, item.Columns = pixels.shape[-2:]
    item.BitsAllocated = item.BitsStored = pixels.dtype.itemsize * 8
    item.HighBit = item.BitsStored - 1
    item.PixelRepresentation = int(pixels.dtype.kind == "i")
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    item.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in elements.items():
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)
    if "SOPInstanceUID" in item:
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    item["PixelData"].VR = "OW" if item.BitsAllocated > 8 else "OB"
    return item


def write(path, pixels=None, **elements):
    """Write one CT slice and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.arange(12, dtype=np.int16).reshape(3, 4)
    dataset(pixels, **elements).save_as(path, enforce_file_format=True)
    return path


def write_stack(folder, positions, *, orientation=AXIAL, pixels=None, names=None, **elements):
    """Write one slice per position; slice k holds the value k + 1 and a corner that tells its sides apart."""
    paths = []
    for index, position in enumerate(positions):
        if pixels is None:
            picture = np.full((3, 4), index + 1, np.int16)
            picture[0, 0], picture[0, 3] = 100 + index, 200 + index
        else:
            picture = pixels[index]
        own = {key: value[index] if isinstance(value, list) else value for key, value in elements.items()}
        name = names[index] if names else f"{index:03d}.dcm"
        own.setdefault("InstanceNumber", index + 1)
        paths.append(
            write(
                Path(folder) / name,
                picture,
                ImagePositionPatient=list(position),
                ImageOrientationPatient=list(orientation),
                **own,
            )
        )
    return paths


def along_z(count, step=2.0, start=0.0):
    """Positions of an axial stack."""
    return [(-10.0, -20.0, start + step * index) for index in range(count)]


def enhanced(pixels, positions, *, slopes=None, stacks=None, **elements):
    """Return an enhanced multi-frame CT: geometry, rescale and dimensions in functional groups."""
    pixels = np.asarray(pixels)
    item = dataset(
        pixels[0],
        SOPClassUID=ENHANCED_CT,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        RescaleSlope=None,
        RescaleIntercept=None,
    )
    item.file_meta.MediaStorageSOPClassUID = ENHANCED_CT
    item.NumberOfFrames = len(pixels)
    item.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([_item(ImageOrientationPatient=list(AXIAL))])
    shared.PixelMeasuresSequence = Sequence([_item(PixelSpacing=[0.5, 0.75], SliceThickness=99)])
    item.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for index, position in enumerate(positions):
        frame = Dataset()
        frame.PlanePositionSequence = Sequence([_item(ImagePositionPatient=list(position))])
        slope = slopes[index] if slopes else 1
        frame.PixelValueTransformationSequence = Sequence(
            [_item(RescaleSlope=slope, RescaleIntercept=-1024, RescaleType="HU")]
        )
        frame.FrameVOILUTSequence = Sequence([_item(WindowCenter=-600 + index, WindowWidth=1500)])
        if stacks:
            frame.FrameContentSequence = Sequence([_item(FrameAcquisitionNumber=stacks[index])])
        frames.append(frame)
    item.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def segmentation(masks, positions, *, segments=None, kind="BINARY", refers_to=SERIES, **elements):
    """Return a DICOM SEG of (N, H, W) masks: one frame per position, of segment 1 or of ``segments``."""
    masks = np.asarray(masks)
    binary = kind == "BINARY"
    pixels = np.packbits(masks.astype(bool).ravel(), bitorder="little") if binary else masks.astype(np.uint8)
    item = enhanced(masks.astype(np.uint8), positions)
    for keyword in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
        for frame in item.PerFrameFunctionalGroupsSequence:
            del frame[keyword]
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = SEGMENTATION
    item.Modality = "SEG"
    item.SeriesInstanceUID = f"{SERIES}.77"
    item.SegmentationType = kind
    if kind == "FRACTIONAL":
        item.MaximumFractionalValue = 200
    item.BitsAllocated = item.BitsStored = 1 if binary else 8
    item.HighBit = item.BitsStored - 1
    item.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    item["PixelData"].VR = "OB"
    measures = item.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SliceThickness = 2
    if kind != "LABELMAP":
        for frame, number in zip(
            item.PerFrameFunctionalGroupsSequence, segments or [1] * len(masks), strict=True
        ):
            frame.SegmentIdentificationSequence = Sequence([_item(ReferencedSegmentNumber=number)])
    if refers_to:
        item.ReferencedSeriesSequence = Sequence([_item(SeriesInstanceUID=refers_to)])
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _item(**elements):
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
