"""Whether values of a volume file are Hounsfield units, stored values of CT, or something else."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import along_z, write_stack

from model_core.base.jobs import finish
from model_core.read import load, scan, thumbnail

SIZE = 96


def chest(depth=6, seed=0, *, noise=20.0, soft=45.0, fat=-105.0):
    """HU of a chest: air around it, lungs, fat under the skin, soft tissue and some bone, with noise."""
    rng = np.random.default_rng(seed)
    _, y, x = np.mgrid[:depth, :SIZE, :SIZE]
    u, v = (x - SIZE / 2) / (SIZE / 2), (y - SIZE / 2) / (SIZE / 2)
    hu = np.full((depth, SIZE, SIZE), -998.0)
    hu[(u / 0.92) ** 2 + (v / 0.8) ** 2 < 1] = fat
    hu[(u / 0.82) ** 2 + (v / 0.7) ** 2 < 1] = soft
    for centre in (-0.4, 0.42):
        hu[((u - centre) / 0.3) ** 2 + (v / 0.5) ** 2 < 1] = -860
    hu[(u / 0.1) ** 2 + ((v - 0.5) / 0.1) ** 2 < 1] = 400
    lungs = hu == -860
    hu[lungs] += rng.normal(0, 40, lungs.sum())
    hu += rng.normal(0, noise, hu.shape)
    # A lesion in one lung.
    hu[(u + 0.4) ** 2 + v**2 < 0.01] = -300
    return np.rint(hu).clip(-1024, 3071).astype(np.int16)


OUTSIDE = np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2)) > SIZE / 2


def padded(values, value):
    out = values.copy()
    out[:, OUTSIDE] = value
    return out


def opened(folder, values, name="v.nii.gz"):
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.7, 5.0))
    sitk.WriteImage(image, str(folder / name))
    (entry,) = finish(scan(folder / name))[-1].series
    return entry, finish(load(entry))[-1]


CHEST = chest()
HU = {
    "whole": CHEST,
    "padding -2000": padded(CHEST, -2000),
    "padding -3024": padded(CHEST, -3024),
    "padding -1024": padded(CHEST, -1024),
    "padding 0": padded(CHEST, 0),
    "one slice": CHEST[3:4],
    "box in the body": CHEST[:, 20:76, 16:80],
    "lungs only": np.where(CHEST < -600, CHEST, -1024),
    "lung window": CHEST.clip(-1350, 150),
    "contrast agent": chest(soft=80),
    "sharp kernel": chest(noise=60),
    "decimals": CHEST + np.float32(0.25),
    "abdomen without air": np.random.default_rng(3)
    .normal(np.repeat([45, -105], 4000), 20)
    .astype(np.int16)
    .reshape(2, 50, 80),
    "brain alone": np.where(CHEST > -50, np.random.default_rng(4).normal(33, 12, CHEST.shape), -1024),
    "made of four numbers": np.select(
        [CHEST < -900, CHEST < -500, CHEST < 200], [-1000, -850, 40], 700
    ).astype(np.int16),
}


@pytest.mark.parametrize(("offset", "unit"), [(0, "HU"), (1024, "values")])
def test_dicom_without_air_is_judged_by_fat_and_soft_tissue(tmp_path, offset, unit):
    stored = HU["abdomen without air"] + np.int16(offset)
    assert HU["abdomen without air"].min() > -200
    write_stack(tmp_path, along_z(2), pixels=stored, RescaleIntercept=0)
    (entry,) = finish(scan(tmp_path))[-1].series
    volume = finish(load(entry))[-1]
    assert volume.unit == unit
    assert any("no air among them" in problem.text for problem in volume.problems) == (unit == "values")


@pytest.mark.parametrize("name", HU)
def test_hounsfield_units_are_taken_as_they_are_without_a_word(tmp_path, name):
    _, volume = opened(tmp_path, HU[name])
    assert volume.unit == "HU"
    assert volume.problems == ()
    assert volume.voxels.max() == int(np.rint(HU[name].max()))


STORED = {
    "unsigned": lambda offset: (CHEST.astype(np.int32) + offset).clip(0).astype(np.uint16),
    "signed": lambda offset: CHEST.astype(np.int32) + offset,
    "padding -2000": lambda offset: padded(CHEST.astype(np.int32) + offset, -2000),
    "padding -1024": lambda offset: padded(CHEST.astype(np.int32) + offset, -1024),
    "padding 0": lambda offset: padded(CHEST.astype(np.int32) + offset, 0),
    "NaN": lambda offset: padded(CHEST.astype(np.float32) + offset, np.nan),
    "decimals": lambda offset: CHEST.astype(np.float64) + offset + 0.25,
    "three slices": lambda offset: CHEST[2:5].astype(np.int32) + offset,
    "contrast agent": lambda offset: chest(soft=75).astype(np.int32) + offset,
}


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nrrd", "v.mha"])
@pytest.mark.parametrize("offset", [1024, 1000, 8192, 32768])
@pytest.mark.parametrize("kind", STORED)
def test_stored_values_are_told_and_become_hounsfield_units(tmp_path, kind, offset, name):
    values = STORED[kind](offset)
    _, volume = opened(tmp_path, values, name)
    told = [problem for problem in volume.problems if "no Hounsfield units" in problem.text]
    assert [problem.level for problem in told] == ["warning"]
    assert f"HU + {offset}" in told[0].text
    assert f"{offset} is subtracted" in told[0].action
    assert volume.unit == "HU"
    shown = volume.geometry.to_native(volume.voxels)
    inside = np.isfinite(values) & (values > offset - 1100)
    np.testing.assert_array_equal(shown[inside], np.rint(values[inside].astype(float) - offset))
    # Neither the darkest nor the brightest number of the file shows up as a lung.
    assert np.percentile(thumbnail(scan_one(tmp_path / name)), 95) > 200


def scan_one(path):
    (entry,) = finish(scan(path))[-1].series
    return entry


def brain(scale):
    """Magnitudes of MR: background, then fluid, grey and white matter, with noise that grows with them."""
    rng = np.random.default_rng(1)
    tissue = rng.choice([0, 0.35, 0.7, 1.0], (6, SIZE, SIZE), p=[0.5, 0.1, 0.2, 0.2])
    made = np.abs(
        tissue * scale * rng.normal(1, 0.07, tissue.shape) + rng.normal(0, 0.03 * scale, tissue.shape)
    )
    return made.astype(np.int16)


OTHER = {
    **{f"MR {scale}": brain(scale) for scale in (300, 900, 1000, 1064, 1200, 4000)},
    "labels": (CHEST > -500).astype(np.uint8),
    "pictures": ((CHEST.clip(-1350, 150) + 1350) / 1500 * 255).astype(np.uint8),
    "another offset, padding -2000": padded(CHEST + 1500, -2000),
    "noise": np.random.default_rng(2).integers(0, 4096, (6, SIZE, SIZE)).astype(np.int16),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_values_are_no_hounsfield_units(tmp_path, name):
    _, volume = opened(tmp_path, OTHER[name])
    assert volume.unit == "values"
    assert volume.problems == ()


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.mha"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_background_and_decides_nothing(tmp_path, name, odd):
    hounsfield = padded(CHEST.astype(np.float32), odd)
    _, volume = opened(tmp_path, hounsfield, name)
    assert volume.unit == "HU"
    shown = volume.geometry.to_native(volume.voxels)
    assert set(np.unique(shown[:, OUTSIDE])) == {-1024}
    np.testing.assert_array_equal(shown[:, ~OUTSIDE], CHEST[:, ~OUTSIDE])
    (told,) = volume.problems
    assert told.level == "warning"
    assert f"{6 * OUTSIDE.sum()} of {CHEST.size} values are no numbers" in told.text

    other = padded(brain(900).astype(np.float32) + 7, odd)
    _, volume = opened(tmp_path, other, name)
    assert volume.unit == "values"
    shown = volume.geometry.to_native(volume.voxels)
    assert set(np.unique(shown[:, OUTSIDE])) == {shown[:, ~OUTSIDE].min()}
    assert len(volume.problems) == 1
    assert volume.padding_value == shown.min()


def test_a_volume_without_a_number_is_told(tmp_path):
    _, volume = opened(tmp_path, np.full((2, 4, 5), np.nan, np.float32))
    assert volume.unit == "values"
    assert not volume.voxels.any()
    assert "no finite number" in volume.problems[0].text


def test_hounsfield_units_beyond_16_bits_are_cut_and_told(tmp_path):
    metal = CHEST.astype(np.float32)
    metal[0, 0, 0] = 90_000
    _, volume = opened(tmp_path, metal)
    assert volume.unit == "HU"
    assert volume.voxels.max() == 32767
    assert "1 values lie outside 16-bit integers" in volume.problems[0].text
