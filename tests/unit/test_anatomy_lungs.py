"""Where the lung is: which slices have lung, what of them is lung, and what never is."""

import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from model_core.anatomy.lungs import LEFT, RIGHT, find_lungs, lung_ml, lung_range
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress, finish
from model_core.base.volume import Volume
from model_core.engine.greymap import likely_hu_range
from model_core.engine.lungs import known_lungs, lungs_of
from model_core.phantom import make_phantom
from model_core.read import load, scan

LUNG_WINDOW = (-1350.0, 150.0)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(40, 192)


@pytest.fixture(scope="module")
def chest(phantom):
    return phantom[0]


def look(volume, grey_hu=None):
    return finish(find_lungs(volume, grey_hu=grey_hu))[-1]


def pictures(volume):
    """The volume as 8-bit pictures of a lung window, of unknown size."""
    low, high = LUNG_WINDOW
    grey = np.clip((volume.voxels - low) * (255 / (high - low)), 0, 255).astype(np.int16)
    changes = {"unit": "grey", "geometry": Geometry(), "plane": "unknown", "slice_positions_mm": None}
    return replace(volume, voxels=grey, **changes)


def whitened(volume, sides, slices, *, seed=0):
    """The volume with the lungs of these sides as dense as muscle in these slices."""
    lungs, voxels = look(volume), volume.voxels.copy()
    noise = np.random.default_rng(seed)
    for k in slices:
        white = ndimage.binary_dilation(np.isin(lungs.sides(k), sides), iterations=2)
        voxels[k][white] = 30 + noise.normal(0, 15, white.sum())
    return replace(volume, voxels=voxels)


def ellipse(shape, centre, radii):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 <= 1


def body(slices=30, shape=(160, 200), mm=2.0, step=5.0, *, fill=40, seed=1):
    """An oval of soft tissue with a spine in air."""
    voxels = np.full((slices, *shape), -1000.0)
    voxels[:, ellipse(shape, (80, 100), (60, 85))] = fill
    voxels[:, ellipse(shape, (115, 100), (12, 12))] = 400
    voxels += np.random.default_rng(seed).normal(0, 15, voxels.shape)
    geometry = Geometry(spacing_mm=(step, mm, mm))
    return Volume("body", "body", np.rint(voxels).astype(np.int16), geometry, plane="axial")


def test_the_lungs_of_the_phantom_with_their_lesions(chest, phantom):
    lungs = look(chest)
    assert lungs.state == "found"
    mask = np.stack([lungs.mask(k) for k in range(chest.slices)])
    aerated = ndimage.binary_opening((chest.voxels > -940) & (chest.voxels < -500), iterations=2)
    assert mask[aerated].mean() > 0.97
    lesions = phantom[1] > 0
    assert mask[lesions].mean() > 0.8, "ground glass and consolidations are lung"
    assert mask[ndimage.binary_erosion(chest.voxels > 250, iterations=2)].mean() < 0.01, "bone is none"
    assert mask[chest.voxels < -980].mean() < 0.02, "nor are air, trachea and stomach"
    assert 3500 < lung_ml(lungs, chest.geometry) < 6000


def test_sides_thirds_and_counts(chest):
    lungs = look(chest)
    middle = chest.voxels.shape[2] // 2
    total = np.zeros(2)
    for k in range(chest.slices):
        sides = lungs.sides(k)
        np.testing.assert_array_equal(sides > 0, lungs.mask(k))
        right, left = np.argwhere(sides == RIGHT)[:, 1], np.argwhere(sides == LEFT)[:, 1]
        assert lungs.pixels[k].tolist() == [len(right), len(left)]
        total += np.array([(right < middle).sum(), (left >= middle).sum()])
    assert (total > 0.97 * lungs.pixels.sum(axis=0)).all()
    thirds = [lungs.third(k) for k in range(chest.slices)]
    inside = [third for third in thirds if third]
    assert inside == sorted(inside, key=["upper", "middle", "lower"].index)
    assert max(map(inside.count, set(inside))) - min(map(inside.count, set(inside))) <= 1
    assert all((third is None) == (k not in lungs.slices) for k, third in enumerate(thirds))


