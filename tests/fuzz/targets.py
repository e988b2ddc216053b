"""What is fuzzed: per target, sound files to damage and what is done with the damaged one."""

import contextlib
import gzip
import io
import random
import sys
import tempfile
import time
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dicom_files import along_z, dataset, enhanced

from fuzz.mutate import mutate
from model_core.base.errors import CTMaskNetError
from model_core.base.jobs import finish
from model_core.read import load, thumbnail
from model_core.read.opening import stored_pixels
from model_core.read.scanning import scan_reports

#: No file may take longer to be loaded, drawn and decoded again, in seconds: three times 20.
LIMIT = 60.0


class FindingError(AssertionError):
    """Something other than our own errors came out, or it took too long."""


def _noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.int16)


def _dicom_bytes(item):
    stream = io.BytesIO()
    item.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _with_tables(pixels):
    """A slice with a Modality LUT and a VOI LUT."""
    from pydicom.dataset import Dataset

    item = dataset(pixels, RescaleSlope=None, RescaleIntercept=None)
    for keyword, count in (("ModalityLUTSequence", 4096), ("VOILUTSequence", 256)):
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [count, 0, 16])
        table.add_new("LUTData", "OW", np.arange(count, dtype="<u2").tobytes())
        table.LUTExplanation = "Curve"
        setattr(item, keyword, [table])
    return item


@cache
def header_seeds():
    """Ordinary, implicit, big endian, deflated, enhanced, nested and bare headers."""
    from pydicom.dataset import Dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

    plain = _noise((8, 6))
    nested = dataset(plain)
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    nested.ReferencedImageSequence = [inner]
    nested["ReferencedImageSequence"].is_undefined_length = True
    big = dataset(plain, syntax=ExplicitVRBigEndian)
    big.PixelData = plain.astype(">i2").tobytes()
    seeds = [
        dataset(plain, SpecificCharacterSet="ISO_IR 100", SeriesDescription="Thorax", WindowCenter=[1, 2]),
        dataset(plain, syntax=ImplicitVRLittleEndian, PixelPaddingValue=-2000),
        dataset(plain.astype(np.uint8), SamplesPerPixel=1),
        dataset(plain, syntax=DeflatedExplicitVRLittleEndian),
        nested,
        big,
        enhanced(_noise((3, 8, 6)), along_z(3)),
        _with_tables(plain),
    ]
    found = [_dicom_bytes(item) for item in seeds]
    return [*found, found[0][132:], found[0][found[0].index(b"\x08\x00\x05\x00") :]]


