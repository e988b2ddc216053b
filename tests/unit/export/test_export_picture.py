"""Pictures, checked pixel by pixel."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from model_core.base.errors import SettingsError
from model_core.base.geometry import Geometry
from model_core.base.reasons import SliceReason
from model_core.base.results import RoiBatch
from model_core.base.voi import apply_window
from model_core.base.volume import Window
from model_core.export import Overlays
from model_core.export import render_slice as render
from model_core.export.look import Look
from model_core.export.text import TextLayer
from model_core.scene import (
    Corners,
    EdgeLetters,
    Label,
    Line,
    ScanWords,
    Screen,
    corner_lines,
    edge_letters,
    palette,
    rgb,
)

OUTLINE = Overlays(masks=False, outlines=True, boxes=False)
ORANGE, VERMILION, REFERENCE_COLOUR = map(rgb, (palette.ORANGE, palette.VERMILION, palette.REFERENCE))
NAMES = {
    "region_classes": ("Lesion", "Consolidation"),
    "image_classes": ("Control", "Other", "COVID-19"),
}


def render_slice(volume, index, **look):
    return render(volume, index, **(NAMES | look))


def pixels_of(picture, colour):
    return (picture == np.array(colour, np.uint8)).all(axis=2)


def border(rows, columns, shape):
    """Pixels on the border of a rectangle, inside it."""
    expected = np.zeros(shape, bool)
    expected[slice(*rows), slice(*columns)] = True
    expected[rows[0] + 1 : rows[1] - 1, columns[0] + 1 : columns[1] - 1] = False
    return expected


@pytest.mark.parametrize("shape", [(3, 40, 50), (3, 41, 51)])
@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_outline_lies_on_the_mask_at_the_resolution_of_the_picture(
    make_volume, make_shown, rectangle, shape, scale
):
    volume = make_volume(shape)
    shown = make_shown(volume, [rectangle(volume, (10, 20), (15, 31))])
    picture = render_slice(volume, 1, shown=shown, overlays=OUTLINE, scale=scale, text=False)
    factor = int(scale)
    assert picture.shape == (shape[1] * factor, shape[2] * factor, 3)
    expected = border((10 * factor, 20 * factor), (15 * factor, 31 * factor), picture.shape[:2])
    assert np.array_equal(pixels_of(picture, ORANGE), expected)
    untouched = picture[~expected]
    assert (untouched == untouched[0, 0]).all()


def test_outline_closes_at_the_border_of_the_picture(make_volume, make_shown, rectangle):
    volume = make_volume()
    shown = make_shown(volume, [rectangle(volume, (0, 6), (44, 50))])
    picture = render_slice(volume, 1, shown=shown, overlays=OUTLINE, text=False)
    assert np.array_equal(pixels_of(picture, ORANGE), border((0, 6), (44, 50), (40, 50)))


def test_voxels_are_exact_at_scale_one(make_volume):
    volume = make_volume()
    volume.voxels[1] = np.arange(2000, dtype=np.int16).reshape(40, 50) - 1000
    window = Window(400, 40)
    picture = render_slice(volume, 1, window=window, text=False)
    assert np.array_equal(picture, np.repeat(apply_window(volume.voxels[1], window)[..., None], 3, axis=2))
    inverted = render_slice(volume, 1, window=window, text=False, inverted=True)
    assert np.array_equal(inverted, 255 - picture)


def test_anisotropic_pixels_keep_their_shape_in_mm(make_volume, make_shown, rectangle):
    volume = make_volume((3, 20, 50), spacing=(2.0, 1.5, 0.5))
    shown = make_shown(volume, [rectangle(volume, (4, 10), (10, 28))])
    picture = render_slice(volume, 1, shown=shown, overlays=OUTLINE, scale=2, text=False)
    assert picture.shape == (120, 100, 3)
    assert np.array_equal(pixels_of(picture, ORANGE), border((24, 60), (20, 56), picture.shape[:2]))


def test_unknown_spacing_counts_as_square(make_volume):
    volume = make_volume(spacing=(None, None, None))
    assert render_slice(volume, 1, scale=2, text=False).shape == (80, 100, 3)


def test_smaller_than_the_slice_averages(make_volume):
    volume = make_volume((3, 40, 40))
    volume.voxels[1, ::2] = -200
    volume.voxels[1, 1::2] = -1000
    picture = render_slice(volume, 1, window=Window(1500, -600), scale=0.5, text=False)
    middle = apply_window(np.array([[-600]], np.int16), Window(1500, -600))[0, 0]
    assert picture.shape == (20, 20, 3)
    assert np.abs(picture[5:-5].astype(int) - int(middle)).max() <= 2


def test_smoothing_can_be_switched_off(make_volume):
    volume = make_volume()
    volume.voxels[1] = np.random.default_rng(0).integers(-1000, 400, (40, 50)).astype(np.int16)
    plain = render_slice(volume, 1, text=False)
    assert np.array_equal(
        render_slice(volume, 1, text=False, scale=3, smooth=False), plain.repeat(3, 0).repeat(3, 1)
    )


def test_fill_blends_and_the_better_detection_wins(make_volume, make_shown, rectangle):
    volume = make_volume()
    shown = make_shown(
        volume, [rectangle(volume, (5, 15), (5, 15)), rectangle(volume, (10, 25), (10, 25))], labels=[2, 1]
    )
    fill = Overlays(masks=True, outlines=False, boxes=False, opacity=0.5)
    picture = render_slice(volume, 1, shown=shown, overlays=fill, text=False).astype(int)
    grey = picture[0, 0]
    for where, label in (((7, 7), 2), ((12, 12), 2), ((20, 20), 1)):
        expected = grey + 0.5 * (np.array((ORANGE, VERMILION)[label - 1]) - grey)
        assert np.abs(picture[where] - expected).max() <= 1
    clear = render_slice(volume, 1, shown=shown, overlays=dataclasses.replace(fill, opacity=0), text=False)
    assert (clear == grey).all()


def test_contributions_colour_regions_and_the_legend_says_so(make_volume, make_shown, rectangle):
    volume = make_volume()
    shown = make_shown(volume, [rectangle(volume, (5, 15), (5, 15)), rectangle(volume, (20, 30), (25, 35))])
    candidates = tuple(roi.candidate for roi in shown.rois)
    values = np.zeros((len(candidates), 3))
    values[:2, 2] = 1.5, -1.5
    reason = SliceReason(
        slice_index=1, way="integrated_gradients", outputs=NAMES["image_classes"], calibration=None,
        logits=np.array([0.0, 0.0, 1.0]), baseline=np.zeros(3), candidates=candidates,
        ranks=tuple(range(1, len(candidates) + 1)), values=values, references=32,
    )  # fmt: skip
    look = {"overlays": Overlays(outlines=False, contributions=True), "text": False}
    picture = render_slice(volume, 1, shown=shown, reason=reason, **look).astype(int)
    plain = render_slice(volume, 1, shown=shown, **look).astype(int)
    for roi, colour in zip(shown.rois[:2], (ORANGE, rgb(palette.SKY)), strict=True):
        x1, y1, x2, y2 = (round(edge) for edge in roi.box)
        inside = (slice(y1 + 3, y2 - 3), slice(x1 + 3, x2 - 3))
        towards = (picture[inside] - plain[inside]) * (np.array(colour) - plain[inside])
        assert (towards.sum(axis=-1) > 0).all()
        assert (picture[y1, x1 : x2 - 1] != plain[y1, x1 : x2 - 1]).any()
    outside = np.ones(picture.shape[:2], bool)
    for roi in shown.rois:
        x1, y1, x2, y2 = (round(edge) for edge in roi.box)
        outside[y1 : y2 + 1, x1 : x2 + 1] = False
    assert (picture[outside] == plain[outside]).all()
    settings = Look(**NAMES, reason=reason, overlays=look["overlays"])
    lines = [line.text for line in corner_lines(volume, 1, settings, shown).top_right]
    assert lines[-2:] == ["for COVID-19", "against COVID-19"]


def test_box_encloses_exactly_its_pixels(make_volume, make_shown, rectangle):
    volume = make_volume()
    shown = make_shown(volume, [rectangle(volume, (10, 20), (15, 31))])
    boxes = Overlays(outlines=False, boxes=True)
    for factor in (1, 2):
        picture = render_slice(volume, 1, shown=shown, overlays=boxes, scale=factor, text=False)
        expected = border((10 * factor, 20 * factor), (15 * factor, 31 * factor), picture.shape[:2])
        assert np.array_equal(pixels_of(picture, ORANGE), expected)
    selected = render_slice(volume, 1, shown=shown, overlays=boxes, selected=0, text=False)
    assert not pixels_of(selected, ORANGE).any()
    assert pixels_of(selected, (255, 255, 255))[10, 15:31].all()


def test_flips_turn_everything_but_the_words(make_volume, make_shown, rectangle):
    volume = make_volume()
    volume.voxels[1] = np.random.default_rng(0).integers(-1000, 400, (40, 50)).astype(np.int16)
    shown = make_shown(volume, [rectangle(volume, (3, 12), (4, 20))])
    overlays = Overlays(masks=True, boxes=True, logits=True)
    reference = np.zeros(volume.voxels.shape, np.uint8)
    plain = render_slice(volume, 1, shown=shown, overlays=overlays, text=False)
    turned = render_slice(
        volume, 1, shown=shown, overlays=overlays, text=False, flip_horizontal=True, flip_vertical=True,
        reference=reference,
    )  # fmt: skip
    assert np.array_equal(turned, plain[::-1, ::-1])
    assert shown.detections.boxes[0].tolist() == [4, 3, 20, 12]


def test_logit_map_is_drawn_where_there_is_a_box(make_volume, make_shown, rectangle):
    volume = make_volume()
    mask = rectangle(volume, (10, 20), (15, 31))
    overlays = Overlays(masks=False, outlines=False, boxes=False, logits=True, opacity=1.0)
    picture = render_slice(volume, 1, shown=make_shown(volume, [mask]), overlays=overlays, text=False)
    assert np.array_equal((picture != picture[0, 0]).any(axis=2), mask)
    # Logits -4 to 6 in even steps, on a scale between their 1st and 99th percentile: cividis from end to end.
    assert picture[10, 15].tolist() == [0, 34, 78]
    assert picture[10, 30].tolist() == [254, 232, 56]
    # An opaque scale, whatever the opacity of masks is.
    faint = dataclasses.replace(overlays, opacity=0.1)
    again = render_slice(volume, 1, shown=make_shown(volume, [mask]), overlays=faint, text=False)
    assert np.array_equal(again, picture)
    none = render_slice(volume, 1, shown=make_shown(volume), overlays=overlays)
    assert none.shape[2] == 3


def test_a_few_extreme_logits_do_not_take_the_colours_of_all_others(make_volume, make_shown):
    logits = np.full((40, 50), np.nan, np.float32)
    logits[10:20, 10:40] = np.linspace(-2, 3, 300).reshape(10, 30)
    logits[10, 10:12] = -300.0
    shown = dataclasses.replace(make_shown(make_volume()), logit_map=logits)
    low, high = shown.logit_range
    present = logits[np.isfinite(logits)]
    assert (low, high) == pytest.approx((np.percentile(present, 1), np.percentile(present, 99)))
    assert -3 < low < -1.9
    flat = dataclasses.replace(shown, logit_map=np.where(np.isfinite(logits), np.float32(2), logits))
    assert flat.logit_range == (1.5, 2.5)
    assert dataclasses.replace(shown, logit_map=np.full((40, 50), np.nan)).logit_range is None


def test_words_of_the_class(make_volume, make_shown):
    volume = make_volume()
    shown = make_shown(volume)
    names = ("Control", "Other", "COVID-19")
    sure = dataclasses.replace(shown.verdict, probabilities=np.array([0.001, 0.4, 0.999], np.float32))
    nothing = RoiBatch(np.zeros((8, 5), np.float32), np.full(8, -1), np.zeros(0, np.int64))

    def words(verdict):
        seen = dataclasses.replace(shown, verdict=verdict)
        lines = corner_lines(volume, 1, Look(image_classes=names), seen).top_left
        return [(line.text, line.bold) for line in lines]

    classes = ["Control < 0.01", "Other 0.40", "COVID-19 > 0.99"]
    doubt = ("uncalibrated", False)
    likely = zip(classes, (False, False, True), strict=True)
    assert words(sure) == [("Class of this slice", False), *likely, doubt]
    bias = dataclasses.replace(sure, batch=nothing)
    assert words(bias) == [
        ("Network's bias: no region left", False),
        *((name, False) for name in classes),
        doubt,
    ]


def test_calibrated_weights_say_ill_or_not_and_the_scan(make_volume, make_shown):
    volume = make_volume()
    shown = make_shown(volume)
    look = Look(image_classes=("Control", "Other", "COVID-19"))

    def words(screen=None, look=look, **changes):
        changes = {"ill_probability": 0.93, "kind": "undecided", "lung": True, "detections": 2, **changes}
        seen = dataclasses.replace(shown, summary=dataclasses.replace(shown.summary, **changes))
        return corner_lines(volume, 1, look, seen, screen=screen)

    said = ["Pneumonia signs", "pneumonia 0.93", "kind undecided"]
    assert [line.text for line in words(Screen()).top_left] == said
    classes = ["Class of this slice", "Control 0.05", "Other 0.25", "COVID-19 0.90"]
    assert [line.text for line in words().top_left] == [*said, *classes]
    assert words(Screen()).top_left[0].swatch == palette.PNEUMONIA
    doubt = [line.text for line in words(Screen(), detections=0, unlike_training=True).top_left]
    assert doubt == ["Uncertain", said[1], "looks ill; no lesion marked", "unlike the training data"]
    outside = words(lung=False, ill_probability=None, kind=None).top_left
    assert [line.text for line in outside] == ["Outside the lung: no class"]
    scan = ScanWords("Pneumonia signs", where="in 90 of 128 lung slices (controls: 6 %)", worth="Not checked")
    told = dataclasses.replace(look, scan=scan)
    assert [line.text for line in words(look=told).bottom_left] == ["Slice 2 / 3 · 28.0 mm"]
    assert [line.text for line in words(look=told).below] == [
        "Scan: Pneumonia signs",
        "in 90 of 128 lung slices (controls: 6 %)",
        "Not checked",
    ]
    assert words(Screen(), look=told).below == ()
    assert len(words(Screen(), told).bottom_left) == 1, "a window says it in its panel"
    moved = dataclasses.replace(look, scan=dataclasses.replace(scan, edited=True))
    assert "edited evidence or thresholds" in [line.text for line in words(look=moved).below]
    partly = dataclasses.replace(look, scan=dataclasses.replace(scan, partial=True))
    assert not words(look=partly).below, "a picture is kept, what is said so far is not"


def test_what_is_said_of_a_scan_covers_nothing_of_the_slice(make_volume, make_shown):
    volume = make_volume()
    shown = make_shown(volume)
    scan = ScanWords(
        "Pneumonia signs",
        where="in 90 of 128 lung slices",
        amount="168 ml",
        kind="k " * 60,
        worth="Not checked",
    )
    plain = render_slice(volume, 1, shown=shown, scale=8)
    note = "a long note " * 30
    told = render_slice(volume, 1, shown=shown, scale=8, scan=scan, key_image=note)
    height = len(plain)
    np.testing.assert_array_equal(told[:height], plain)
    assert told[height:].any(axis=(1, 2)).sum() > 60, "several lines of text"
    assert not told[height:, -3:].any(), "broken before the edge"
    with_plots = render_slice(volume, 1, shown=shown, scale=8, scan=scan, plots=True)
    assert with_plots.shape[1] > told.shape[1]


def test_a_selected_roi_that_is_not_shown_is_dashed(make_volume, make_shown, rectangle):
    volume = make_volume()
    shown = make_shown(volume, [rectangle(volume, (20, 30), (30, 40))])
    picture = render_slice(volume, 1, shown=shown, selected=103, scale=8, text=False)
    rim = border((16, 64), (8, 90), picture.shape[:2])
    white, dark = pixels_of(picture, (255, 255, 255)), pixels_of(picture, (0, 0, 0))
    assert ((white | dark) & rim).sum() == rim.sum()
    assert 0.35 < (white & rim).sum() / rim.sum() < 0.75
    plain = render_slice(volume, 1, shown=shown, scale=8, text=False)
    assert ((picture != plain).any(axis=2) & ~rim).sum() == 0
    assert (render_slice(volume, 1, shown=shown, selected=103) != render_slice(volume, 1, shown=shown)).any()


def test_classes_have_the_colours_of_their_names():
    look = Look(region_classes=("Consolidation", "Lesion"))
    assert [look.region_colour(label) for label in (1, 2)] == [palette.VERMILION, palette.ORANGE]
    assert look.region_colour(3) != look.region_colour(4)
    assert look.region_name(3) == "class 3"


def test_plots_stand_beside_the_picture(make_volume, make_shown):
    volume = make_volume((3, 64, 64))
    shown = make_shown(volume)
    alone = render_slice(volume, 1, shown=shown, scale=10)
    both = render_slice(volume, 1, shown=shown, scale=10, plots=True)
    assert both.shape == (640, 640 + 320, 3)
    assert np.array_equal(both[:, :640], alone)
    for part in np.array_split(both[:, 640:], 3):
        assert len(np.unique(part.reshape(-1, 3), axis=0)) > 5
    without_class = make_shown(volume, verdict=False)
    two = render_slice(volume, 1, shown=without_class, scale=10, plots=True)
    assert two.shape == both.shape
    for part in np.array_split(two[:, 640:], 2):
        assert len(np.unique(part.reshape(-1, 3), axis=0)) > 5


def test_reference_is_dashed_along_the_rim(make_volume, rectangle):
    volume = make_volume()
    reference = np.zeros(volume.voxels.shape, np.uint8)
    reference[1, 8:30, 10:40] = 3
    picture = render_slice(volume, 1, reference=reference, scale=2, text=False)
    rim = border((16, 60), (20, 80), picture.shape[:2])
    lit = pixels_of(picture, REFERENCE_COLOUR)
    dark = pixels_of(picture, (0, 0, 0))
    assert np.array_equal(lit | dark, rim)
    assert 0.4 < lit.sum() / rim.sum() < 0.8
    hidden = render_slice(volume, 1, reference=reference, text=False, overlays=Overlays(reference=False))
    assert (hidden == hidden[0, 0]).all()
    assert not pixels_of(render_slice(volume, 0, reference=reference, text=False), REFERENCE_COLOUR).any()


def test_diagonal_reference_is_visible(make_volume):
    volume = make_volume((1, 120, 120))
    rows, columns = np.mgrid[:120, :120]
    for mask in (np.abs(rows - 60) + np.abs(columns - 60) < 50, np.abs(rows - columns) < 3):
        picture = render_slice(volume, 0, reference=mask[None].astype(np.uint8), text=False)
        lit = pixels_of(picture, REFERENCE_COLOUR)
        for half in (lit[:60], lit[60:], lit[:, :60], lit[:, 60:]):
            assert half.sum() > 20


def test_text_needs_room_so_small_slices_are_enlarged(make_volume):
    volume = make_volume((2, 64, 64), spacing=(1.0, 1.0, 1.0))
    assert render_slice(volume, 0).shape == (384, 384, 3)
    assert render_slice(volume, 0, text=False).shape == (64, 64, 3)
    strip = make_volume((2, 4, 512), spacing=(1.0, 1.0, 1.0))
    assert render_slice(strip, 0).shape == (64, 8192, 3)


def test_words_differ_only_where_words_are(make_volume, make_shown):
    volume = make_volume((3, 400, 400), value=-1350)
    plain = render_slice(volume, 1)
    assert np.array_equal(plain, render_slice(volume, 1))
    with_patient = render_slice(volume, 1, identity=True)
    changed = (plain != with_patient).any(axis=2)
    assert changed[:, :200].any(), "the patient"
    assert changed[:, 200:].any(), "the title"
    assert not changed[150:].any()
    published = render_slice(volume, 1, shown=make_shown(volume))
    edited = render_slice(volume, 1, shown=make_shown(volume, basis="edited"))
    marked = (published != edited).any(axis=2)
    assert marked.any()
    assert not marked[:, 200:].any()
    assert np.array_equal(edited, render_slice(volume, 1, shown=make_shown(volume), edited=True))


def words(corners):
    blocks = (corners.top_left, corners.top_right, corners.bottom_left, corners.bottom_right)
    return [[line.text for line in block] for block in blocks]


def test_corner_text_holds_what_is_asked_for_and_no_patient_unasked(make_volume, make_shown, rectangle):
    volume = make_volume(lossy=True)
    shown = make_shown(volume, [rectangle(volume, (3, 12), (4, 20))], labels=[2], basis="edited")
    look = Look(window=Window(1500, -600, "Lung"), **NAMES)
    place = ["CT", "0.70 × 0.70 × 2.00 mm", "lossy compression"]
    assert words(corner_lines(volume, 1, look, shown, reference=True)) == [
        [
            "Class of this slice",
            "Control 0.05",
            "Other 0.25",
            "COVID-19 0.90",
            "uncalibrated",
            "edited evidence",
        ],
        [*place, "Consolidation", "reference mask"],
        ["Slice 2 / 3 · 28.0 mm"],
        ["score > 0.50, NMS 0.75", "W 1500  L −600 (Lung)"],
    ]
    look = dataclasses.replace(look, weights="lesion-r18t1 + covid-s-r18t1")
    origin = words(corner_lines(volume, 1, look, shown))[3]
    assert origin[:2] == ["lesion-r18t1 + covid-s-r18t1", "score > 0.50, NMS 0.75"]
    bare = words(corner_lines(volume, 1, look, None))  # nothing was computed
    assert (bare[0], bare[3]) == ([], ["W 1500  L −600 (Lung)"])
    asked = corner_lines(volume, 1, Look(identity=True), None)
    assert "DOE, JANE" in asked.text
    assert "Chest 1.0" in asked.text
    for word in ("DOE", "JANE", "PID-77", "2020", "Chest"):
        assert word not in corner_lines(volume, 1, Look(), None).text


def test_a_picture_says_that_slices_were_left_out(make_volume):
    few = make_volume(every=3)
    line = corner_lines(few, 1, Look(), None).top_right[0]
    assert (line.text, line.colour) == ("every 3rd slice", palette.AMBER)
    assert "every" not in corner_lines(make_volume(), 1, Look(), None).text
    assert not np.array_equal(render_slice(few, 1), render_slice(make_volume(), 1))


def test_labels_stay_inside_and_never_cover_each_other():
    image = Image.new("RGB", (400, 400), (255, 255, 255))
    corners = Corners(top_left=(Line("Slice 1 / 9"),), top_right=(Line("COVID-19 0.93"),))
    layer = TextLayer(image, corners, footer="F")
    layer.side_letters(EdgeLetters("R", "L", "A", "P"))
    before = len(layer.taken)
    rng = np.random.default_rng(0)
    boxes = [(x, y, x + 20, y + 20) for x, y in rng.uniform(-5, 390, (60, 2))]
    layer.labels([Label(k, box, ("Ground glass 0.52", "0.52"), "#E69F00") for k, box in enumerate(boxes)])
    assert 15 < len(layer.taken) - before <= 25, "the labels that are not too many, and the remark"
    rects = np.array(layer.taken)
    assert rects.min() >= -2
    for first in range(len(rects)):
        x1, y1, x2, y2 = rects[first]
        others = np.delete(rects, first, axis=0)
        clear = (others[:, 0] >= x2) | (others[:, 2] <= x1) | (others[:, 1] >= y2) | (others[:, 3] <= y1)
        assert clear.all()


def test_long_words_are_cut_not_crossed(make_volume, make_shown):
    volume = make_volume((2, 400, 400), value=-1350)
    shown = make_shown(volume, index=0)
    names = ("C" * 200, "Other", "COVID-19")
    picture = render_slice(volume, 0, shown=shown, image_classes=names)
    between = picture[:100, 185:192]  # left of the letter in the middle of the upper side
    assert (between == between[0, 0]).all()
    assert (picture[:100, 150:185] != picture[0, 0]).any()


def test_orientation_letters_follow_the_directions():
    axial = Geometry(axes=np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]))
    assert edge_letters(axial) == ("R", "L", "A", "P")
    assert edge_letters(axial, flip_horizontal=True, flip_vertical=True) == ("L", "R", "P", "A")
    sagittal = Geometry(axes=np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    assert edge_letters(sagittal) == ("A", "P", "H", "F")
    leaning = Geometry(axes=np.array([[0, 0.5, -0.866], [0.0, 0.866, 0.5], [1, 0, 0]]))
    assert edge_letters(leaning) == ("R", "L", "AF", "PH")
    assert edge_letters(Geometry()) == ("", "", "", "")


def test_what_cannot_be_drawn_says_so(make_volume, make_shown):
    volume = make_volume()
    with pytest.raises(SettingsError, match="slices 0 to 2"):
        render_slice(volume, 3)
    with pytest.raises(SettingsError, match="not of slice 0"):
        render_slice(volume, 0, shown=make_shown(volume, index=1))
    with pytest.raises(SettingsError, match="scale"):
        render_slice(volume, 0, scale=0)
    with pytest.raises(SettingsError, match="too large"):
        render_slice(make_volume((1, 600, 600)), 0, scale=64)
    with pytest.raises(SettingsError, match="opacity"):
        Overlays(opacity=2)


def test_monochrome1_is_shown_inverted(make_volume):
    volume = make_volume(inverted=True)
    volume.voxels[1, 0] = 100
    plain = render_slice(make_volume(), 1, text=False)
    assert (render_slice(volume, 1, text=False)[1] == 255 - plain[1]).all()