@pytest.mark.parametrize("degrees", [20, -35, 90, 180])
def test_a_field_that_is_turned_has_the_same_lungs(chest, degrees):
    turned = ndimage.rotate(chest.voxels, degrees, axes=(1, 2), reshape=False, order=1, cval=-1000)
    straight, askew = look(chest), look(replace(chest, voxels=turned))
    assert askew.pixels.sum() == pytest.approx(straight.pixels.sum(), rel=0.05)
    assert abs(askew.slices.start - straight.slices.start) <= 1
    assert abs(askew.slices.stop - straight.slices.stop) <= 1


def test_a_field_that_cuts_the_lungs(chest):
    lungs = look(chest)
    box = (slice(None), slice(50, 140), slice(45, 150))
    cut = look(replace(chest, voxels=chest.voxels[box]))
    whole = np.stack([lungs.mask(k) for k in range(chest.slices)])[box]
    assert whole[:, :, [0, -1]].any(), "lungs reach the border"
    found = np.stack([cut.mask(k) for k in range(chest.slices)])
    assert 2 * (whole & found).sum() / (whole.sum() + found.sum()) > 0.95
    # Slices in which the cut leaves no lung may be left out.
    assert set(np.flatnonzero(whole.any(axis=(1, 2)))) <= set(cut.slices)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_any_distance_of_slices(chest, every):
    step, *pixel = chest.geometry.spacing_mm
    thin = replace(chest, voxels=chest.voxels[::every], geometry=Geometry(spacing_mm=(step * every, *pixel)))
    lungs, whole = look(thin), look(chest)
    for k in range(thin.slices):
        assert abs(lungs.pixels[k].sum() - whole.pixels[k * every].sum()) < 0.1 * whole.pixels.max()
    assert lung_ml(lungs, thin.geometry) == pytest.approx(lung_ml(whole, chest.geometry), rel=0.1)


def test_thin_slices_are_looked_at_one_by_one():
    thin, thick = make_phantom(320, 96)[0], make_phantom(40, 96)[0]
    lungs, others = look(thin), look(thick)
    assert thin.geometry.spacing_mm[0] < 1, "several slices in one block of the method's grid"
    assert lungs.slices == lung_range(lungs.pixels.sum(axis=1))
    assert abs(len(lungs.slices) / 8 - len(others.slices)) <= 1
    assert lung_ml(lungs, thin.geometry) == pytest.approx(lung_ml(others, thick.geometry), rel=0.03)


@pytest.mark.parametrize("sides", [(RIGHT,), (LEFT,)])
def test_the_other_lung_says_where_a_white_one_is(chest, sides):
    before, after = look(chest), look(whitened(chest, sides, range(chest.slices)))
    assert after.state == "found"
    assert abs(after.slices.start - before.slices.start) <= 2
    assert abs(after.slices.stop - before.slices.stop) <= 2


