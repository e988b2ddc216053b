"""The viewport with real widgets: where things are drawn, what the mouse asks for, what is written."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import IMAGE_CLASSES, make_card, make_volume
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, QRectF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage, QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.viewport import Viewport
from ctmasknet_gui.view.viewport.mapping import MAX_ZOOM, MIN_ZOOM, View, fit_zoom, pixel_aspect
from ctmasknet_gui.view.viewport.outlines import trace
from ctmasknet_gui.view.viewport.pictures import logit_image
from model_core.base.geometry import Geometry
from model_core.base.results import Detections, ImageVerdict, RoiBatch, RoiRow, ShownSlice, SliceSummary
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.volume import PartialVolume, PatientText, Window, readable_name
from model_core.scene import edge_letters, image_colour, place_labels, region_colour, rgb
from model_core.scene.corners import readable_age
from model_core.scene.labels import Label
from model_core.scene.letters import letters_of
from model_core.scene.palette import NEUTRAL, REFERENCE

AXIAL = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
LEFT, MIDDLE, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton, Qt.MouseButton.RightButton
NONE = Qt.MouseButton.NoButton
MIDDLE_POINT = QPointF(200, 150)
ORANGE = (0xE6, 0x9F, 0x00)


def make_shown(
    shape, masks, *, index=0, basis="published", logit_map=None, rois=(), labels=None, scores=None
):
    masks = np.array(masks, bool).reshape(-1, *shape)
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    count = len(masks)
    detections = Detections(
        indices=np.arange(count) * 10 + 5,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores or np.linspace(0.9, 0.5, count), np.float32),
        labels=np.array(labels or [1] * count, np.int64),
        mask_boxes=np.array(boxes, np.float32).reshape(-1, 4),
        mask_logits=np.zeros((count, 28, 28), np.float32),
        settings=DetectionSettings(),
    )
    batch = RoiBatch(np.zeros((16, 5), np.float32), np.zeros(16, np.int64), np.arange(1))
    verdict = ImageVerdict(
        np.zeros(3, np.float32), np.array([0.1, 0.2, 0.91], np.float32), batch, EvidenceSettings(), basis
    )
    if logit_map is None:
        logit_map = np.full(shape, np.nan, np.float32)
    summary = SliceSummary(index, count, int(masks.any(0).sum()) if count else 0, None, (0.1, 0.2, 0.91))
    return ShownSlice(index, detections, masks, logit_map, tuple(rois), verdict, summary)


def pixel_mask(shape, *pixels):
    mask = np.zeros(shape, bool)
    for row, column in pixels:
        mask[row, column] = True
    return mask


@pytest.fixture
def state():
    state = AppState()
    state.weights.cards = (make_card(),)
    return state


@pytest.fixture
def viewport(qtbot, state):
    widget = Viewport(state)
    qtbot.addWidget(widget)
    widget.resize(401, 300)
    widget.show()
    return widget


def volume_of(voxels, spacing=(2.0, 0.8, 0.8), **changes):
    voxels = np.asarray(voxels, np.int16)
    geometry = Geometry(spacing_mm=spacing, origin_mm=(0, 0, 0), axes=AXIAL)
    return make_volume(slices=len(voxels), voxels=voxels, **{"geometry": geometry, **changes})


def mouse(widget, kind, position, button=NONE, buttons=None):
    buttons = button if buttons is None else buttons
    position = QPointF(position)
    event = QMouseEvent(
        kind, position, widget.mapToGlobal(position), button, buttons, Qt.KeyboardModifier.NoModifier
    )
    QApplication.sendEvent(widget, event)


def drag(widget, start, end, button):
    mouse(widget, QEvent.Type.MouseButtonPress, start, button)
    mouse(widget, QEvent.Type.MouseMove, end, NONE, button)
    mouse(widget, QEvent.Type.MouseButtonRelease, end, button, NONE)


def click(widget, position, button=LEFT):
    mouse(widget, QEvent.Type.MouseButtonPress, position, button)
    mouse(widget, QEvent.Type.MouseButtonRelease, position, button, NONE)


def wheel(widget, delta, position=MIDDLE_POINT, modifiers=Qt.KeyboardModifier.NoModifier):
    event = QWheelEvent(
        position, widget.mapToGlobal(position), QPoint(), QPoint(0, delta), NONE, modifiers,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


def grabbed(widget):
    """(h, w, 3) RGB of the widget as drawn."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 3].reshape(image.height(), image.width(), 3).astype(int)


def colour_at(widget, point):
    return tuple(grabbed(widget)[int(point.y()), int(point.x())])


def only(display, **switches):
    for name in ("masks", "outlines", "boxes", "labels", "logits", "reference"):
        setattr(display, name, switches.get(name, False))


