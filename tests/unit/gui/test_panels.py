"""Series list, class panel, thresholds, region table and plots, driven through their real widgets."""

import itertools
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import make_entry, make_volume
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QFont, QFontMetrics, QGuiApplication, QImage
from PySide6.QtWidgets import QApplication
from window_case import Heard, fill, show

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.case import LungSlices
from ctmasknet_gui.view.explanation.class_panel import ClassPanel
from ctmasknet_gui.view.explanation.plots import PlotPanel
from ctmasknet_gui.view.explanation.roi_model import (
    COLUMNS,
    COPIES_COLUMN,
    SCORE_COLUMN,
    SHOWN_COLUMN,
    RoiModel,
    why_no_evidence,
)
from ctmasknet_gui.view.explanation.roi_table import RoiTable
from ctmasknet_gui.view.explanation.threshold_panel import ThresholdPanel, convert_mask_threshold
from ctmasknet_gui.view.explanation.verdict_card import VerdictCard
from ctmasknet_gui.view.series_list import elided, two_lines
from ctmasknet_gui.view.series_panel import SeriesPanel
from ctmasknet_gui.view.series_text import count_problems
from ctmasknet_gui.view.style import colour
from model_core.base.jobs import finish
from model_core.base.results import SliceSummary
from model_core.base.volume import Catalogue, FileReport, PatientText, Problem
from model_core.export import export_plots
from model_core.export.plots import plot_picture
from model_core.plots import score_area
from model_core.weights.card import read_card
from model_core.weights.store import weights_folder


@pytest.fixture
def state():
    return fill(AppState())


@pytest.fixture
def collect():
    """Collect what a signal carries."""

    def connect(signal):
        values = []
        signal.connect(lambda *items: values.append(items[0] if len(items) == 1 else items))
        return values

    return connect


# -------------------------------------------------------------------------------------------- series


def test_series_list_tells_status_and_reasons(qtbot, state):
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    assert panel.list.count() == 2
    assert panel.list.currentRow() == 0
    tip = panel.list.item(1).toolTip()
    assert "One slice is missing. Distances use the gaps as they are." in tip
    assert "▲" in tip
    assert "complete" in panel.list.item(0).toolTip()


def patients():
    """Series of two patients, one of them with two studies, as mixed as they may be found."""
    doe = PatientText(name="Doe^Jane^Mary", patient_id="4711", study_date="20240131")
    later = replace(doe, study_date="20240301", study_description="CHEST^LOW DOSE")
    roe = PatientText(name="Roe^Jim", patient_id="4712", study_date="20240131")
    return [
        replace(make_entry(make_volume(name)), title="Lung 1.0 mm", patient=patient)
        for name, patient in (("a", doe), ("b", roe), ("c", later), ("d", doe))
    ]


def rows(panel):
    """What is seen of the list, from top to bottom."""
    listed = (panel.list.item(row) for row in range(panel.list.count()))
    return [item.text().split(",  ")[0].split(", 7")[0] for item in listed if not item.isHidden()]


def test_series_are_listed_by_patient_and_study(qtbot, state):
    state.case.catalogue = Catalogue("root", tuple(patients()), ())
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    lung = "Lung 1.0 mm"
    jane, jim = ["Doe, Jane Mary · 4711", "2024-01-31", lung, lung], ["Roe, Jim · 4712", "2024-01-31", lung]
    assert rows(panel) == [*jane, "2024-03-01 · CHEST LOW DOSE", lung, *jim]
    heading = panel.list.item(0)
    assert heading.flags() == Qt.ItemFlag.NoItemFlags
    state.display.privacy = True
    one, two, three, four = (f"Series {number}" for number in (1, 2, 3, 4))
    assert rows(panel) == ["Patient 1", "Study 1", one, four, "Study 2", three, "Patient 2", "Study 1", two]
    tips = "".join(panel.list.item(row).toolTip() for row in range(panel.list.count()))
    assert not any(word in tips for word in ("Doe", "4711", "2024"))


def test_a_long_title_keeps_the_distance_of_its_slices(qtbot):
    metrics = QFontMetrics(QFont())
    text = "2.0 D40s of a very long name 10.0 mm"
    for width in (120, 160):
        shown = elided(text, metrics, width)
        assert shown.endswith("… 10.0 mm")
        assert metrics.horizontalAdvance(shown) <= width
    assert elided(text, metrics, 2000) == text


def test_one_study_needs_no_headings(qtbot, state):
    state.case.catalogue = Catalogue("root", (patients()[0], patients()[3]), ())
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    assert rows(panel) == ["Lung 1.0 mm"] * 2
    assert "Doe, Jane Mary" in panel.list.item(0).toolTip()


def test_problems_too_long_for_a_row_are_counted_there():
    warning, note = Problem("warning", "Slices are not evenly spaced."), Problem("info", "Two windows.")
    entry = make_entry(make_volume("a"))
    assert count_problems(replace(entry, problems=(note, warning, warning))) == "2 warnings"
    assert count_problems(replace(entry, problems=(note,))) == "1 note"
    assert count_problems(replace(entry, problems=(warning, Problem("error", "No pixels.")))) == "1 error"


def test_arrow_keys_go_past_headings(qtbot, state, collect):
    state.case.catalogue = Catalogue("root", tuple(patients()), ())
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    chosen = collect(panel.seriesChosen)
    panel.list.setCurrentRow(3)
    for _ in range(2):
        qtbot.keyClick(panel.list, Qt.Key.Key_Down)
    qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    assert chosen == ["b"]
    rect = panel.list.visualItemRect(panel.list.item(0))
    qtbot.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert chosen == ["b"], "a heading opens nothing"


