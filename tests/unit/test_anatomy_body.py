"""What lies outside the patient, and that the network is shown air there only where it is certain."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from model_core.anatomy.body import find_outside, outside_of
from model_core.base.geometry import Geometry
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.engine.preprocess import network_input

AIR, FAT, MUSCLE, LUNG, CLOTH = -1000, -100, 50, -850, -750
PIXEL_MM = 1.2  # 256 pixels: a field of 307 mm


def ellipse(shape, centre, radii):
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    return ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1


def chest(*, cloth=True, table=True, size=256, seed=0):
    """A chest in a full field of view: body, two lungs, a cloth on top, a table below."""
    shape = (size, size)
    hu = np.full(shape, AIR, np.float32)
    body = ellipse(shape, (130, 128), (80, 115))
    hu[body] = FAT
    hu[ellipse(shape, (130, 128), (74, 108))] = MUSCLE
    lungs = ellipse(shape, (128, 80), (52, 38)) | ellipse(shape, (128, 176), (52, 38))
    hu[lungs] = LUNG
    things = np.zeros(shape, bool)
    if cloth:
        things[36:44, 90:170] = True
    if table:
        things[228:234, :] = True
    hu[things & ~body] = CLOTH
    hu += np.random.default_rng(seed).normal(0, 15, shape)
    return hu, body, lungs, things & ~body


def volume(hu, *, mm=PIXEL_MM, **changes):
    geometry = Geometry((5.0, mm, mm))
    voxels = np.rint(hu).astype(np.int16)[None]
    return dataclasses.replace(Volume("x", "x", voxels, geometry, plane="axial"), **changes)


def test_everything_around_the_body_is_outside_and_no_lung_is():
    hu, body, lungs, things = chest()
    outside = outside_of(volume(hu), 0)
    assert not outside[lungs].any()
    assert outside[things].all()
    inner = ellipse(hu.shape, (130, 128), (78, 113))
    assert not outside[inner].any()
    assert outside[~ellipse(hu.shape, (130, 128), (86, 121))].all()
    assert outside[body].mean() < 0.01


def test_the_network_is_shown_air_outside_where_its_weights_say_so():
    hu, _, _, things = chest()
    one = volume(hu)
    plain, blank = InputSpec(size=256), InputSpec(size=256, outside="air")
    as_is, shown = network_input(one, 0, plain), network_input(one, 0, blank)
    air = (-1000 + 1250) / 1500
    assert np.abs(shown[things] - air).max() < 1e-6
    assert (as_is[things] > air + 0.05).all()
    outside = outside_of(one, 0)
    np.testing.assert_array_equal(shown[~outside], as_is[~outside])
    assert (one.voxels == np.rint(hu)).all()  # what is displayed stays


@pytest.mark.parametrize(
    "changes",
    [
        {"geometry": Geometry()},
        {"geometry": Geometry((5.0, 0.4, 0.4))},
        {"unit": "values"},
        {"unit": "grey"},
        {"plane": "coronal"},
    ],
    ids=["no spacing", "small field", "values", "grey", "coronal"],
)
def test_what_is_no_full_field_in_hounsfield_units_stays_as_it_is(changes):
    hu, _, _, _ = chest()
    one = volume(hu, **changes)
    assert outside_of(one, 0) is None
    spec = InputSpec(size=256)
    blank = dataclasses.replace(spec, outside="air")
    np.testing.assert_array_equal(network_input(one, 0, spec), network_input(one, 0, blank))


def test_a_crop_in_which_lungs_reach_the_border_stays_as_it_is():
    hu, _, lungs, _ = chest(cloth=False, table=False)
    for crop in (np.s_[80:180, 60:200], np.s_[60:, 85:170], np.s_[:, :128]):
        outside = find_outside(hu[crop], pixel_mm=PIXEL_MM)
        assert outside is None or not outside[lungs[crop]].any()


def test_a_lung_open_to_the_border_is_not_taken_for_air():
    hu, _, lungs, _ = chest(cloth=False, table=False)
    hu[:90, 78:82] = LUNG  # the wall above one lung is missing
    hu[:, :60] = MUSCLE
    hu[:, 200:] = MUSCLE
    outside = find_outside(hu, pixel_mm=PIXEL_MM)
    assert outside is None or not outside[lungs].any()


def test_slices_without_a_body_or_without_air():
    air = np.full((64, 64), AIR, np.float32)
    assert find_outside(air, pixel_mm=1.0) is None
    assert find_outside(np.full((64, 64), MUSCLE, np.float32), pixel_mm=1.0) is None
    thing = air.copy()
    thing[30:34, 30:34] = MUSCLE
    assert find_outside(thing, pixel_mm=1.0) is None


def test_a_thin_link_does_not_make_cloth_part_of_the_body():
    hu, _, _, things = chest()
    hu[30:52, 100:102] = MUSCLE  # a tube from above through the cloth to the skin
    outside = find_outside(hu, pixel_mm=PIXEL_MM)
    assert outside[things].mean() > 0.97


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["siemens_scope_normal_normal001_every5th", "siemens_scope_covid_P001"])
def test_real_series_lose_the_air_and_keep_the_patient(shared_data, name):
    from model_core.base.jobs import finish
    from model_core.read import load, scan

    (entry, *_) = finish(scan(shared_data / "C_ct_dicom_series" / name))[-1].series
    one = finish(load(entry))[-1]
    for index in range(0, one.slices, max(1, one.slices // 6)):
        outside = outside_of(one, index)
        assert outside is not None
        assert 0.1 < outside.mean() < 0.75
        soft = (one.voxels[index] > -200) & (one.voxels[index] < 300)
        thick = ndimage.binary_opening(soft, iterations=5)  # the plates of a table are thin
        assert (outside & thick).sum() < 0.001 * thick.sum()
