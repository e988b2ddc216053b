"""Masks of every orientation that a series can have reload at its physical points."""

import itertools

import numpy as np
import pytest
import SimpleITK

from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.base.volume import Volume
from model_core.export import write_lesions
from model_core.phantom import write_dicom
from model_core.read import load, scan

SIGNS = list(itertools.product((1, -1), repeat=3))
# Patient axes (LPS) of slices, rows downwards and columns rightwards.
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}


@pytest.mark.parametrize("turned", [False, True], ids=["straight", "transposed"])
@pytest.mark.parametrize("signs", SIGNS, ids=str)
@pytest.mark.parametrize("plane", PLANES)
def test_a_mask_reloads_at_the_physical_points_of_its_series(tmp_path, plane, signs, turned):
    along, down, right = PLANES[plane]
    if turned:
        down, right = right, down
    axes = np.zeros((3, 3))
    axes[0, along], axes[1, down], axes[2, right] = signs
    voxels = (np.arange(4 * 5 * 6) - 60).astype(np.int16).reshape(4, 5, 6)
    written = Volume("t", "Test", voxels, Geometry((2.5, 0.7, 0.9), (-31.5, 12.25, 104.75), axes))
    write_dicom(written, tmp_path / "dicom")
    volume = finish(load(finish(scan(tmp_path / "dicom"))[-1].series[0]))[-1]
    assert volume.plane == plane
    labels = (volume.voxels > 0).astype(np.uint8)
    assert write_lesions(tmp_path / "m.nii.gz", volume, labels) == ()

    mask = SimpleITK.ReadImage(str(tmp_path / "m.nii.gz"))
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "dicom")))
    assert mask.GetSize() == image.GetSize()
    for index in np.ndindex(mask.GetSize()):
        assert mask.GetPixel(*index) == (image.GetPixel(*index) > 0)
        point = mask.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(point, image.TransformIndexToPhysicalPoint(index), atol=1e-3)
    # The displayed array, by its own geometry, has the labelled voxels at those points too.
    geometry = volume.geometry
    for index in np.argwhere(labels)[::17]:
        point = np.array(geometry.origin_mm) + (np.array(geometry.spacing_mm) * index) @ geometry.axes
        assert mask[mask.TransformPhysicalPointToIndex(point)] == 1