@cache
def pixel_seeds():
    """One picture per compressed syntax that can be written here."""
    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.pixels import compress
    from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

    seeds = []
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        item = dataset(_noise((64, 48)))
        compress(item, syntax, generate_instance_uid=False)
        seeds.append(_dicom_bytes(item))
    picture = _noise((64, 48)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG")
    item = dataset(picture, syntax=JPEGBaseline8Bit)
    item.PixelData = encapsulate([stream.getvalue()])
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    seeds.append(_dicom_bytes(item))
    return seeds


def _volume_seeds(suffix):
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(_noise((4, 6, 8)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"v{suffix}"
        sitk.WriteImage(image, str(path))
        return [path.read_bytes()]


@cache
def nifti_seeds():
    """A plain NIfTI file."""
    return _volume_seeds(".nii")


@cache
def packed_nifti_seeds():
    """A gzipped NIfTI file."""
    return _volume_seeds(".nii.gz")


@cache
def nrrd_seeds():
    """A NRRD file."""
    return _volume_seeds(".nrrd")


@cache
def meta_seeds():
    """A MetaImage file."""
    return _volume_seeds(".mha")


@cache
def picture_seeds():
    """PNG and JPEG pictures."""
    from PIL import Image

    seeds = []
    for kind in ("PNG", "JPEG"):
        stream = io.BytesIO()
        Image.fromarray(_noise((20, 30)).astype(np.uint8)).save(stream, kind)
        seeds.append(stream.getvalue())
    return seeds


@cache
def zip_seeds():
    """ZIP archives of a small series, packed and not."""
    seeds = []
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for index, position in enumerate(along_z(3)):
                item = dataset(_noise((8, 6)), ImagePositionPatient=list(position), InstanceNumber=index)
                archive.writestr(f"series/{index}.dcm", _dicom_bytes(item))
        seeds.append(stream.getvalue())
    return seeds


@cache
def dicomdir_seeds():
    """The index of a disc."""
    from pydicom.dataset import Dataset

    records = []
    for name in ("A", "B", "C"):
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = ["IMAGES", name]
        records.append(record)
    item = dataset(_noise((4, 4)), SOPClassUID="1.2.840.10008.1.3.10")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(item, keyword)
    item.DirectoryRecordSequence = records
    return [_dicom_bytes(item)]


@cache
def weight_seeds():
    """A safetensors file and a checkpoint in PyTorch's own format."""
    import torch
    from safetensors.torch import save

    tensors = {"backbone.body.conv1.weight": torch.zeros(4, 3, 7, 7), "s2new.fc.weight": torch.zeros(3, 16)}
    stream = io.BytesIO()
    torch.save(tensors, stream)
    return [save(tensors), stream.getvalue()]


#: Target: its seeds and the name that the damaged file gets.
TARGETS = {
    "header": (header_seeds, "a.dcm"),
    "pixels": (pixel_seeds, "a.dcm"),
    "nifti": (nifti_seeds, "a.nii"),
    "nifti.gz": (packed_nifti_seeds, "a.nii.gz"),
    "nrrd": (nrrd_seeds, "a.nrrd"),
    "meta": (meta_seeds, "a.mha"),
    "picture": (picture_seeds, "a.png"),
    "zip": (zip_seeds, "a.zip"),
    "dicomdir": (dicomdir_seeds, "DICOMDIR"),
    "safetensors": (weight_seeds, "w.safetensors"),
    "checkpoint": (weight_seeds, "w.pth"),
}


#: Targets that are weight files, not images.
WEIGHTS = ("safetensors", "checkpoint")


def damaged(target: str, seed: int) -> bytes:
    """Return the bytes of one case."""
    rng = random.Random(f"{target}/{seed}")
    seeds = TARGETS[target][0]()
    data = rng.choice(seeds)
    if target == "pixels" and rng.random() < 0.7:
        # Damage behind the header only, or the decoder would hardly ever be reached.
        at = data.index(b"\xe0\x7f\x10\x00")
        return data[:at] + mutate(data[at:], rng, seeds)
    if target == "nifti.gz" and rng.random() < 0.7:
        # Inside the compression, or its checksum would stop nearly everything.
        plain = gzip.decompress(data)
        return gzip.compress(mutate(plain, rng, [plain]), 1)
    return mutate(data, rng, seeds)


def run_case(target: str, seed: int, folder: Path) -> str:
    """Open one damaged file in every way; return what became of it.

    Raises
    ------
    FindingError
        With the name of the file that was kept.
    """
    path = folder / TARGETS[target][1]
    path.write_bytes(damaged(target, seed))
    return check_file(target, path, name=str(seed))


def check_file(target: str, path: Path, *, name: str) -> str:
    """Open a file as the program does; return what became of it.

    Raises
    ------
    FindingError
        With the target and the name of the case.
    """
    start = time.monotonic()
    try:
        outcome = open_any(target, path)
    except Exception as error:
        raise FindingError(f"{target} {name}: {type(error).__name__}: {error}") from error
    seconds = time.monotonic() - start
    if seconds > LIMIT:
        raise FindingError(f"{target} {name}: took {seconds:.0f} s")
    return outcome


def open_any(target: str, path: Path) -> str:
    """Open a file of a target in every way; whatever is raised is a finding."""
    return load_weights_of(path) if target in WEIGHTS else open_in_every_way(path)


def load_weights_of(path: Path) -> str:
    """Load a damaged weight file; our own errors are answers."""
    from model_core.weights.store import load_weights

    try:
        load_weights(str(path))
    except CTMaskNetError:
        return "refused"
    return "loaded"


def open_in_every_way(path: Path) -> str:
    """Scan, load, draw and decode a file; our own errors are answers."""
    found = finish(scan_reports(path))[-1]
    if not found.files:
        raise AssertionError("the file is not accounted for")
    for report in found.files:
        if report.status != "ok" and not report.reason:
            raise AssertionError("no reason is given")
    outcome = found.files[0].status
    for entry in found.series:
        try:
            volume = finish(load(entry))[-1]
            if volume.voxels.dtype != np.int16 or volume.voxels.ndim != 3:
                raise AssertionError("not a volume")
            thumbnail(entry)
            outcome = "loaded"
        except CTMaskNetError as error:
            outcome = "crashed" if "crashed" in str(error) else "refused"
    with contextlib.suppress(CTMaskNetError):
        stored_pixels(path)
    return outcome