@pytest.mark.parametrize("part", ["upper", "middle", "lower"])
def test_white_slices_are_never_left_out(chest, part):
    before = look(chest)
    white = [k for k in before.slices if before.third(k) == part]
    after = look(whitened(chest, (RIGHT, LEFT), white))
    assert after.pixels[white[len(white) // 2]].sum() < before.pixels[white[len(white) // 2]].sum() / 3
    assert all(after.has_lung(k) for k in before.slices)


def test_a_chest_that_is_white_all_over_is_unknown(chest):
    lungs = look(whitened(chest, (RIGHT, LEFT), range(chest.slices)))
    assert lungs.state == "unknown"
    assert {lungs.has_lung(k) for k in range(chest.slices)} == {None}
    assert lung_ml(lungs, chest.geometry) is None


def test_a_consolidation_at_the_ribs_is_lung(chest):
    lungs, k = look(chest), 20
    lung = lungs.sides(k) == RIGHT
    rows, columns = np.nonzero(lung)
    at = rows[columns == columns.min()].mean()
    patch = lung & ellipse(lung.shape, (at, columns.min()), (12, 8))
    voxels = chest.voxels.copy()
    voxels[k - 2 : k + 3, patch] = 40
    after = look(replace(chest, voxels=voxels))
    assert after.mask(k)[patch].mean() > 0.8


def test_a_head_has_no_lung():
    head = body(30, (128, 128), 1.8, fill=1000)
    brain = ellipse((128, 128), (80, 100), (55, 80))
    assert brain.any()
    voxels = np.full(head.voxels.shape, -1000.0)
    voxels[:, ellipse((128, 128), (64, 64), (52, 42))] = 1000
    voxels[:, ellipse((128, 128), (64, 64), (48, 38))] = 35
    voxels[10:22, ellipse((128, 128), (30, 58), (6, 4))] = -1000
    voxels[10:22, ellipse((128, 128), (30, 70), (6, 4))] = -1000
    cells = np.random.default_rng(0).random((8, 14, 10))
    voxels[14:22, 66:80, 28:38] = np.where(cells > 0.5, -900, 300)  # mastoid
    voxels += np.random.default_rng(2).normal(0, 15, voxels.shape)
    lungs = look(replace(head, voxels=np.rint(voxels).astype(np.int16)))
    assert lungs.state == "none"
    assert {lungs.has_lung(k) for k in range(30)} == {False}


def test_gas_in_the_abdomen_is_no_lung():
    abdomen = body()
    voxels = abdomen.voxels.copy()
    gas = ellipse(voxels.shape[1:], (55, 120), (14, 25))  # 44 cm2: a stomach
    voxels[2:14, gas] = np.random.default_rng(3).normal(-995, 15, (12, gas.sum()))
    loops = ellipse(voxels.shape[1:], (60, 60), (9, 9))
    voxels[8:28, loops] = np.random.default_rng(4).normal(-985, 15, (20, loops.sum()))
    lungs = look(replace(abdomen, voxels=voxels))
    assert lungs.state == "none"
    assert lungs.slices == range(0)


def test_slices_of_the_abdomen_below_lungs_are_outside(chest):
    below = body(12, chest.voxels.shape[1:], 1.875, 7.2)
    voxels = np.concatenate((chest.voxels, below.voxels))
    lungs = look(replace(chest, voxels=voxels, slice_positions_mm=None))
    assert lungs.slices == look(chest).slices
    assert [lungs.has_lung(k) for k in range(chest.slices, len(voxels))] == [False] * 12


def test_a_table_with_foam_is_no_lung(chest):
    voxels = chest.voxels.copy()
    voxels[:, 168:190, 10:182] = 100
    voxels[:, 171:187, 13:179] = -880
    assert look(replace(chest, voxels=voxels)).pixels.sum() == pytest.approx(
        look(chest).pixels.sum(), rel=0.02
    )


def test_pictures_without_size(chest):
    whole, lungs = look(chest), look(pictures(chest), LUNG_WINDOW)
    for k in range(8, 32):
        one, other = whole.mask(k), lungs.mask(k)
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.93
    assert lung_ml(lungs, Geometry()) is None


@pytest.mark.parametrize("index", [10, 20, 30])
@pytest.mark.parametrize("box", [(slice(None), slice(None)), (slice(45, 150), slice(20, 172))])
def test_a_single_picture_cropped_or_not(chest, index, box):
    one = pictures(replace(chest, voxels=chest.voxels[index : index + 1, *box]))
    lungs = look(one, likely_hu_range(one.voxels[0].astype(np.uint8)))
    assert lungs.has_lung(0)
    reference = look(chest).mask(index)[box]
    assert 2 * (lungs.mask(0) & reference).sum() / (lungs.mask(0).sum() + reference.sum()) > 0.9


def test_single_pictures_without_lung(chest):
    white = whitened(replace(chest, voxels=chest.voxels[20:21]), (RIGHT, LEFT), [0])
    assert look(white).has_lung(0) is None, "ribs: it may be a white chest"
    abdomen = body(1)
    assert look(abdomen).has_lung(0) is False
    assert look(pictures(abdomen), LUNG_WINDOW).has_lung(0) is False


def test_inverted_pictures(chest):
    upright = pictures(chest)
    inverted = replace(upright, voxels=(255 - upright.voxels).astype(np.int16), inverted=True)
    assert look(inverted, LUNG_WINDOW).pixels.tolist() == look(upright, LUNG_WINDOW).pixels.tolist()


@pytest.mark.parametrize(
    "changes", [{"unit": "values"}, {"unit": "grey"}, {"plane": "coronal"}, {"plane": "oblique"}]
)
def test_what_nothing_can_be_said_of_passes(chest, changes):
    lungs = look(replace(chest, **changes))
    assert lungs.state == "unknown"
    assert lungs.has_lung(3) is None
    assert not lungs.mask(3).any()


def test_uneven_slices_have_lungs_but_no_volume(chest):
    _, *pixel = chest.geometry.spacing_mm
    uneven = replace(chest, geometry=Geometry(spacing_mm=(None, *pixel)))
    lungs = look(uneven)
    assert lungs.slices == look(chest).slices
    assert lung_ml(lungs, uneven.geometry) is None


def test_empty_pictures_are_no_error():
    for value in (-1000, 0, 3000):
        volume = body(3)
        volume = replace(volume, voxels=np.full_like(volume.voxels, value))
        assert look(volume).state in ("none", "unknown")
        assert look(replace(volume, voxels=volume.voxels[:1, :3, :3])).state in ("none", "unknown")


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (1, 2, 2), (4, 3, 1), (2, 40, 1)])
@pytest.mark.parametrize("step", [None, 0.3, 5.0])
def test_slices_of_a_few_pixels_are_no_error(shape, step):
    noise = np.random.default_rng(5)
    for unit, high in (("HU", 1500), ("grey", 255)):
        voxels = noise.integers(0 if unit == "grey" else -1200, high, shape).astype(np.int16)
        volume = Volume(
            "few", "few", voxels, Geometry(spacing_mm=(step, 0.7, 12.0)), unit=unit, plane="axial"
        )
        lungs = look(volume, LUNG_WINDOW)
        assert [lungs.mask(k).shape for k in range(shape[0])] == [shape[1:]] * shape[0]
        assert {lungs.has_lung(k) for k in range(shape[0])} <= {True, False, None}