def test_long_lists_are_searched(qtbot, state, collect):
    many = [
        replace(entry, series_id=f"{entry.series_id}{copy}", title=f"Kernel B{copy}")
        for entry in patients()
        for copy in range(5)
    ]
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    assert not panel.search.isVisible(), "two series need no search"
    state.case.catalogue = Catalogue("root", tuple(many), ())
    assert panel.search.isVisible()
    chosen, left = collect(panel.seriesChosen), collect(panel.seriesPicked)
    panel.focus_search()
    qtbot.keyClicks(panel.search, "b3 JANE 2024-03")
    assert rows(panel) == ["Doe, Jane Mary · 4711", "2024-03-01 · CHEST LOW DOSE", "Kernel B3"]
    qtbot.keyClick(panel.search, Qt.Key.Key_Return)
    assert chosen == ["c3"]
    qtbot.keyClick(panel.search, Qt.Key.Key_Escape)
    assert panel.search.text() == ""
    assert len(left) == 2
    assert len(rows(panel)) == 20 + 5
    qtbot.keyClicks(panel.search, "roe")
    qtbot.keyClick(panel.search, Qt.Key.Key_Down)
    assert panel.list.currentItem().text().startswith("Kernel B0")
    state.display.privacy = True
    assert rows(panel) == [], "what is hidden is not searched"


def test_the_list_counts_the_slices_that_could_be_read(qtbot, state):
    volume = make_volume("nine", slices=8)
    entry = replace(make_entry(volume), size=(9, 64, 80))
    state.case.catalogue = Catalogue("root", (entry,), ())
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    assert "9 × 80×64" in panel.list.item(0).text()
    state.case.volume = volume
    state.display.slice_index = 0
    assert "8 × 80×64" in panel.list.item(0).text()
    assert "8 of 9 slices could be read" in panel.list.item(0).toolTip()


def test_picking_another_series_asks_for_it_and_the_open_one_is_not_asked_for(qtbot, state, collect):
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.resize(220, 500)
    panel.show()
    chosen = collect(panel.seriesChosen)
    for row in (0, 1):
        rect = panel.list.visualItemRect(panel.list.item(row))
        qtbot.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert chosen == ["second"]
    panel.list.setCurrentRow(1)
    qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    assert chosen[-1] == "second"


def test_thumbnail_lands_on_its_series_only(qtbot, state):
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.set_thumbnail("second", np.full((48, 64), 200, np.uint8))
    panel.set_thumbnail("unknown", np.full((48, 64), 200, np.uint8))
    assert panel.list.item(0).data(Qt.ItemDataRole.DecorationRole) is None
    picture = panel.list.item(1).data(Qt.ItemDataRole.DecorationRole)
    assert (picture.width(), picture.height()) == (64, 48)
    assert not panel.grab().isNull()


