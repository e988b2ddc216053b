"""The window and the exported picture say and draw the same."""

from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import FakeEngine, FakeReader, make_card, make_verdict, make_volume
from PIL import Image, ImageDraw
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QImage, QPainter
from test_window_export import export

from ctmasknet_gui.view.viewport import annotations
from model_core.base.geometry import Geometry
from model_core.base.volume import PatientText
from model_core.export.png import RESEARCH_USE
from model_core.scene import image_colour, region_colour, rgb
from model_core.scene.corners import RESEARCH
from model_core.scene.palette import LETTER, PNEUMONIA, REFERENCE

REGIONS = ("GGO", "Consolidation")
# Leaning by 12 degrees: between the two rules that once stood for the window and for exported pictures.
TILTED = np.array([[0.0, -0.208, -0.978], [0.0, 0.978, -0.208], [1.0, 0.0, 0.0]])
STEEP = np.array([[0.0, -0.342, -0.940], [0.0, 0.940, -0.342], [1.0, 0.0, 0.0]])


class TwoClasses(FakeEngine):
    """Every second region is of the second class; all lie away from the corners."""

    def load(self, names):
        pipeline = super().load(names)
        pipeline.cards = (replace(make_card(), region_classes=REGIONS),)
        pipeline.region_classes = REGIONS
        return pipeline

    def result(self, pipeline, volume, index):
        result = super().result(pipeline, volume, index)
        result.detection_candidates.labels[1::2] = 2
        result.detection_candidates.boxes[:] = 60 + 2.5 * result.detection_candidates.boxes
        return result


class Calibrated(TwoClasses):
    """Every slice is ill, and so is the scan."""

    def shown(self, *arguments, **more):
        shown = super().shown(*arguments, **more)
        ill = replace(shown.summary, lung=True, ill_probability=0.93, kind="undecided", unlike_training=True)
        return replace(shown, summary=ill)

    def scan_verdict(self, summaries, *, basis, control="Control", **_known):
        seen = len(list(summaries))
        return make_verdict(basis=basis, lung_slices=seen, ill_slices=seen) if seen else None


def volume_of(axes):
    patient = PatientText("Doe^Jane", "4711", "19500101", "F", "071Y", "20200301", "Chest", "Clinic")
    return make_volume(
        shape=(256, 320),
        geometry=Geometry(spacing_mm=(2.0, 0.8, 0.8), origin_mm=(0.0, 0.0, 0.0), axes=axes),
        patient=patient,
        lossy=True,
        every=2,
    )


@pytest.fixture(params=[TILTED, STEEP], ids=["tilted", "steep"])
def analysed(request, make_app):
    rig = make_app(engine=TwoClasses(), reader=FakeReader([volume_of(request.param)]))
    rig.open()
    rig.run_slice()
    rig.controllers.opening.open_reference(rig.folder / "mask.nii")
    rig.settle()
    return rig


@pytest.fixture
def judged(make_app):
    rig = make_app(engine=Calibrated(), reader=FakeReader([volume_of(TILTED)]))
    rig.open()
    rig.run_series()
    return rig


@pytest.fixture
def texts_of(monkeypatch):
    """What is written, and in which colour, on the viewport and on an exported picture."""
    on_screen, in_picture = {}, {}
    draw_screen, draw_picture = QPainter.drawText, ImageDraw.ImageDraw.text

    def screen(painter, *args):
        # Halos are drawn before the text itself.
        on_screen[args[-1]] = painter.pen().color().name().upper()
        return draw_screen(painter, *args)

    def picture(draw, xy, text, fill=None, *args, **kwargs):
        in_picture[text] = str(fill).upper()
        return draw_picture(draw, xy, text, fill, *args, **kwargs)

    def read(rig, target, prepare):
        on_screen.clear()
        in_picture.clear()
        rig.viewport.repaint()
        annotations._haloed.cache_clear()  # texts of the frame before are not written again
        monkeypatch.setattr(QPainter, "drawText", screen)
        grabbed = rig.viewport.grab().toImage()
        monkeypatch.setattr(QPainter, "drawText", draw_screen)
        monkeypatch.setattr(ImageDraw.ImageDraw, "text", picture)
        export(rig, rig.commands.export_png, target, prepare)
        monkeypatch.setattr(ImageDraw.ImageDraw, "text", draw_picture)
        with Image.open(target) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        return dict(on_screen), dict(in_picture), as_array(grabbed), pixels

    return read


def as_array(image):
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 3].reshape(image.height(), image.width(), 3).astype(int)


def has(pixels, colour):
    return bool((np.abs(pixels - np.array(rgb(colour))).max(axis=-1) <= 2).sum() >= 4)