def test_it_tells_how_far_it_is_and_can_be_stopped(chest):
    items = list(find_lungs(chest))
    steps = [item for item in items if isinstance(item, Progress)]
    assert len(steps) > chest.slices
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert all(step.done < step.total for step in steps)
    job = find_lungs(chest)
    next(job)
    job.close()


def test_a_volume_is_looked_at_once(chest):
    volume = replace(chest, series_id="once")
    assert known_lungs(volume) is None
    first = finish(lungs_of(volume))[-1]
    assert list(lungs_of(volume)) == [first]
    assert known_lungs(volume) is first


# ------------------------------------------------------------------------------------------ real data


def series(folder):
    entry = finish(scan(folder))[-1].series[0]
    return finish(load(entry))[-1]


@pytest.mark.parametrize(
    ("name", "slices", "ml"),
    [
        ("siemens_scope_covid_P001", range(9, 148), (5500, 6600)),
        ("siemens_scope_cap_cap001_every5th", range(1, 31), (5300, 6400)),
        ("siemens_scope_normal_normal001_every5th", range(2, 28), (3100, 3700)),
        ("philips_brilliance16p_chest_J2K", range(60), (1150, 1400)),
    ],
)
def test_real_chests(shared_data, name, slices, ml):
    volume = series(shared_data / "C_ct_dicom_series" / name)
    start = time.process_time()
    lungs = look(volume)
    assert time.process_time() - start < 15
    assert abs(lungs.slices.start - slices.start) <= 1
    assert abs(lungs.slices.stop - slices.stop) <= 1
    assert ml[0] < lung_ml(lungs, volume.geometry) < ml[1]


def test_real_heads_and_abdomens(shared_data):
    root = shared_data / "C_ct_dicom_series"
    head = series(root / "ge_hispeed_head_tilt_uneven")
    assert look(head).state == "none"
    assert look(series(root / "tiny_head_64x64")).state == "unknown", "raw values"
    chest = series(root / "siemens_scope_cap_cap001_every5th")
    assert look(replace(chest, voxels=chest.voxels[31:], slice_positions_mm=None)).state == "none"


def test_expert_lung_masks(shared_data):
    """Every fifth picture of A3 and A4, one by one, as pictures without size and HU."""
    for name, least in (("A3_medseg_volumes_ggo_consolidation", 0.95), ("A4_zenodo20_lesion", 0.96)):
        scores = []
        for path in sorted((shared_data / name / "images").iterdir())[::5]:
            image = np.array(Image.open(path))
            expert = np.array(Image.open(shared_data / name / "lung_masks" / path.name)) > 0
            volume = Volume("one", "one", image[None].astype(np.int16), Geometry(), unit="grey")
            lungs = look(volume, likely_hu_range(image))
            assert lungs.has_lung(0) is not False
            found = lungs.mask(0)
            scores.append(2 * (found & expert).sum() / (found.sum() + expert.sum()))
        assert np.median(scores) > least
        assert np.mean(np.array(scores) < 0.7) < 0.05