def test_a_double_click_asks_for_a_series_once(qtbot, state, collect):
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.resize(220, 500)
    panel.show()
    chosen = collect(panel.seriesChosen)
    place = panel.list.visualItemRect(panel.list.item(1)).center()
    for press in (qtbot.mouseClick, qtbot.mouseDClick):
        press(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert chosen == ["second"]


def test_a_click_while_the_series_is_read_does_not_read_it_anew(qtbot, state, collect):
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.list.setCurrentRow(1)
    chosen = collect(panel.seriesChosen)
    qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    state.case.opening = "second"
    qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    assert chosen == ["second"]
    state.case.opening = ""
    qtbot.keyClick(panel.list, Qt.Key.Key_Enter)
    assert chosen == ["second", "second"], "after a failed reading it can be tried again"


def test_privacy_mode_numbers_the_series(qtbot, state):
    entries = tuple(replace(entry, title="Doe_Jane_1971") for entry in state.case.catalogue.series)
    state.case.catalogue = replace(state.case.catalogue, series=entries)
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.resize(220, 500)
    panel.set_thumbnail("second", np.full((48, 64), 200, np.uint8))

    def told():
        roles = Qt.ItemDataRole
        kinds = (roles.DisplayRole, roles.ToolTipRole, roles.AccessibleTextRole)
        return [str(panel.list.item(row).data(kind)) for row in (0, 1) for kind in kinds]

    assert all("Doe_Jane" in text for text in told())
    named = panel.grab().toImage()
    state.display.privacy = True
    assert not any("Doe" in text for text in told())
    assert all(text.startswith("Series 1") and "7 × 80×64, CT" in text for text in told()[:3])
    assert all(text.startswith("Series 2") for text in told()[3:])
    assert panel.grab().toImage() != named
    assert panel.list.item(1).data(Qt.ItemDataRole.DecorationRole) is not None, "its picture stays"
    state.display.privacy = False
    assert all("Doe_Jane" in text for text in told())
    assert panel.grab().toImage() == named


def test_thumbnails_are_sharp_at_twice_the_resolution(qtbot, state):
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    panel.resize(220, 300)
    panel.show()
    # One picture pixel per device pixel: 52 screen pixels at the ratio 2.
    stripes = np.zeros((104, 104), np.uint8)
    stripes[:, ::2] = 255
    panel.set_thumbnail("one", stripes)
    image = QImage(440, 600, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(2)
    panel.render(image)
    item = panel.list.visualItemRect(panel.list.item(0))
    row = 2 * panel.list.viewport().mapTo(panel, item.center()).y()
    left = 2 * panel.list.viewport().mapTo(panel, item.topLeft()).x() + 40
    grey = [image.pixelColor(left + k, row).red() for k in range(60)]
    steps = np.abs(np.diff(grey))
    assert np.median(steps) == 255


def test_files_that_cannot_be_read_are_counted_by_reason(qtbot):
    state = AppState()
    panel = SeriesPanel(state)
    qtbot.addWidget(panel)
    files = tuple(FileReport(f"/x/doe_{k}.dcm", "error", "cut off") for k in range(3))
    state.case.catalogue = Catalogue("root", (make_entry(make_volume()),), files)
    assert panel.problems.count() == 1
    assert "3 files: cut off" in panel.problems.item(0).text()
    assert "doe_1.dcm" in panel.problems.item(0).toolTip()
    state.display.privacy = True
    assert panel.problems.item(0).toolTip() == ""


def test_long_titles_break_between_words_and_never_lose_text(qtbot):
    from PySide6.QtGui import QFont, QFontMetrics

    metrics = QFontMetrics(QFont())
    for title in ("", "x", "Thorax 1.0 B60f sharp kernel lung", "W" * 80, "a " * 60):
        lines = two_lines(title, metrics, 120)
        assert 1 <= len(lines) <= 2
        assert " ".join(lines) == title


# --------------------------------------------------------------------------------------------- class


def test_class_panel_shows_the_classes_of_uncalibrated_weights(qtbot, state):
    panel = ClassPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    # In the network's order, and neither 1 nor 0 is ever certain.
    assert panel.bars.rows == (
        ("Control", "< 0.01", False),
        ("Other", "0.20", False),
        ("COVID-19", "> 0.99", True),
    )
    assert "COVID-19 > 0.99" in panel.bars.accessibleName()
    assert panel.answer.text() == "Uncalibrated"
    assert not panel.badge.isVisible()
    state.thresholds.evidence = replace(state.thresholds.evidence, score=0.5)
    show(state)
    assert panel.badge.isVisible()
    assert not panel.grab().isNull()


def test_a_class_without_any_region_is_called_the_networks_bias(qtbot, state):
    panel, card = ClassPanel(state), VerdictCard(state)
    qtbot.addWidget(panel)
    qtbot.addWidget(card)
    panel.show()
    state.thresholds.evidence = replace(state.thresholds.evidence, score=0.99)
    show(state)
    assert not state.results.shown.rois
    assert panel.detail.text() == "network's bias: no region left"
    assert "not a finding of this slice" in why_no_evidence(state, waiting="")
    assert not any(bold for _, _, bold in panel.bars.rows)
    assert "COVID-19" in card.text
    state.results.scan = replace(state.results.scan, from_bias=True)
    assert card.answer.text() == "The network's bias"
    assert "COVID-19" not in card.text


@pytest.mark.parametrize(
    ("changes", "answer", "detail"),
    [
        ({"ill_probability": 0.93, "kind": "undecided"}, "Pneumonia signs", "kind undecided"),
        ({"ill_probability": 0.93, "kind": "COVID-19"}, "Pneumonia signs", "most like COVID-19"),
        ({"ill_probability": 0.08, "detections": 0}, "No clear pneumonia signs", ""),
        ({"ill_probability": 0.93, "detections": 0}, "Uncertain", "looks ill; no lesion marked"),
        ({"ill_probability": 0.08}, "Uncertain", "lesion marked; looks normal"),
        ({"lung": False}, "Outside the lung: no class", ""),
    ],
)
def test_class_panel_says_what_the_slice_shows(qtbot, state, changes, answer, detail):
    shown = state.results.shown
    state.results.shown = None
    panel = ClassPanel(state)
    qtbot.addWidget(panel)
    panel.resize(438, 62)
    panel.show()
    state.results.shown = replace(shown, summary=replace(shown.summary, **changes))
    assert (panel.answer.text(), panel.detail.text()) == (answer, detail)
    assert panel.bars.isVisible() == ("lung" not in changes)
    named = changes.get("kind") == "COVID-19"
    assert [name for name, _, bold in panel.bars.rows if bold] == ["COVID-19"] * named, "no kind is hinted at"
    told = panel.ill.accessibleName()
    assert told == (
        f"Probability of pneumonia {changes['ill_probability']:.2f}" if "lung" not in changes else ""
    )
    assert answer in panel.accessibleName()
    assert not panel.unlike.isVisible()
    state.results.shown = replace(shown, summary=replace(shown.summary, unlike_training=True, **changes))
    assert panel.unlike.isVisible()
    assert panel.unlike.text() == "unlike the training data"
    assert panel.answer.text() == answer, "it marks, and changes nothing"


def test_class_panel_keeps_its_height_whatever_it_says(qtbot, state):
    panel = ClassPanel(state)
    qtbot.addWidget(panel)
    panel.resize(438, 62)
    panel.show()
    shown, layout = state.results.shown, panel.layout()
    height = layout.totalSizeHint().height()
    for changes in ({"lung": False}, {"ill_probability": 0.9}, {"unlike_training": True, "lung": False}):
        state.results.shown = replace(shown, summary=replace(shown.summary, **changes))
        assert layout.totalSizeHint().height() == height
    for nothing in (None, replace(shown, verdict=None)):
        state.results.shown = nothing
        assert layout.totalSizeHint().height() == height


def test_class_panel_says_why_there_is_no_class(qtbot):
    state = AppState()
    panel = ClassPanel(state)
    qtbot.addWidget(panel)
    state.case.volume = make_volume()
    assert "No network weights" in panel.text
    state.weights.chosen = ("some.safetensors",)
    assert "Not analysed" in panel.text
    fill(state)
    state.results.shown = None
    assert "Not analysed" in panel.text
    state.run.kind = "run"
    assert "A run is going on" in panel.text


# ---------------------------------------------------------------------------------------- thresholds


def test_sliders_emit_complete_settings(qtbot, state, collect):
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    detections, evidence = collect(panel.detectionsChanged), collect(panel.evidenceChanged)
    before = state.thresholds.detections
    panel.score.slider.setValue(73)
    assert detections == [replace(before, score=0.73)]
    panel.nms.slider.setValue(20)
    assert detections[-1] == replace(before, nms_iou=0.2)
    panel.mask_level.slider.setValue(15)
    assert detections[-1] == replace(before, mask_threshold=1.5)
    panel.evidence_score.slider.setValue(40)
    assert evidence == [replace(state.thresholds.evidence, score=0.4)]
    # Nothing was written: state decides.
    assert state.thresholds.detections is before


def test_a_card_that_shows_every_detection_is_shown_as_it_is(qtbot, state, collect):
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    detections = collect(panel.detectionsChanged)
    state.thresholds.detections = replace(state.thresholds.detections, score=-0.01)
    assert panel.score.spin.text() == "all"
    assert detections == []
    panel.score.slider.setValue(panel.score.slider.minimum() + 1)
    panel.score.slider.setValue(panel.score.slider.minimum())
    assert [settings.score for settings in detections] == [0.0, -0.01]


def test_typed_numbers_count_when_complete(qtbot, state, collect):
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    detections = collect(panel.detectionsChanged)
    panel.score.spin.setFocus()
    panel.score.spin.selectAll()
    qtbot.keyClicks(panel.score.spin, "0.9")
    assert detections == []
    qtbot.keyClick(panel.score.spin, Qt.Key.Key_Return)
    assert [settings.score for settings in detections] == [0.9]
    assert panel.score.slider.value() == 90


def test_nms_is_switched_off_and_back_to_the_last_value(qtbot, state, collect):
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    detections = collect(panel.detectionsChanged)
    state.thresholds.last_nms_iou = 0.4
    panel.nms.check.click()
    assert detections[-1].nms_iou is None
    state.thresholds.detections = detections[-1]
    assert not panel.nms.slider.isEnabled()
    panel.nms.check.click()
    assert detections[-1].nms_iou == 0.4


def test_mask_scale_keeps_the_threshold_where_it_is(qtbot, state, collect):
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    detections = collect(panel.detectionsChanged)
    state.thresholds.detections = replace(state.thresholds.detections, mask_threshold=2.0)
    panel.mask_scale.setCurrentIndex(panel.mask_scale.findData("probability"))
    panel.mask_scale.activated.emit(panel.mask_scale.currentIndex())
    assert detections[-1].mask_scale == "probability"
    assert detections[-1].mask_threshold == pytest.approx(0.8808, abs=1e-4)
    state.thresholds.detections = detections[-1]
    assert panel.mask_level.spin.maximum() == 1.0
    assert convert_mask_threshold(0.0, "logit") == -10.0
    assert convert_mask_threshold(1.0, "logit") == 10.0


def test_scoring_link_and_resets(qtbot, state, collect):
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    detections, evidence = collect(panel.detectionsChanged), collect(panel.evidenceChanged)
    linked = collect(panel.linkToggled)
    panel.scoring.setCurrentIndex(panel.scoring.findData("sigmoid"))
    panel.scoring.activated.emit(panel.scoring.currentIndex())
    assert detections[-1].scoring == "sigmoid"
    panel.link.click()
    assert linked == [True]
    state.thresholds.linked = True
    assert not panel.evidence_score.isEnabled()
    state.thresholds.linked = False
    assert not panel.reset_evidence.isEnabled()
    state.thresholds.evidence = replace(state.thresholds.evidence, score=0.3)
    state.thresholds.detections = replace(state.thresholds.detections, score=0.9)
    panel.reset_evidence.click()
    panel.reset_detections.click()
    assert evidence[-1] == state.thresholds.default_evidence
    assert detections[-1] == state.thresholds.default_detections


def test_showing_state_emits_nothing(qtbot, state, collect):
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    heard = [
        collect(signal) for signal in (panel.detectionsChanged, panel.evidenceChanged, panel.linkToggled)
    ]
    state.thresholds.detections = replace(state.thresholds.detections, score=0.123, nms_iou=None)
    state.thresholds.evidence = replace(state.thresholds.evidence, score=0.7, nms_iou=0.1)
    state.thresholds.linked = True
    assert heard == [[], [], []]
    assert panel.score.value == 0.123


def test_wheel_over_an_unfocused_slider_changes_nothing(qtbot, state, collect):
    from PySide6.QtCore import QPoint
    from PySide6.QtGui import QWheelEvent

    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    detections = collect(panel.detectionsChanged)
    for widget in (panel.score.slider, panel.score.spin, panel.mask_scale):
        event = QWheelEvent(
            QPointF(5, 5),
            QPointF(5, 5),
            QPoint(),
            QPoint(0, 120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QGuiApplication.sendEvent(widget, event)
        assert not event.isAccepted()
    assert detections == []


# --------------------------------------------------------------------------------------------- table


def test_table_lists_the_evidence_and_the_best_of_it(qtbot, state, collect):
    table = RoiTable(state)
    qtbot.addWidget(table)
    assert table.model.rowCount() == 6
    state.selection.top = 2
    assert table.model.rowCount() == 2
    assert table.all_button.text() == "All 6"
    tops = collect(table.topChosen)
    table.all_button.click()
    table.top_button.click()
    assert tops == [None, 16]


def test_rows_of_regions_that_are_not_shown_say_why_and_are_dimmed(qtbot, state):
    table = RoiTable(state)
    qtbot.addWidget(table)
    shown = state.results.shown
    fates = [
        {"detected": True},
        {"detected": False, "unshown": "overlap", "suppressor": 1},
        {"detected": False, "unshown": "overlap"},
        {"detected": False, "unshown": "score"},
        {"detected": False, "unshown": "area"},
        {"detected": False, "unshown": "limit"},
    ]
    rois = tuple(replace(roi, **fate) for roi, fate in zip(shown.rois, fates, strict=True))
    state.results.shown = replace(shown, rois=rois)
    model = table.model

    def column(role, column=SHOWN_COLUMN):
        return [model.index(row, column).data(role) for row in range(6)]

    assert column(Qt.ItemDataRole.DisplayRole) == ["●", "by 1", "NMS", "low", "small", "over"]
    tips = column(Qt.ItemDataRole.ToolTipRole)
    for tip, part in zip(
        tips,
        (
            "shown as a detection",
            "not shown: suppressed by region 1 (NMS)",
            "not shown: suppressed by a better one (NMS)",
            "not shown: not above the score threshold",
            "not shown: its box is too small",
            "not shown: beyond the most detections shown",
        ),
        strict=True,
    ):
        assert part in tip
    inks = column(Qt.ItemDataRole.ForegroundRole, 2)
    assert inks[0] is None
    assert all(ink == colour("dimmed") for ink in inks[1:])
    assert "no: suppressed by region 1 (NMS)" in model.as_text()
    table.model.sort(SHOWN_COLUMN, Qt.SortOrder.DescendingOrder)
    assert model.roi(0).detected


def test_a_picked_region_below_the_listed_ones_asks_for_all_of_them(qtbot, state, collect):
    table = RoiTable(state)
    qtbot.addWidget(table)
    table.topChosen.connect(lambda top: setattr(state.selection, "top", top))
    state.selection.top = 2
    state.selection.candidate = 1
    assert state.selection.top == 2, "listed already"
    state.selection.candidate = 4
    assert state.selection.top is None
    assert table.all_button.isChecked()
    assert table.table.currentIndex().row() == 4
    tops = collect(table.topChosen)
    state.selection.top = 2
    assert tops == [], "the user may go back to the best few"
    state.selection.candidate = 999
    state.selection.candidate = None
    assert tops == []


def test_weights_without_a_class_list_their_regions_and_say_what_is_missing(qtbot, state):
    table, plots = RoiTable(state), PlotPanel(state)
    for widget in (table, plots):
        qtbot.addWidget(widget)
        widget.show()
    shown = state.results.shown
    state.weights.cards = tuple(replace(card, image_classes=()) for card in state.weights.cards)
    state.results.shown = replace(shown, verdict=None)
    assert table.heading.text() == "RANKED REGIONS"
    assert table.table.isColumnHidden(COPIES_COLUMN), "there is no RoI batch to stand in"
    assert table.model.rowCount() == len(shown.rois)
    qtbot.waitUntil(lambda: plots.scatter.canvas is not None and plots.scatter.canvas.isVisible())
    plots.tabs.setCurrentWidget(plots.batch)
    assert plots.batch.hint.isVisible()
    assert plots.batch.hint.text() == "These weights give no image class: nothing reads a RoI batch."
    state.results.shown = replace(shown, rois=(), verdict=None)
    assert table.empty.isVisible()
    assert table.empty.text() == "No region passes the thresholds of the ranked regions."
    # With a classifier they are the evidence.
    fill(state)
    state.results.shown = replace(shown, rois=())
    assert table.empty.text() == "No region passes the evidence thresholds."
    assert not table.table.isColumnHidden(COPIES_COLUMN)
    assert plots.scatter.hint.text() == "No region passes the evidence thresholds."
    state.results.shown = None
    assert "once the slice has been analysed" in plots.scatter.hint.text()


def test_regions_that_the_class_has_for_itself_are_not_called_undetected(qtbot, state):
    table, plots = RoiTable(state), PlotPanel(state)
    for widget in (table, plots):
        qtbot.addWidget(widget)
        widget.show()
    assert not table.table.isColumnHidden(SHOWN_COLUMN)
    shown = state.results.shown
    own = tuple(replace(roi, detected=None) for roi in shown.rois)
    state.results.shown = replace(shown, rois=own)
    assert table.table.isColumnHidden(SHOWN_COLUMN)
    tip = table.model.index(0, 1).data(Qt.ItemDataRole.ToolTipRole)
    assert "the shown detections are other regions" in tip
    assert table.model.as_text().splitlines()[1].split("\t")[SHOWN_COLUMN] == "n/a"
    table.model.sort(SHOWN_COLUMN)
    assert table.model.roi(0).rank == 1
    qtbot.waitUntil(lambda: plots.scatter.canvas is not None and plots.scatter.canvas.isVisible())


def test_no_score_is_certain_in_the_table(state):
    model = RoiModel()
    rows = state.results.shown.rois[:2]
    model.set_rows((replace(rows[0], score=0.99987), replace(rows[1], score=0.00012)))
    cells = [model.index(row, SCORE_COLUMN).data() for row in range(2)]
    assert cells == ["> 0.999", "< 0.001"]


def test_the_table_follows_a_step_at_once_and_a_scroll_once_slices_stop(qtbot, state, collect):
    table, first = RoiTable(state), state.results.shown
    qtbot.addWidget(table)
    table.resize(400, 300)
    table.show()
    qtbot.wait(200)
    painted, picked = Heard(table.table.viewport()), collect(table.candidatePicked)

    def step(number):
        rois = tuple(replace(roi, candidate=roi.candidate + 10 * number) for roi in first.rois)
        state.results.shown = first.changed(rois=rois, slice_index=number)
        QApplication.processEvents()

    step(1)
    assert (painted.count, table.model.roi(0).candidate) == (1, 10), "a single step"
    for number in range(2, 8):
        step(number)
    assert (painted.count, table.model.roi(0).candidate) == (1, 10), "slices come first"
    qtbot.waitUntil(lambda: table.model.roi(0).candidate == 70, timeout=400)
    qtbot.wait(200)
    assert painted.count == 2
    for number in (8, 9):
        step(number)
    table.step(1)
    assert picked == [90], "the keys go through the regions of the visible slice"
    qtbot.wait(200)
    for number in (10, 11):
        step(number)
    place = table.table.visualRect(table.model.index(1, 0)).center()
    qtbot.mouseClick(table.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert picked == [90, 111], "and so does the mouse"


def test_row_and_selection_follow_each_other(qtbot, state, collect):
    table = RoiTable(state)
    qtbot.addWidget(table)
    table.resize(420, 300)
    table.show()
    picked = collect(table.candidatePicked)
    rect = table.table.visualRect(table.model.index(2, 0))
    qtbot.mouseClick(table.table.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert picked == [2]
    state.selection.candidate = 4
    assert table.table.currentIndex().row() == 4
    assert picked == [2], "showing a selection asked for nothing"
    state.selection.candidate = None
    assert not table.table.selectionModel().hasSelection()


def test_sorting_keeps_the_selection_and_breaks_ties_by_rank(qtbot, state, collect):
    table = RoiTable(state)
    qtbot.addWidget(table)
    state.selection.candidate = 1
    picked = collect(table.candidatePicked)
    scores = next(k for k, column in enumerate(COLUMNS) if column.title == "Score")
    table.table.sortByColumn(scores, Qt.SortOrder.AscendingOrder)
    assert table.model.roi(0).rank == 6
    assert table.model.roi(table.table.currentIndex().row()).candidate == 1
    table.table.sortByColumn(4, Qt.SortOrder.DescendingOrder)
    assert [table.model.roi(k).rank for k in range(6)] == [1, 2, 3, 4, 5, 6]
    assert picked == []


def test_unknown_spacing_has_no_square_millimetres(qtbot, state):
    rows = tuple(replace(roi, area_mm2=None) for roi in state.results.shown.rois)
    model = RoiModel()
    model.set_rows(rows)
    square = next(k for k, column in enumerate(COLUMNS) if column.title == "mm²")
    assert model.index(0, square).data() == "–"
    model.sort(square, Qt.SortOrder.DescendingOrder)
    assert model.roi(0).rank == 1


def test_a_region_that_comes_with_its_slice_is_looked_for_among_those_of_this_slice(qtbot, state, collect):
    table = RoiTable(state)
    qtbot.addWidget(table)
    tops = collect(table.topChosen)
    shown = state.results.shown
    state.results.shown = None
    state.selection.top = 1
    with state.changes.together():
        state.results.shown = shown
        state.selection.candidate = shown.rois[0].candidate
    assert tops == [], "it is listed"
    with state.changes.together():
        state.selection.candidate = shown.rois[1].candidate
    assert tops == [None]


def table_of_width(qtbot, state, width):
    table = RoiTable(state)
    qtbot.addWidget(table)
    table.resize(width, 300)
    table.show()
    return table


def test_numbers_are_never_elided(qtbot, state):
    table = table_of_width(qtbot, state, 420)
    shown = state.results.shown
    large = tuple(
        replace(roi, area_px=262144.0, area_mm2=149000.0, label="Consolidation") for roi in shown.rois
    )
    state.results.shown = replace(shown, rois=large)
    for column in range(len(COLUMNS) - 1):
        if table.table.isColumnHidden(column):
            continue
        assert table.table.columnWidth(column) >= table.table.sizeHintForColumn(column), COLUMNS[column].title


def test_a_narrow_table_of_long_class_names_still_shows_whole_boxes(qtbot, state):
    table = table_of_width(qtbot, state, 400)
    shown = state.results.shown
    box = (119.0, 334.0, 178.0, 376.0)
    regions = tuple(
        replace(roi, area_px=2478.0, area_mm2=1394.0, box=box, label="Consolidation") for roi in shown.rois
    )
    state.weights.cards = tuple(replace(card, image_classes=()) for card in state.weights.cards)
    state.results.shown = replace(shown, rois=regions, verdict=None)
    box_column = len(COLUMNS) - 1

    def boxes_are_whole():
        return table.table.columnWidth(box_column) >= table.table.sizeHintForColumn(box_column)

    qtbot.waitUntil(boxes_are_whole)
    pixels = next(k for k, column in enumerate(COLUMNS) if column.title == "px")
    narrow = table.table.columnWidth(pixels)
    table.resize(800, 300)
    qtbot.waitUntil(lambda: table.table.columnWidth(pixels) > narrow)  # the usual widths where there is room
    assert boxes_are_whole()


def test_regions_of_an_unanalysed_slice_leave_a_hint(qtbot, state):
    table = RoiTable(state)
    qtbot.addWidget(table)
    table.show()
    state.results.shown = None
    assert table.empty.isVisible()
    assert "once it has been analysed" in table.empty.text()
    assert not table.table.isVisible()


# --------------------------------------------------------------------------------------------- plots


@pytest.fixture
def plots(qtbot, state):
    panel = PlotPanel(state)
    qtbot.addWidget(panel)
    panel.resize(420, 260)
    panel.show()
    qtbot.waitUntil(lambda: panel.scatter.canvas is not None)
    panel.scatter.canvas.draw()
    return panel


def test_the_note_above_the_points_is_written_once(qtbot, plots):
    """By Qt alone: neither missing nor doubled by matplotlib, also after a new size."""
    page = plots.scatter
    qtbot.waitUntil(lambda: not page.pending)

    def note_pixels():
        image = page.canvas.grab().toImage()
        background = image.pixel(image.width() - 1, 0)
        return sum(image.pixel(x, y) != background for x in range(image.width()) for y in range(14))

    (note,) = [text for text in page.canvas.figure.axes[0].texts if text.get_gid() == "note"]
    assert not note.get_visible(), "what matplotlib draws"
    written = note_pixels()
    assert written > 100
    plots.resize(plots.width() + 40, plots.height())
    qtbot.waitUntil(lambda: page.canvas.width() > 400)
    assert note_pixels() == pytest.approx(written, rel=0.02)


def click(qtbot, canvas, x, y):
    """Click where a point of the first axes lies."""
    pixel = canvas.figure.axes[0].transData.transform((x, y))
    ratio = canvas.device_pixel_ratio
    place = QPointF(pixel[0] / ratio, canvas.height() - pixel[1] / ratio).toPoint()
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_an_export_and_the_window_never_draw_at_the_same_time(state, plots, tmp_path, monkeypatch, kind):
    inside, most, threads = [], [], set()
    plain = Figure.draw

    def watched(figure, renderer):
        inside.append(figure)
        most.append(len(inside))
        threads.add(threading.current_thread())
        time.sleep(0.01)  # another thread's chance
        try:
            return plain(figure, renderer)
        finally:
            inside.remove(figure)

    monkeypatch.setattr(Figure, "draw", watched)
    shown = state.results.shown
    plot_picture("score-area", shown, size=(200, 300), dpi=80)
    most.clear()
    expected = plot_picture("score-area", shown, size=(200, 300), dpi=80)
    drawn = []

    window_drew = threading.Event()

    def export():
        for number in range(2):
            finish(export_plots(tmp_path / f"{number}", shown, plot_format=kind))
            drawn.append(plot_picture("score-area", shown, size=(200, 300), dpi=80))
            assert window_drew.wait(60)

    for number in range(2):
        (tmp_path / f"{number}").mkdir()
    worker = threading.Thread(target=export)
    worker.start()
    try:
        for size in itertools.cycle((300, 420)):
            if not worker.is_alive():
                break
            plots.resize(size, 260)  # the canvas draws itself
            plots.scatter.canvas.draw()
            window_drew.set()
            QApplication.processEvents()
    finally:
        worker.join()
    assert len(threads) == 2
    assert max(most) == 1
    assert all(np.array_equal(one, expected) for one in drawn)
    written = {path.name: path.read_bytes() for path in (tmp_path / "0").iterdir()}
    assert len(written) == 4
    assert {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()} == written


def test_a_plot_drawn_over_its_kept_axes_looks_like_a_new_one(qtbot, state, plots):
    first = state.results.shown
    fewer = first.changed(rois=first.rois[1:3])
    large = tuple(replace(roi, area_px=80_000.0) for roi in first.rois)
    for shown, candidate in (
        (first, 2),
        (first, 0),
        (fewer, 2),
        (first.changed(rois=large), None),
        (first, 2),
    ):
        state.results.shown, state.selection.candidate = shown, candidate
        qtbot.waitUntil(lambda: not plots.scatter.pending)
        canvas = plots.scatter.canvas
        seen = np.array(canvas.buffer_rgba()).astype(int)
        figure = Figure(figsize=canvas.figure.get_size_inches(), dpi=canvas.figure.dpi)
        FigureCanvasAgg(figure)
        score_area(figure, shown.rois, top=state.selection.top, selected=candidate)
        for note in figure.axes[0].texts:
            note.set_visible(False)  # Qt writes it
        figure.canvas.draw()
        assert np.abs(seen - np.asarray(figure.canvas.buffer_rgba())).max() == 0


def test_plots_wait_while_slices_change_and_follow_a_slider_at_once(qtbot, state, plots):
    first = state.results.shown
    qtbot.waitUntil(lambda: not plots.scatter.pending)
    drawn = []
    plots.scatter.canvas.mpl_connect("draw_event", lambda _: drawn.append(state.display.slice_index))
    start = time.perf_counter()
    number = 0
    # Faster than plots may follow; each has other axes.
    while time.perf_counter() - start < 0.15:
        number += 1
        state.display.slice_index = number % 3
        large = tuple(replace(roi, area_px=roi.area_px * (1 + number)) for roi in first.rois)
        state.results.shown = first.changed(rois=large, slice_index=number % 3)
        qtbot.wait(5)
    assert not drawn
    assert plots.scatter.pending
    qtbot.waitUntil(lambda: not plots.scatter.pending)
    assert len(drawn) == 1
    larger = tuple(replace(roi, area_px=roi.area_px * 1e5) for roi in first.rois)
    state.results.shown = first.changed(rois=larger, slice_index=number % 3)
    assert plots.scatter.pending
    qtbot.waitUntil(lambda: len(drawn) == 2, timeout=5000)
    state.results.shown = first.changed(slice_index=number % 3)
    qtbot.waitUntil(lambda: not plots.scatter.pending)
    assert len(drawn) == 2, "axes that were there before are not drawn again"


def test_clicking_a_point_picks_its_region(qtbot, state, plots, collect):
    picked = collect(plots.candidatePicked)
    roi = state.results.shown.rois[2]
    click(qtbot, plots.scatter.canvas, roi.score, roi.area_px)
    assert picked == [2]
    click(qtbot, plots.scatter.canvas, roi.score - 0.09, roi.area_px * 3)
    assert picked == [2], "a click beside every point means nothing"


def test_points_below_the_listed_ones_cannot_be_picked(qtbot, state, plots, collect):
    picked = collect(plots.candidatePicked)
    state.selection.top = 2
    qtbot.waitUntil(lambda: not plots.scatter.pending)
    plots.scatter.canvas.draw()
    roi = state.results.shown.rois[4]
    click(qtbot, plots.scatter.canvas, roi.score, roi.area_px)
    assert picked == []


def test_clicking_bars_and_rows_of_the_batch_picks(qtbot, state, plots, collect):
    picked = collect(plots.candidatePicked)
    plots.tabs.setCurrentWidget(plots.histogram)
    qtbot.waitUntil(lambda: plots.histogram.canvas is not None)
    plots.histogram.canvas.draw()
    click(qtbot, plots.histogram.canvas, state.results.shown.rois[1].score, 0.4)
    assert picked == [1]
    plots.tabs.setCurrentWidget(plots.batch)
    qtbot.waitUntil(lambda: plots.batch.canvas is not None)
    plots.batch.canvas.draw()
    click(qtbot, plots.batch.canvas, 1.0, 8.0)
    assert picked[-1] == int(state.results.shown.verdict.batch.source[7])


def test_the_controls_may_be_the_first_plot_that_is_opened(qtbot, state, plots):
    verdict, results = state.results.shown.verdict, state.results.slices
    state.results.slices = {k: replace(one, verdict=verdict) for k, one in results.items()}
    state.weights.cards = (read_card(weights_folder() / "covid-s-r18t1.json"),)
    plots.tabs.setCurrentWidget(plots.controls)
    qtbot.waitUntil(lambda: plots.controls.canvas is not None and not plots.controls.pending)
    assert "283 control patients" in plots.controls.canvas.toolTip()


def test_the_scan_is_drawn_along_its_slices_and_a_click_goes_to_one(qtbot, state, plots, collect):
    asked = collect(plots.sliceAsked)
    plots.tabs.setCurrentWidget(plots.scan)
    state.results.summaries = {
        k: SliceSummary(k, 1, 9, 5.0, (0.1, 0.2, 0.7), lung=True, ill_probability=0.9) for k in (1, 2)
    }
    state.case.lungs = LungSlices(inside=(False, *[True] * (state.case.volume.slices - 1)))
    state.display.slice_index = 1
    qtbot.waitUntil(lambda: plots.scan.canvas is not None and not plots.scan.pending)

    def drawn(gid):
        return [c for c in plots.scan.canvas.figure.axes[0].collections if c.get_gid() == gid]

    (points,) = drawn("chances")
    assert points.get_offsets().data.tolist() == [[2, 0.9], [3, 0.9]]
    (shaded,) = drawn("outside")
    assert shaded.get_paths()[0].get_extents().x1 == 1.5
    axes = plots.scan.canvas.figure.axes[0]
    state.display.slice_index = 2
    qtbot.waitUntil(lambda: not plots.scan.pending)
    assert drawn("visible")[0].get_segments()[0][0, 0] == 3
    assert plots.scan.canvas.figure.axes == [axes]
    click(qtbot, plots.scan.canvas, 1.2, 0.5)
    assert asked == [0]
    state.results.summaries = {}
    assert plots.scan.hint.isVisible()
    assert plots.scan.hint.text() == "Drawn once a slice has been analysed."


def test_selection_is_marked_in_the_plot(qtbot, state, plots):
    def marks():
        return [c for c in plots.scatter.canvas.figure.axes[0].collections if c.get_gid() == "selected"]

    assert marks() == []
    state.selection.candidate = 3
    qtbot.waitUntil(lambda: len(marks()) == 1)
    assert marks()[0].get_offsets()[0][0] == pytest.approx(state.results.shown.rois[3].score)


def test_hidden_plots_are_not_drawn(qtbot, state, plots):
    assert plots.batch.canvas is None
    assert plots.histogram.canvas is None
    state.results.shown = None
    assert plots.scatter.hint.isVisible()