def compare(on_screen, in_picture, *, classes):
    """Compare all texts but those that only one of the two has, by design."""
    zoom = {text for text in on_screen if text.startswith("zoom ")}
    assert len(zoom) == 1
    own = {RESEARCH_USE, "Class of this slice", *classes}
    own |= {text for text in in_picture if text.startswith("score > ") or text == "fake"}
    best = {text for text in on_screen if text in classes}
    assert len(best) == 1
    assert on_screen.keys() - zoom - {RESEARCH} - best == in_picture.keys() - own
    assert best <= in_picture.keys()
    for text in on_screen.keys() & in_picture.keys():
        assert on_screen[text] == in_picture[text], text


def test_letters_words_colours_and_class_order_are_the_same(analysed, texts_of):
    window, state = analysed.window, analysed.state
    # The best class stands on the screen, every class in the picture, in the order of the bars.
    rows = window.explanation.classes.bars.rows
    classes = [f"{name} {number}" for name, number, _ in rows]
    assert [name for name, _, _ in rows] == list(state.weights.image_classes)
    out = analysed.folder / "a.png"
    on_screen, in_picture, seen, pixels = texts_of(analysed, out, lambda d: d.identity.setChecked(True))
    compare(on_screen, in_picture, classes=classes)
    assert [text for text in in_picture if text in classes] == classes
    for text in ("Doe, Jane · F · 71Y", "every 2nd slice", "lossy compression", "reference mask", *REGIONS):
        assert text in on_screen
    letters = analysed.viewport.letters
    steep = analysed.state.case.volume.geometry.axes is STEEP
    assert letters == (("R", "L", "AH", "PF") if steep else ("R", "L", "A", "P"))
    for letter in letters:
        assert on_screen[letter] == in_picture[letter] == LETTER
    best = max(rows, key=lambda row: row[2])[0]
    for colour in (*map(region_colour, REGIONS), image_colour(best), REFERENCE):
        assert has(seen, colour), QColor(colour).name()
        assert has(pixels, colour), QColor(colour).name()


def test_flips_privacy_and_overlays_are_the_same(analysed, texts_of):
    analysed.key(Qt.Key.Key_H)
    analysed.key(Qt.Key.Key_I)
    analysed.key(Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    analysed.key(Qt.Key.Key_L)
    classes = [f"{name} {number}" for name, number, _ in analysed.window.explanation.classes.bars.rows]
    out = analysed.folder / "b.png"
    on_screen, in_picture, _, _ = texts_of(analysed, out, lambda d: None)
    # What hides the patient is told on screen; a picture without the patient needs no such word.
    assert on_screen.pop("Privacy mode")
    compare(on_screen, in_picture, classes=classes)
    assert "inverted · flipped left-right" in in_picture
    assert {analysed.viewport.letters.left, analysed.viewport.letters.right} == {"L", "R"}
    for word in ("Doe", "4711", "1950", "Chest", "Clinic", "Series"):
        assert not any(word in text for text in (*on_screen, *in_picture))
    assert not any(name in text for name in REGIONS for text in in_picture if "·" in text), "labels are off"


def test_the_verdict_is_told_in_the_same_words(judged, texts_of):
    panel = judged.window.explanation
    out = judged.folder / "c.png"
    on_screen, in_picture, seen, pixels = texts_of(judged, out, lambda d: None)
    slice_words = ["Pneumonia signs", "pneumonia 0.93", "kind undecided", "unlike the training data"]
    assert panel.classes.text == "Pneumonia signs · kind undecided"
    for text in slice_words:
        assert text in on_screen
        assert on_screen[text] == in_picture[text]
    # Long lines are broken in the picture; what they say is what the card says.
    written = " ".join(in_picture)
    card = panel.card
    for line in (card.answer, card.where, card.amount, card.kind, card.worth):
        assert line.text() in written
    assert f"Scan: {card.answer.text()}" in in_picture
    assert has(seen, PNEUMONIA)
    assert has(pixels, PNEUMONIA)


def test_what_uncalibrated_weights_say_of_a_scan_stays_off_pictures(analysed, texts_of):
    _, in_picture, _, _ = texts_of(analysed, analysed.folder / "d.png", lambda d: None)
    assert analysed.state.results.scan is not None
    assert not any("Scan" in text for text in in_picture)


def test_a_deciding_slice_is_a_click_away(judged):
    thumbnails = judged.window.explanation.card.thumbnails
    assert [thumbnail.index for thumbnail in thumbnails[:3]] == [3, 4, 1]
    assert thumbnails[0].current, "the middle slice is the first to be seen"
    judged.qtbot.mouseClick(thumbnails[2], Qt.MouseButton.LeftButton)
    assert judged.state.display.slice_index == 1
    assert [thumbnail.current for thumbnail in thumbnails[:3]] == [False, False, True]
    judged.key(Qt.Key.Key_Down)
    assert judged.state.display.slice_index == 2, "the reading keys stay with the slices"
