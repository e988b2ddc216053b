"""Every export through the dialog, and what then lies on the disk."""

import csv
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import SimpleITK
from gui_fakes import FakeReader, make_volume
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QMessageBox

from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.view.export_dialog import ExportDialog
from model_core.export import Overlays, render_slice


@pytest.fixture
def out(analysed):
    folder = analysed.folder / "out"
    folder.mkdir()
    return folder


def export(rig, action, target, prepare=lambda dialog: None):
    """Fill in the dialog of an action and wait for what it writes."""
    action.trigger()
    dialog = rig.window.findChild(ExportDialog)
    prepare(dialog)
    dialog.target.setText(str(target))
    with rig.qtbot.waitSignal(rig.controllers.exporting.exported) as written:
        dialog.export_button.click()
    rig.qtbot.waitUntil(lambda: rig.window.findChild(ExportDialog) is None)
    rig.settle()
    return written.args[0]


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def at(picture, volume, x, y):
    """Colour of the pixel over a point of the slice (the fakes' pixels are square)."""
    height, width = volume.voxels.shape[1:]
    scale = picture.shape[0] / height
    assert picture.shape[1] / width == pytest.approx(scale)
    return picture[int(y * scale), int(x * scale)]


def test_picture_holds_what_is_on_screen(analysed, out, monkeypatch):
    analysed.key(Qt.Key.Key_F)
    written = export(analysed, analysed.commands.export_png, out / "a.png")
    assert written == (out / "a.png",)
    picture = pixels(out / "a.png")
    state = analysed.state
    volume, shown, display = state.case.volume, state.results.shown, state.display
    expected = render_slice(
        volume,
        3,
        shown=shown,
        window=display.window,
        overlays=Overlays(masks=True, opacity=display.opacity),
        region_classes=("lesion",),
        image_classes=state.weights.image_classes,
        weights="fake",
        scale=2.0,
    )
    assert np.array_equal(picture, expected)
    # Inside the first mask grey turns towards orange; far from everything it stays grey.
    red, _, blue = at(picture, volume, 8, 11)
    assert red > blue + 20
    red, green, blue = at(picture, volume, 70, 12)
    assert red == green == blue
    bar = analysed.window.message_bar
    assert bar.text.text() == "1 picture is written to a.png."
    assert bar.path.text() == str(out / "a.png"), "the whole path, to be copied"
    opened_folders = []
    monkeypatch.setattr(
        QDesktopServices, "openUrl", lambda url: opened_folders.append(url.toLocalFile()) or True
    )
    bar.folder_button.click()
    assert opened_folders == [str(out)]