# ----------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (512, 511)])
@pytest.mark.parametrize("zoom", [0.07, 1.0, 3.7, 40.0])
def test_screen_and_slice_are_inverse(shape, zoom, flips):
    view = View(
        shape=shape, aspect=(2.5, 1.0), size=(640.0, 481.0), zoom=zoom, pan=(13.0, -70.5),
        flip_horizontal=flips[0], flip_vertical=flips[1],
    )  # fmt: skip
    for x, y in ((0, 0), (shape[1], shape[0]), (shape[1] / 3, shape[0] / 7)):
        back = view.to_slice(view.to_screen(x, y))
        assert back == pytest.approx((x, y), abs=1e-6)
    for row in {0, shape[0] // 2, shape[0] - 1}:
        for column in {0, shape[1] // 2, shape[1] - 1}:
            for inset in (0.02, 0.5, 0.98):
                point = view.to_screen(column + inset, row + inset)
                assert view.voxel_at(point) == (row, column)
    outside = view.picture.topLeft() - QPointF(1, 1)
    assert view.voxel_at(outside) is None


def test_zoom_keeps_the_point_under_the_mouse():
    view = View(shape=(100, 100), aspect=(1, 1), size=(500, 400), zoom=2.0, pan=(5, 6), flip_vertical=True)
    anchor = QPointF(222, 111)
    before = view.to_slice(anchor)
    zoomed = view.zoomed(5.5, anchor)
    assert zoomed.to_slice(anchor) == pytest.approx(before)
    assert view.zoomed(1e9, anchor).zoom == MAX_ZOOM
    assert view.zoomed(1e-9, anchor).zoom == MIN_ZOOM


def test_the_picture_cannot_be_dragged_out_of_sight():
    view = View(shape=(100, 100), aspect=(1, 1), size=(500, 400), zoom=2.0).panned(9999, -9999)
    visible = view.picture.intersected(QRectF(0, 0, 500, 400))
    assert visible.width() >= 40
    assert visible.height() >= 40


def test_fit_and_aspect_follow_the_spacing():
    assert pixel_aspect((1.0, 5.0, 0.5)) == (10.0, 1.0)
    assert pixel_aspect((1.0, None, 0.5)) == (1.0, 1.0)
    assert pixel_aspect((1.0, float("nan"), 0.5)) == (1.0, 1.0)
    assert pixel_aspect((1.0, None, None), 2.0) == (2.0, 1.0)
    assert pixel_aspect((1.0, None, None), 0.5) == (1.0, 2.0)
    assert pixel_aspect((1.0, 5.0, 0.5), 2.0) == (10.0, 1.0)
    zoom = fit_zoom((40, 400), (10.0, 1.0), (408.0, 308.0))
    assert zoom == pytest.approx(300 / 400)
    view = View(shape=(40, 400), aspect=(10.0, 1.0), size=(408, 308), zoom=zoom)
    assert view.picture.width() == pytest.approx(view.picture.height())


def test_letters_come_from_the_direction_cosines():
    axial = Geometry(axes=AXIAL)
    assert edge_letters(axial, flip_horizontal=False, flip_vertical=False) == ("R", "L", "A", "P")
    assert edge_letters(axial, flip_horizontal=True, flip_vertical=False) == ("L", "R", "A", "P")
    assert edge_letters(axial, flip_horizontal=False, flip_vertical=True) == ("R", "L", "P", "A")
    coronal = Geometry(axes=np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float))
    assert edge_letters(coronal, flip_horizontal=False, flip_vertical=False) == ("R", "L", "H", "F")
    assert edge_letters(Geometry(), flip_horizontal=False, flip_vertical=False) == ("", "", "", "")
    assert letters_of((0.8, 0.6, 0.05)) == "LP"
    assert letters_of((-0.1, -0.05, -0.99)) == "F"
    assert letters_of((0, 0, 0)) == ""


# ----------------------------------------------------------------------------------------- contours


def enclosed(loops):
    total = 0.0
    for loop in loops:
        x, y = np.array(loop, float).T
        total += 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
    return total


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_contours_enclose_exactly_the_mask(mask):
    loops = trace(mask)
    assert enclosed(loops) == mask.sum()
    for loop in loops:
        steps = np.abs(np.diff(np.array([*loop, loop[0]]), axis=0))
        assert (steps.min(1) == 0).all(), "a contour leaves the pixel edges"
        assert (steps.max(1) > 0).all()


def test_contour_of_an_empty_mask_is_empty():
    assert trace(np.zeros((4, 5), bool)) == []


def meet(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_labels_stay_inside_and_apart():
    area, taken = (10, 10, 310, 210), [(10, 10, 110, 50)]
    boxes = [(k * 14, 30 + 3 * k, k * 14 + 30, 50 + 3 * k) for k in range(20)]
    labels = [Label(k, box, ("a longer text", "short"), "#E69F00") for k, box in enumerate(boxes)]
    placed = place_labels(labels, lambda text: (7.0 * len(text), 16.0), area=area, taken=taken)
    rects = [rect for _, _, rect in placed.places]
    assert len(rects) > 10
    assert len(rects) + placed.left_out == 20
    for k, (left, top, right, bottom) in enumerate(rects):
        assert left >= 10
        assert top >= 10
        assert right <= 310
        assert bottom <= 210
        assert not any(meet(rects[k], other) for other in [*taken, *rects[:k]])
    wide = place_labels(labels[:1], lambda text: (400.0, 16.0), area=area, taken=[])
    assert (wide.places, wide.left_out) == ((), 1)


def test_labels_leave_other_regions_in_sight_and_shorten_in_a_crowd():
    area = (0, 0, 200, 100)
    upper, lower = (50, 20, 90, 40), (50, 60, 90, 80)
    labels = [Label(1, lower, ("a long text",), "#E69F00"), Label(2, upper, ("other",), "#E69F00")]
    placed = place_labels(labels, lambda text: (40.0, 19.0), area=area, taken=[])
    assert not meet(placed.places[0][2], upper)
    crowd = [(0, 0, 50, 100), (90, 0, 200, 100)]
    texts = Label(1, lower, ("a very long text", "short"), "#E69F00")
    narrow = place_labels([texts], lambda text: (5.0 * len(text), 16.0), area=area, taken=crowd)
    assert [text for _, text, _ in narrow.places] == ["short"]
    outside = Label(1, (300, 300, 310, 310), ("x",), "#E69F00")
    assert place_labels([outside], lambda text: (8.0, 16.0), area=area, taken=[]).left_out == 0


# ------------------------------------------------------------------------------- what is drawn where


@pytest.mark.parametrize("flips", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(("shape", "spacing"), [((20, 20), 0.8), ((21, 16), 0.8), ((13, 27), 2.4)])
@pytest.mark.parametrize("zoom", [6.0, 9.0, 13.5])
def test_everything_sits_on_its_voxel(viewport, state, shape, spacing, zoom, flips):
    row, column = 5, 9
    voxels = np.full((1, *shape), -1000)
    voxels[0, row, column] = 1000
    logits = np.full(shape, np.nan, np.float32)
    logits[row, column], logits[0, 0] = 3.0, -3.0
    state.case.volume = volume_of(voxels, spacing=(2.0, spacing, 0.8))
    display = state.display
    display.window = Window(2000, 0)
    display.zoom, display.opacity = zoom, 1.0
    display.flip_horizontal, display.flip_vertical = flips
    state.results.shown = make_shown(shape, [pixel_mask(shape, (row, column))], logit_map=logits)
    reference = np.zeros((1, *shape), np.uint8)
    reference[0, row, column] = 1
    view = viewport.current_view
    centre = view.to_screen(column + 0.5, row + 0.5)
    beside = [
        view.to_screen(column + 0.5 + dx, row + 0.5 + dy) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    corners = [view.to_screen(column + x, row + y) for x in (0.2, 0.8) for y in (0.2, 0.8)]

    only(display)
    assert colour_at(viewport, centre)[0] > 200, "the grey voxel"
    assert all(max(colour_at(viewport, point)) < 100 for point in beside)
    only(display, masks=True)
    assert all(colour_at(viewport, point) == ORANGE for point in (centre, *corners)), "the mask"
    assert all(max(colour_at(viewport, point)) < 100 for point in beside)
    only(display, logits=True)
    yellow = colour_at(viewport, centre)
    assert yellow[0] > 240, "the logit map"
    assert yellow[2] < 80
    assert all(max(colour_at(viewport, point)) < 100 for point in beside)
    only(display, outlines=True)
    assert colour_at(viewport, view.to_screen(column, row + 0.5))[0] > 150, "the outline"
    only(display, reference=True)
    state.case.reference = reference
    picture = grabbed(viewport)
    # The legend in the upper right corner has the colour too.
    picture[:90, -130:] = 0
    ys, xs = np.nonzero((picture[..., 0] > 180) & (picture[..., 1] > 180) & (picture[..., 2] < 110))
    box = view.box_to_screen((column, row, column + 1, row + 1)).adjusted(-2, -2, 2, 2)
    assert len(xs), "the reference outline"
    assert all(box.contains(QPointF(x + 0.5, y + 0.5)) for x, y in zip(xs, ys, strict=True))


@pytest.mark.parametrize("zoom", [0.4, 1.7, 4.0, 7.5])
def test_a_smooth_picture_is_not_shifted(viewport, state, zoom):
    voxels = np.full((1, 100, 99), -1000)
    voxels[0, 46:52, 50:54] = 1000
    state.case.volume = volume_of(voxels)
    state.display.window = Window(2000, 0)
    state.display.zoom = zoom
    view = viewport.current_view
    # The middle of the viewport, away from text and letters.
    grey = grabbed(viewport)[100:200, 120:280, 0]
    ys, xs = np.mgrid[100:200, 120:280] + 0.5
    middle = view.to_screen(52, 49)
    assert (xs * grey).sum() / grey.sum() == pytest.approx(middle.x(), abs=0.3)
    assert (ys * grey).sum() / grey.sum() == pytest.approx(middle.y(), abs=0.3)


def test_twice_the_resolution_shows_the_same_twice_as_sharp(viewport, state):
    shape = (20, 20)
    state.case.volume = volume_of(np.full((1, *shape), -1000))
    only(state.display, masks=True)
    state.display.zoom, state.display.opacity = 7.3, 1.0
    state.results.shown = make_shown(shape, [pixel_mask(shape, (6, 7))])
    viewport.grab()
    image = QImage(viewport.size() * 2, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(2)
    viewport.render(image)
    box = viewport.current_view.box_to_screen((7, 6, 8, 7))
    y = int(box.center().y() * 2)
    inside = [x for x in range(image.width()) if image.pixelColor(x, y).getRgb()[:3] == ORANGE]
    assert inside[0] == pytest.approx(box.left() * 2, abs=1.01)
    assert inside[-1] + 1 == pytest.approx(box.right() * 2, abs=1.01)
    blurred = [image.pixelColor(x, y).red() for x in (inside[0] - 2, inside[-1] + 2)]
    assert max(blurred) < 100, "the edge is as sharp as the screen allows"


def test_overlapping_masks_are_filled_once_and_holes_stay_open(viewport, state):
    shape = (20, 20)
    ring = pixel_mask(shape, *[(r, c) for r in range(4, 9) for c in range(4, 9) if (r, c) != (6, 6)])
    other = pixel_mask(shape, *[(r, c) for r in range(7, 12) for c in range(7, 12)])
    state.case.volume = volume_of(np.full((1, *shape), -1000))
    only(state.display, masks=True)
    state.display.zoom = 10.0
    state.display.opacity = 0.5
    state.results.shown = make_shown(shape, [ring, other])
    view = viewport.current_view
    once = colour_at(viewport, view.to_screen(4.5, 4.5))
    assert colour_at(viewport, view.to_screen(8.5, 8.5)) == once
    assert colour_at(viewport, view.to_screen(10.5, 10.5)) == once
    hole = colour_at(viewport, view.to_screen(6.5, 6.5))
    assert hole[0] == hole[2]


def test_the_selected_box_has_a_halo(viewport, state):
    shape = (40, 40)
    mask = pixel_mask(shape, *[(r, c) for r in range(14, 24) for c in range(14, 24)])
    state.case.volume = volume_of(np.full((1, *shape), -1000))
    only(state.display, boxes=True)
    state.results.shown = make_shown(shape, [mask])

    def whites():
        edge = viewport.current_view.box_to_screen((14, 14, 24, 24))
        left, y = int(edge.left()), int(edge.center().y())
        return int((grabbed(viewport)[y, left - 5 : left + 6].min(1) > 200).sum())

    assert whites() == 0
    state.selection.candidate = 5
    assert whites() >= 1


def test_a_selected_region_below_the_thresholds_is_drawn_too(viewport, state):
    shape = (40, 40)
    roi = RoiRow(3, 77, 0.05, "lesion", (10.0, 12.0, 30.0, 28.0), 1.0, None, 1, False)
    state.case.volume = volume_of(np.full((1, *shape), -1000))
    only(state.display)
    state.results.shown = make_shown(shape, [], rois=[roi])
    before = viewport.grab().toImage()
    state.selection.candidate = 77
    assert viewport.grab().toImage() != before


def test_inversion_and_the_files_own_inversion_cancel(viewport, state):
    only(state.display)
    state.display.window = Window(2000, 0)
    state.case.volume = volume_of(np.full((1, 9, 9), 1000), inverted=True)
    assert colour_at(viewport, QPointF(150, 120)) == (0, 0, 0)
    state.display.inverted = True
    assert colour_at(viewport, QPointF(150, 120)) == (255, 255, 255)


def test_logit_colours_lie_between_the_ends_of_their_range():
    values = np.array([[np.nan, -9.0, 1.0, 7.0]], np.float32)
    image = logit_image(values, (-4.0, 6.0))
    assert image.pixelColor(0, 0).alpha() == 0
    low, middle, high = (image.pixelColor(x, 0) for x in (1, 2, 3))
    assert low.blue() > low.red()
    assert abs(middle.red() - middle.blue()) < 12
    assert high.red() > 240
    assert high.blue() < 80


# ---------------------------------------------------------------------------------------------- text


def test_the_probe_reads_the_exact_voxel(viewport, state):
    voxels = np.arange(2 * 9 * 14).reshape(2, 9, 14) - 100
    state.case.volume = volume_of(voxels, spacing=(2.0, 1.6, 0.8))
    state.display.slice_index = 1
    state.display.flip_horizontal = True
    view = viewport.current_view
    for row, column in ((0, 0), (8, 13), (3, 7)):
        for inset in (0.05, 0.95):
            mouse(viewport, QEvent.Type.MouseMove, view.to_screen(column + inset, row + inset))
            value = str(voxels[1, row, column]).replace("-", "−")
            assert f"x {column}  y {row}  {value} HU" in viewport.corners.text
    QApplication.sendEvent(viewport, QEvent(QEvent.Type.Leave))
    assert "HU" not in viewport.corners.text
    mouse(viewport, QEvent.Type.MouseMove, view.picture.topLeft() - QPointF(3, 3))
    assert "HU" not in viewport.corners.text


def test_the_probe_says_logit_and_probability_where_there_is_one(viewport, state):
    shape = (9, 14)
    state.case.volume = volume_of(np.zeros((1, *shape)), spacing=(2.0, 1.6, 0.8))
    logits = np.full(shape, np.nan, np.float32)
    logits[2, 3:6] = -1.0, 0.0, 9.0
    state.results.shown = shown = make_shown(shape, [], logit_map=logits)

    def probed(row, column):
        point = viewport.current_view.to_screen(column + 0.5, row + 0.5)
        mouse(viewport, QEvent.Type.MouseMove, point)
        return [line.text for line in viewport.corners.bottom_left[:-1]]

    # In a line of its own: in one with the value it would be cut in a narrow window.
    assert probed(2, 3) == ["logit −1.0 (p 0.27)", "x 3  y 2  0 HU"]
    assert probed(2, 4)[0] == "logit 0.0 (p 0.50)"
    assert probed(2, 5)[0] == "logit 9.0 (p > 0.99)"
    assert probed(2, 6) == ["x 6  y 2  0 HU"]  # outside every box there is no logit
    summed = replace(shown.detections, settings=DetectionSettings(logit_rule="sum"))
    state.results.shown = replace(shown, detections=summed)
    # Added up it is no longer the logit of one mask, so it has no probability.
    assert probed(2, 3)[0] == "sum of logits −1.0"


def test_the_logit_map_is_made_once_and_only_where_it_is_drawn_or_probed(viewport, state):
    shape, made = (9, 14), []

    def make():
        made.append(True)
        return np.zeros(shape, np.float32)

    state.case.volume = volume_of(np.zeros((1, *shape)), spacing=(2.0, 1.6, 0.8))
    state.results.shown = make_shown(shape, [pixel_mask(shape, (4, 4))], logit_map=make)
    only(state.display, masks=True, outlines=True, boxes=True, labels=True)
    viewport.grab()
    state.results.shown = state.results.shown.changed(rois=())
    viewport.grab()
    assert made == []
    mouse(viewport, QEvent.Type.MouseMove, viewport.current_view.to_screen(3.5, 2.5))
    assert "logit 0.0" in viewport.corners.text
    only(state.display, logits=True)
    viewport.grab()
    assert made == [True]


def test_the_logit_map_is_opaque_and_its_bar_tells_its_range(viewport, state, monkeypatch):
    from ctmasknet_gui.view.viewport import annotations as module

    written = []
    plain = module.halo_text
    monkeypatch.setattr(
        module, "halo_text", lambda *given, **how: (written.append(given[2]), plain(*given, **how))
    )
    shape = (20, 20)
    logits = np.full(shape, np.nan, np.float32)
    logits[5:15, 5:15] = np.linspace(-4, 6, 100).reshape(10, 10)
    logits[5, 5], logits[14, 14] = -300.0, 300.0
    viewport.resize(700, 600)
    state.case.volume = volume_of(np.full((1, *shape), 1000))
    state.results.shown = shown = make_shown(shape, [], logit_map=logits)
    only(state.display, logits=True)
    state.display.opacity = 0.1
    low, high = shown.logit_range
    place = viewport.current_view.to_screen(5.5, 5.5)
    assert colour_at(viewport, place) == (0x00, 0x22, 0x4E)  # the end of the scale, whatever lies under it
    assert {"mask logit", f"≥ +{high:.1f}", f"≤ −{-low:.1f}", "0"} <= set(written)
    # Nothing to show, nothing to explain.
    written.clear()
    state.results.shown = make_shown(shape, [])
    viewport.grab()
    assert "mask logit" not in written


def test_a_class_without_any_region_is_not_told_as_one(viewport, state):
    state.case.volume = volume_of(np.zeros((2, 9, 9)))
    shown = make_shown((9, 9), [], basis="edited")
    nothing = replace(shown.verdict.batch, kept=np.zeros(0, np.int64))
    state.results.shown = replace(shown, verdict=replace(shown.verdict, batch=nothing))
    assert "Network's bias: no region left" in viewport.corners.text
    assert IMAGE_CLASSES[2] not in viewport.corners.text
    assert not any(line.swatch or line.bold for line in viewport.corners.top_left)
    assert "edited evidence" in viewport.corners.text


@pytest.mark.parametrize(("unit", "text"), [("grey", "grey 7"), ("values", "value 7"), ("HU", "7 HU")])
def test_the_probe_names_the_unit(viewport, state, unit, text):
    state.case.volume = volume_of(np.full((1, 9, 9), 7), unit=unit)
    mouse(viewport, QEvent.Type.MouseMove, QPointF(200, 150))
    assert text in viewport.corners.text
    assert unit == "HU" or "HU" not in viewport.corners.text


def test_privacy_hides_the_patient_and_the_title(viewport, state):
    patient = PatientText(name="Doe^Jane", patient_id="4711-99", birth_date="19600102", study_date="20200301")
    state.case.volume = volume_of(np.zeros((3, 9, 9)), title="Jane Doe chest", patient=patient)
    text = viewport.corners.text
    assert "Doe, Jane" in text
    assert "ID 4711-99 · born 1960-01-02" in text
    assert "2020-03-01" in text
    seen = viewport.grab().toImage()
    state.display.privacy = True
    text = viewport.corners.text
    for word in ("Doe", "Jane", "4711", "1960", "2020"):
        assert word not in text
    assert viewport.grab().toImage() != seen
    assert "Research use only" in text


def test_corner_text_follows_the_display(viewport, state):
    state.case.volume = volume_of(np.zeros((5, 9, 9)), lossy=True, slice_positions_mm=np.arange(5) * -2.5)
    state.display.slice_index = 3
    state.display.window = Window(350, -50.5, "Own")
    state.display.zoom = 2.0
    text = viewport.corners.text
    for part in (
        "Slice 4 / 5 · −7.5 mm",
        "W 350.0  L −50.5 (Own)",
        "zoom 2.00×",
        "0.80 × 0.80 × 2.00 mm",
        "lossy",
    ):
        assert part in text
    state.display.zoom = None
    assert "(fit)" in viewport.corners.text
    state.case.volume = volume_of(np.zeros((5, 9, 9)), geometry=Geometry(), slice_positions_mm=None)
    assert "pixel size unknown" in viewport.corners.text
    assert "orientation unknown" in viewport.corners.text
    assert "mm" not in viewport.corners.text


def test_the_class_of_the_slice_and_its_mark(viewport, state):
    state.case.volume = volume_of(np.zeros((2, 9, 9)))
    state.results.shown = make_shown((9, 9), [])
    assert f"{IMAGE_CLASSES[2]} 0.91" in viewport.corners.text
    assert "edited evidence" not in viewport.corners.text
    state.results.shown = make_shown((9, 9), [], basis="edited")
    assert "edited evidence" in viewport.corners.text
    state.display.slice_index = 1
    assert IMAGE_CLASSES[2] not in viewport.corners.text, "the class of another slice"


def test_the_legend_names_the_colours_on_the_slice(viewport, state):
    shape = (9, 9)
    state.weights.cards = (replace(make_card(), region_classes=("GGO", "Consolidation", "Lung")),)
    state.case.volume = volume_of(np.zeros((2, *shape)))
    masks = [pixel_mask(shape, (2, 2)), pixel_mask(shape, (6, 6)), pixel_mask(shape, (6, 2))]
    state.results.shown = make_shown(shape, masks, labels=[2, 1, 2])

    def legend():
        return [(line.text, line.swatch, line.dashed) for line in viewport.corners.top_right if line.swatch]

    ggo, consolidation = ("GGO", region_colour("GGO"), False), ("Consolidation", "#D55E00", False)
    assert legend() == [ggo, consolidation], "neither classes that are absent nor one twice"
    only(state.display, masks=True)
    assert legend() == [ggo, consolidation]
    only(state.display)
    assert legend() == [], "nothing is drawn in these colours"
    labels = np.zeros((2, *shape), np.uint8)
    labels[0, 3, 3] = 1
    state.case.reference = labels
    only(state.display, reference=True)
    reference = [("reference mask", "#F0E442", True)]
    assert legend() == reference
    assert colour_count(viewport, "#F0E442", top=40) > 0, "its dashes are drawn"
    state.display.slice_index = 1
    assert legend() == [], "neither findings nor reference on this slice"


def colour_count(widget, name, *, top):
    """Pixels near a colour in the upper rows right of the picture's middle."""
    from PySide6.QtGui import QColor

    pixels = grabbed(widget)[: 4 * top, widget.width() // 2 :]
    return int((np.abs(pixels - np.array(QColor(name).getRgb()[:3])).sum(-1) < 30).sum())


@pytest.mark.parametrize("size", [(420, 560), (460, 560), (600, 640)])
def test_nothing_in_the_corners_overlaps(viewport, state, monkeypatch, size):
    from ctmasknet_gui.view.viewport import frame as module

    made = []

    class Recorded(module.Annotations):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(module, "Annotations", Recorded)
    shape = (64, 64)
    state.weights.cards = (replace(make_card(), region_classes=("GGO", "Consolidation")),)
    patient = PatientText("Doe^Jane", "4711", "19500101", "F", "071Y", "20200301", "Chest")
    state.case.volume = volume_of(np.zeros((2, *shape)), patient=patient, title="Thorax 1.0 B60f")
    masks = [pixel_mask(shape, (2, 2)), pixel_mask(shape, (60, 60))]
    state.results.shown = make_shown(
        shape, masks, labels=[2, 1], basis="edited", logit_map=np.ones(shape, np.float32)
    )
    state.case.reference = np.ones((2, *shape), np.uint8)
    state.display.logits = True
    state.display.inverted = state.display.flip_horizontal = True
    viewport.resize(*size)
    made.clear()
    viewport.grab()
    rects = made[0].taken
    assert len(rects) > 15
    for k, one in enumerate(rects):
        assert not [other for other in rects[k + 1 :] if one.adjusted(1, 1, -1, -1).intersects(other)]


def test_labels_without_room_are_counted(viewport, state):
    shape = (64, 64)
    state.case.volume = volume_of(np.zeros((1, *shape)))
    few = [pixel_mask(shape, (8 + 20 * k, 8)) for k in range(2)]
    state.results.shown = make_shown(shape, few)
    viewport.resize(700, 600)
    viewport.grab()
    assert viewport.labels_left_out == 0
    plain = grabbed(viewport)
    many = [pixel_mask(shape, (2 * (k // 6), 10 * (k % 6))) for k in range(30)]
    state.results.shown = make_shown(shape, many)
    crowded = grabbed(viewport)
    assert viewport.labels_left_out >= 30 - 24
    corner = np.s_[-10 - 3 * 18 : -10 - 2 * 18, 10:90]
    assert np.abs(crowded[corner] - plain[corner]).max() > 100, "the remark stands above the slice number"
    state.display.labels = False
    viewport.grab()
    assert viewport.labels_left_out == 0


def test_letters_follow_the_flips(viewport, state):
    state.case.volume = volume_of(np.zeros((1, 9, 9)))
    assert viewport.letters == ("R", "L", "A", "P")
    state.display.flip_horizontal = True
    assert viewport.letters == ("L", "R", "A", "P")


def test_names_and_colours():
    assert readable_name("Yamada^Tarou=山田^太郎") == "Yamada, Tarou"
    assert readable_name("Doe") == "Doe"
    assert readable_name("^Jane") == "Jane"
    assert readable_name("Doe^Jane^Mary^Dr.^Jr.") == "Doe, Jane Mary"
    assert readable_name("=山田^太郎=やまだ^たろう") == "山田 太郎"
    assert readable_name("") == ""
    assert readable_age("039Y") == "39Y"
    assert region_colour("Lesion") == "#E69F00"
    assert region_colour("GGO") == region_colour("Ground-glass opacity") == "#56B4E9"
    assert region_colour("Consolidation") == "#D55E00"
    assert image_colour("Control") == image_colour("Normal") == "#009E73"
    assert image_colour("COVID-19") == image_colour("covid19 pneumonia") == "#CC79A7"
    assert image_colour("Other (non-COVID)") == image_colour("Common pneumonia") == "#0072B2"
    assert image_colour("something", 1) != image_colour("something", 0)
    assert region_colour("something", 1) != region_colour("something", 0)


def test_a_colour_means_one_thing_and_is_seen_on_dark_and_light():
    """Classes, regions and the reference mask: apart from each other also to the colour-blind."""
    from model_core.plots.style import THEMES, legible

    regions = [region_colour(name) for name in ("Lesion", "GGO", "Consolidation", "Lung")]
    images = [image_colour(name) for name in ("Control", "Other (non-COVID)", "COVID-19")]
    used = [*regions, *images, REFERENCE, NEUTRAL]
    for filter_ in (np.eye(3), PROTANOPIA, DEUTERANOPIA):
        seen = [np.clip(filter_ @ linear(colour), 0, 1) ** (1 / 2.4) for colour in used]
        for k, one in enumerate(seen):
            for other, name in zip(seen[k + 1 :], used[k + 1 :], strict=True):
                assert np.abs(one - other).max() > 0.08, (used[k], name)
    for colour in used:
        assert contrast(colour, "#161b22") > 3, "on the panels"
        assert contrast(legible(colour, THEMES["light"]), "#ffffff") > 3, "on reports"


# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)


def linear(colour):
    parts = np.array(rgb(colour)) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """WCAG 2 contrast ratio of two colours."""
    low, high = sorted(float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


# --------------------------------------------------------------------------------------------- mouse


def opened(state, shape=(40, 40), slices=5):
    state.case.volume = volume_of(np.zeros((slices, *shape)))


def test_the_wheel_scrolls_and_collects_fine_steps(viewport, state):
    opened(state)
    asked = []
    viewport.scroll_requested.connect(asked.append)
    wheel(viewport, -120)
    wheel(viewport, 240)
    assert asked == [1, -2]
    for _ in range(8):
        wheel(viewport, -30)
    assert asked == [1, -2, 1, 1]
    wheel(viewport, -100)
    wheel(viewport, 100)
    assert asked == [1, -2, 1, 1], "turning back starts anew"


def test_ctrl_wheel_zooms_at_the_mouse(viewport, state):
    opened(state)
    anchor = QPointF(250, 100)
    under = viewport.current_view.to_slice(anchor)
    zoom = viewport.current_view.zoom

    def answer(zoom, pan):
        state.display.zoom, state.display.pan = zoom, pan

    viewport.view_requested.connect(answer)
    wheel(viewport, 240, anchor, Qt.KeyboardModifier.ControlModifier)
    assert state.display.zoom > zoom * 1.3
    assert viewport.current_view.to_slice(anchor) == pytest.approx(under)
    viewport.zoom_out()
    viewport.zoom_in()


def test_left_drag_asks_for_a_window(viewport, state, qtbot):
    opened(state)
    state.display.window = Window(1500, -600)
    with qtbot.waitSignal(viewport.window_requested) as wider:
        drag(viewport, QPointF(100, 100), QPointF(160, 100), LEFT)
    assert wider.args[0] > 1500
    assert wider.args[1] == -600
    with qtbot.waitSignal(viewport.window_requested) as up:
        drag(viewport, QPointF(100, 100), QPointF(100, 60), LEFT)
    assert up.args[0] == 1500
    assert up.args[1] < -600, "up is a lower level, thus brighter"
    with qtbot.waitSignal(viewport.window_requested) as narrow:
        drag(viewport, QPointF(390, 100), QPointF(-900, 100), LEFT)
    assert narrow.args[0] == 1
    assert state.display.window == Window(1500, -600), "a view never writes state"


def test_a_lost_release_ends_the_drag(viewport, state):
    opened(state)
    windows, picked = [], []
    viewport.window_requested.connect(lambda *values: windows.append(values))
    viewport.candidate_selected.connect(picked.append)
    mouse(viewport, QEvent.Type.MouseButtonPress, QPointF(100, 100), LEFT)
    mouse(viewport, QEvent.Type.MouseMove, QPointF(130, 100), NONE, LEFT)
    assert len(windows) == 1
    # Released over another program: the pointer comes back with no button down.
    mouse(viewport, QEvent.Type.MouseMove, QPointF(160, 100), NONE, NONE)
    mouse(viewport, QEvent.Type.MouseMove, QPointF(190, 100), NONE, NONE)
    mouse(viewport, QEvent.Type.MouseButtonRelease, QPointF(190, 100), LEFT, NONE)
    assert len(windows) == 1
    assert picked == []
    drag(viewport, QPointF(100, 100), QPointF(160, 100), RIGHT)
    mouse(viewport, QEvent.Type.MouseButtonPress, QPointF(100, 100), LEFT)
    drag(viewport, QPointF(100, 100), QPointF(160, 100), LEFT)
    assert len(windows) == 2, "the next drag begins anew"


def test_middle_drag_pans_and_right_drag_zooms_without_a_menu(viewport, state, qtbot):
    opened(state)
    menus = []
    viewport.menu_requested.connect(menus.append)
    zoom = viewport.current_view.zoom
    with qtbot.waitSignal(viewport.view_requested) as panned:
        drag(viewport, QPointF(100, 100), QPointF(130, 90), MIDDLE)
    assert panned.args == [zoom, (30.0, -10.0)]
    with qtbot.waitSignal(viewport.view_requested) as larger:
        drag(viewport, QPointF(100, 100), QPointF(100, 20), RIGHT)
    assert larger.args[0] > zoom
    assert menus == []
    click(viewport, QPointF(100, 100), RIGHT)
    assert menus == [viewport.mapToGlobal(QPoint(100, 100))]


def test_double_click_fits(viewport, state, qtbot):
    opened(state)
    state.display.zoom = 3.0
    with qtbot.waitSignal(viewport.view_requested) as fit:
        mouse(viewport, QEvent.Type.MouseButtonDblClick, QPointF(100, 100), LEFT)
    assert fit.args == [None, (0.0, 0.0)]


def test_a_click_picks_the_smallest_candidate(viewport, state):
    shape = (40, 40)
    opened(state, shape)
    large = pixel_mask(shape, *[(r, c) for r in range(5, 35) for c in range(5, 35)])
    small = pixel_mask(shape, *[(r, c) for r in range(10, 14) for c in range(10, 14)])
    state.results.shown = make_shown(shape, [large, small])
    picked = []
    viewport.candidate_selected.connect(picked.append)
    view = viewport.current_view
    click(viewport, view.to_screen(12, 12))
    click(viewport, view.to_screen(25, 25))
    click(viewport, view.to_screen(1, 38))
    assert picked == [15, 5, None]
    drag(viewport, view.to_screen(12, 12), view.to_screen(25, 25), LEFT)
    assert len(picked) == 3, "a drag is no click"
    only(state.display)
    click(viewport, view.to_screen(12, 12))
    assert len(picked) == 3, "what is hidden cannot be picked"
    assert state.selection.candidate is None


def test_dropped_paths_are_handed_over(viewport, tmp_path, qtbot):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path)), QUrl("https://example.org/a.dcm")])
    copy, keys = Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    entering = QDragEnterEvent(QPoint(50, 50), copy, data, NONE, keys)
    viewport.dragEnterEvent(entering)
    assert entering.isAccepted()
    with qtbot.waitSignal(viewport.paths_dropped) as dropped:
        viewport.dropEvent(QDropEvent(QPointF(50, 50), copy, data, NONE, keys))
    assert dropped.args == [[tmp_path]]


# ------------------------------------------------------------------------------------- awkward states


def test_empty_state_invites_and_disappears(viewport, state, qtbot):
    assert viewport.empty.isVisible()
    assert viewport.current_view is None
    viewport.grab()
    wheel(viewport, 120)
    click(viewport, QPointF(5, 5))
    for button in (viewport.empty.open_file, viewport.empty.open_folder, viewport.empty.demo):
        with qtbot.waitSignal(button.clicked):
            qtbot.mouseClick(button, LEFT)
    state.run.kind = "open"
    assert not viewport.empty.open_file.isVisible()
    state.run.kind = ""
    opened(state)
    assert not viewport.empty.isVisible()
    state.case.volume = None
    assert viewport.empty.isVisible()
    viewport.grab()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 300), (2, 300, 1), (3, 7, 5)])
@pytest.mark.parametrize("spacing", [(None, None, None), (1.0, 8.0, 0.2), (1.0, 0.0, 1.0)])
def test_awkward_volumes_are_drawn(viewport, state, shape, spacing):
    volume = volume_of(np.zeros(shape), spacing=spacing)
    state.case.volume = volume
    mask = np.ones((1, *shape[1:]), bool)
    state.results.shown = make_shown(shape[1:], mask, logit_map=np.zeros(shape[1:], np.float32))
    for name in ("masks", "outlines", "boxes", "logits"):
        setattr(state.display, name, True)
    for size in ((200, 200), (900, 210)):
        viewport.resize(*size)
        for zoom in (None, MIN_ZOOM, 64.0):
            state.display.zoom = zoom
            mouse(viewport, QEvent.Type.MouseMove, QPointF(100, 100))
            assert not viewport.grab().isNull()


def test_results_that_do_not_fit_are_not_drawn(viewport, state):
    opened(state, (20, 20), slices=2)
    plain = viewport.grab().toImage()
    state.results.shown = replace(make_shown((8, 8), [np.ones((8, 8), bool)]), verdict=None)
    assert viewport.grab().toImage() == plain
    state.results.shown = replace(make_shown((20, 20), [np.ones((20, 20), bool)], index=1), verdict=None)
    assert viewport.grab().toImage() == plain
    state.case.reference = np.ones((1, 3, 3), np.uint8)
    assert viewport.grab().toImage() == plain
    state.display.slice_index = 7
    viewport.grab()


def test_a_frame_that_is_painted_again_is_the_same(viewport, state):
    opened(state, (30, 31))
    state.display.zoom, state.display.pan = 3.37, (0.3, 0.4)
    first = viewport.grab().toImage()
    assert viewport.grab().toImage() == first, "kept"
    assert viewport.grab().toImage() == first, "from what was kept"


def test_a_reference_that_is_put_away_is_let_go_of(viewport, state):
    opened(state, (20, 20))
    only(state.display, reference=True)
    state.case.reference = np.ones((5, 20, 20), np.uint8)
    viewport.grab()
    held = weakref.ref(state.case.reference)
    state.case.reference = None
    viewport.grab()
    assert held() is None


def test_overlays_are_renewed_when_they_change(viewport, state):
    shape = (20, 20)
    opened(state, shape)
    only(state.display, masks=True)
    pictures = []
    for row in (3, 3, 12):
        state.results.shown = make_shown(shape, [pixel_mask(shape, (row, 8))])
        pictures.append(viewport.grab().toImage())
    state.display.opacity = 0.9
    pictures.append(viewport.grab().toImage())
    assert pictures[0] == pictures[1]
    assert pictures[1] != pictures[2]
    assert pictures[2] != pictures[3]
    state.display.masks = False
    state.results.shown = None
    without = viewport.grab().toImage()
    assert without not in pictures


def test_a_slice_that_is_not_read_yet_is_grey_and_says_so(viewport, state):
    voxels = np.full((3, 60, 80), 400, np.int16)
    ready = np.array([False, True, False])
    partial = PartialVolume(volume_of(voxels), ready, 1)
    state.case.partial = partial
    state.display.slice_index = 1
    assert not viewport.empty.isVisible()
    centre = viewport.grab().toImage().pixelColor(120, 100)
    assert centre.getRgb()[:3] == (255, 255, 255)
    state.display.slice_index = 2
    mouse(viewport, QEvent.Type.MouseMove, QPointF(120, 100))
    unread = viewport.grab().toImage().pixelColor(120, 100)
    assert unread.getRgb()[:3] not in ((0, 0, 0), (255, 255, 255))
    assert viewport.cursor_voxel is None
    assert viewport.corners.bottom_left[-1].text.startswith("Slice 3 / 3")
    ready[2] = True
    state.case.events.partial.emit(partial, partial)
    assert viewport.grab().toImage().pixelColor(120, 100) == centre
    assert viewport.cursor_voxel is not None