def test_picture_follows_overlays_flip_and_window(analysed, out):
    analysed.commands.outlines.trigger()
    analysed.commands.labels.trigger()
    analysed.key(Qt.Key.Key_3)
    export(analysed, analysed.commands.export_png, out / "plain.png")
    volume = analysed.state.case.volume
    plain = pixels(out / "plain.png")
    red, green, blue = at(plain, volume, 8, 11)
    assert red == green == blue
    analysed.commands.invert.trigger()
    export(analysed, analysed.commands.export_png, out / "inverted.png")
    inverted = pixels(out / "inverted.png")
    # Words are the same in both; every voxel is turned over.
    turned = np.abs(plain + inverted - 255).max(axis=2) <= 1
    assert turned.mean() > 0.7
    analysed.commands.invert.trigger()
    analysed.commands.flip_horizontal.trigger()
    export(analysed, analysed.commands.export_png, out / "flipped.png")
    middle = slice(plain.shape[0] * 2 // 5, plain.shape[0] * 9 // 20), slice(200, -200)
    flipped = pixels(out / "flipped.png")
    assert np.abs(flipped[:, ::-1][middle] - plain[middle]).mean() < 2


def test_pictures_of_a_range_and_of_findings(analysed, out):
    def choose_range(dialog):
        dialog.first.setValue(2)
        dialog.last.setValue(4)

    written = export(analysed, analysed.commands.export_png, out / "range", choose_range)
    assert [path.name for path in written] == [f"slice-000{k}.png" for k in (2, 3, 4)]
    analysed.window.explanation.thresholds.score.spin.setValue(0.6)
    analysed.settle()
    written = export(
        analysed, analysed.commands.export_png, out / "findings", lambda d: d.findings.setChecked(True)
    )
    assert [path.name for path in written] == [f"slice-000{k}.png" for k in range(2, 8)]
    assert "6 pictures are written" in analysed.texts[-1]


def test_plots_beside_the_picture(analysed, out):
    export(analysed, analysed.commands.export_png, out / "a.png")
    export(analysed, analysed.commands.export_png, out / "b.png", lambda d: d.plots.setChecked(True))
    alone, beside = pixels(out / "a.png"), pixels(out / "b.png")
    assert beside.shape[1] > beside.shape[0] * alone.shape[1] / alone.shape[0]


def test_no_patient_identity_unless_asked_for(analysed, out):
    export(analysed, analysed.commands.export_png, out / "a.png")
    assert b"Doe" not in (out / "a.png").read_bytes()
    export(analysed, analysed.commands.export_png, out / "b.png", lambda d: d.identity.setChecked(True))
    assert not np.array_equal(pixels(out / "a.png"), pixels(out / "b.png"))


def test_table_of_all_regions(analysed, out):
    export(analysed, analysed.commands.export_csv, out / "rois.csv")
    with (out / "rois.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    shown = analysed.state.results.shown
    here = [row for row in rows if row["slice_index"] == "3"]
    assert {row["slice_index"] for row in rows} == {str(k) for k in range(7)}
    assert [float(row["score"]) for row in here] == pytest.approx([r.score for r in shown.rois], abs=1e-5)
    assert [row["detected"] for row in here] == ["yes" if r.detected else "no" for r in shown.rois]
    assert {row["evidence"] for row in rows} == {"trained"}


def test_edited_evidence_is_marked_in_the_table(analysed, out):
    analysed.commands.link.trigger()
    analysed.settle()
    export(analysed, analysed.commands.export_csv, out / "rois.csv")
    assert "edited" in (out / "rois.csv").read_text()


def test_lesion_mask_lies_on_the_series(analysed, out):
    export(analysed, analysed.commands.export_lesions, out / "lesions.nii.gz")
    image = SimpleITK.ReadImage(str(out / "lesions.nii.gz"))
    volume = analysed.state.case.volume
    assert image.GetSpacing() == pytest.approx((0.8, 0.8, 2.0))
    labels = volume.geometry.from_native(SimpleITK.GetArrayFromImage(image))
    assert labels.shape == volume.voxels.shape
    assert np.array_equal(labels[3] > 0, analysed.state.results.shown.masks.any(axis=0))
    areas = {k: s.lesion_px for k, s in analysed.state.results.summaries.items()}
    assert {k: int((labels[k] > 0).sum()) for k in areas} == areas


def test_mask_of_a_partly_analysed_series_says_so(opened):
    opened.run_slice()
    export(opened, opened.commands.export_lesions, opened.folder / "lesions.nii.gz")
    assert "Only 1 of 7 slices" in opened.texts[-1]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plots(analysed, out, suffix):
    def choose(dialog):
        dialog.format.setCurrentIndex(dialog.format.findData(suffix))

    written = export(analysed, analysed.commands.export_plots, out / "plots", choose)
    assert len(written) == 4
    for path in written:
        assert path.name.startswith("slice-0004-")
        assert path.suffix == f".{suffix}"
        if suffix == "png":
            with Image.open(path) as picture:
                assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24)) > 10
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_existing_files_are_replaced_only_when_the_user_agrees(analysed, out, monkeypatch):
    target = out / "a.png"
    target.write_text("keep me")
    answers = []

    def answer(button):
        def question(parent, title, text, *rest):
            answers.append(text)
            return button

        monkeypatch.setattr(QMessageBox, "question", question)

    answer(QMessageBox.StandardButton.Cancel)
    analysed.commands.export_png.trigger()
    dialog = analysed.window.findChild(ExportDialog)
    dialog.target.setText(str(target))
    dialog.export_button.click()
    analysed.settle()
    assert "a.png" in answers[0]
    assert target.read_text() == "keep me"
    answer(QMessageBox.StandardButton.Yes)
    export(analysed, analysed.commands.export_png, target)
    assert pixels(target).ndim == 3
    assert sorted(p.name for p in out.iterdir()) == ["a.png"]


def test_export_that_fails_is_told_and_leaves_nothing(analysed, out):
    analysed.commands.export_png.trigger()
    dialog = analysed.window.findChild(ExportDialog)
    dialog.target.setText(str(out / "sub" / "a.png"))
    dialog.export_button.click()
    assert dialog.problem.isVisible()
    dialog.reject()
    gone = ExportRequest(kind="csv", target=out / "a.csv")
    (out / "a.csv").mkdir()
    analysed.window.use.export(gone)
    analysed.settle()
    assert "is a folder" in analysed.window.message_bar.text.text()
    assert [path.name for path in out.iterdir()] == ["a.csv"]


def test_grey_pictures_export_too(make_app):
    rig = make_app(reader=FakeReader([make_volume(unit="grey", windows=())]))
    rig.open()
    export(rig, rig.commands.export_png, rig.folder / "grey.png")
    picture = pixels(rig.folder / "grey.png")
    assert picture.std() > 5


def test_pages_on_slice_and_scan(real, tmp_path):
    real.run_series()
    commands = real.commands
    written = export(real, commands.export_slice_page, tmp_path / "slice")
    assert written == (tmp_path / "slice.html", tmp_path / "slice.pdf")
    assert "Slice 3 of 4" in written[0].read_text()
    assert real.window.message_bar.text.text().startswith("1 page is written to")
    # "Doe" alone may stand in a picture's base64.
    assert "Doe," not in written[0].read_text()
    identity = export(
        real,
        commands.export_scan_page,
        tmp_path / "scan.pdf",
        prepare=lambda dialog: dialog.identity.setChecked(True),
    )
    assert identity == (tmp_path / "scan.html", tmp_path / "scan.pdf")
    assert "Scan of 4 slices" in identity[0].read_text()
    assert "Doe, Jane" in identity[0].read_text()

    def keys(dialog):
        dialog.keys.setChecked(True)

    commands.key_image.trigger()
    figure = export(real, commands.export_figure, tmp_path / "figure.pdf", prepare=keys)
    assert figure == (tmp_path / "figure.pdf", tmp_path / "figure.png")
    assert figure[0].read_bytes().startswith(b"%PDF")
    compared = export(real, commands.export_nms, tmp_path / "nms")
    assert compared == (tmp_path / "nms.pdf", tmp_path / "nms.png")
    assert real.window.message_bar.text.text().startswith("1 figure is written to")
