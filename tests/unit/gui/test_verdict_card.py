"""The verdict's card: what it says of the scan in every state, its pictures, and that it never jumps."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from gui_fakes import make_verdict, make_volume
from PySide6.QtCore import Qt
from window_case import SLICES, fill

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.explanation.verdict_card import VerdictCard
from model_core.base.calibration import ScanCheck
from model_core.base.results import Doubt

ILL = (
    "Pneumonia signs in 90 of 128 lung slices (controls: 6 %). 168 ml, 4 % of the lung, mostly lower third. "
    "COVID-19 or other pneumonia: cannot be told apart. Checked on 40 scans, 36 right (95 %: 76–97 %). "
    "7 slices."
)


@pytest.fixture
def state():
    state = fill(AppState())
    lung = {k: replace(s, lung=True, ill_probability=0.9) for k, s in state.results.summaries.items()}
    state.results.summaries = lung
    state.results.scan = make_verdict()
    return state


@pytest.fixture
def card(qtbot, state):
    card = VerdictCard(state)
    qtbot.addWidget(card)
    card.resize(438, card.sizeHint().height())
    card.show()
    return card


def test_an_ill_scan_is_told_in_one_sentence_each(card):
    assert card.text == ILL
    assert card.answer.text() == "Pneumonia signs"
    assert card.accessibleName() == f"Verdict of the scan: {ILL}"
    assert not card.edited.isVisible()
    assert not card.uncalibrated.isVisible()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "COVID-19"}, "Most like COVID-19."),
        ({"checked": None}, "Not checked on whole scans of known patients."),
        ({"checked": ScanCheck(scans=1, right=1, low=0.025, high=1.0)}, "Checked on 1 scan, 1 right"),
        ({"lesion_ml": 2.34, "mostly": None}, "2.3 ml, < 1 % of the lung."),
        ({"lung_ml": None, "mostly": None}, ". 168 ml. "),
        ({"lesion_ml": 0.0}, "No lesion marked."),
        ({"control_rate": None}, "Pneumonia signs in 90 of 128 lung slices. "),
        ({"lung_slices": 1, "ill_slices": 1}, "Pneumonia signs in the one lung slice (controls: 6 %)."),
        (
            {"verdict": "control", "ill_slices": 3, "lesion_ml": 0.2},
            "No clear pneumonia signs. 3 of 128 lung slices look ill",
        ),
        ({"verdict": "control", "ill_slices": 0, "lesion_ml": 0.0}, "This does not rule pneumonia out."),
        (
            {"verdict": "uncertain", "doubt": "few_lesions"},
            "Slices look ill, but hardly any lesion is marked.",
        ),
        (
            {"verdict": "uncertain", "doubt": "few_ill"},
            "Lesions are marked, but the slices look like controls.",
        ),
        ({"verdict": "uncertain", "doubt": "no_volume"}, "Lesions are marked, but their volume is unknown."),
        ({"verdict": "uncertain", "doubt": "few_slices"}, "Too few slices for a verdict."),
        ({"verdict": "uncertain", "doubt": "no_chest"}, "It is not known whether this is a chest."),
        (
            {"verdict": "no_class", "lesion_ml": None},
            "No class: no lung found. None of the 7 slices analysed",
        ),
    ],
)
def test_every_verdict_has_its_words(card, state, changes, told):
    state.results.scan = make_verdict(**changes)
    assert told in card.text


def test_no_verdict_sounds_surer_than_it_is(card, state):
    for verdict in ("control", "uncertain", "no_class"):
        state.results.scan = make_verdict(verdict=verdict)
        assert "Pneumonia signs" not in card.answer.text()
        assert "COVID-19" not in card.text


def test_part_of_a_series_is_told_as_such(card, state):
    summaries = state.results.summaries
    state.results.summaries = {k: summaries[k] for k in (2, 3)}
    state.results.scan = make_verdict(verdict="control", ill_slices=0, lung_slices=2)
    assert card.answer.text() == "No clear signs so far"
    assert "5 slices are not analysed yet" in card.text
    state.results.scan = make_verdict(ill_slices=1, lung_slices=2)
    assert card.text.startswith(
        "Pneumonia signs in 1 of 2 lung slices so far (controls: 6 %). 168 ml marked."
    )
    assert card.progress.text() == "2 of 7 slices"
    for verdict in ("ill", "control", "uncertain", "no_class"):
        state.results.scan = make_verdict(verdict=verdict)
        assert card.text.count("so far") == 1, "once is enough"


def test_empty_places_for_pictures_are_there_only_where_some_may_come(card, state):
    def places():
        return [thumbnail.framed for thumbnail in card.thumbnails]

    state.results.scan = None
    assert not any(places()), "all is analysed, and there is no class"
    state.results.summaries = {}
    assert all(places())
    state.weights.cards = tuple(replace(one, image_classes=()) for one in state.weights.cards)
    assert "find regions only" in card.text
    assert not any(places())


def test_slices_whose_lung_nobody_looked_for_are_not_called_lung_slices(card, state):
    state.results.summaries = {k: replace(s, lung=None) for k, s in state.results.summaries.items()}
    state.results.scan = make_verdict(lung_ml=None)
    assert "in 90 of 128 slices (controls" in card.text


def test_weights_without_calibration_give_their_class_and_say_so(card, state):
    state.results.scan = make_verdict(verdict=None, class_index=2, checked=None, lesion_ml=None)
    assert card.answer.text() == "COVID-19 0.90"
    assert card.uncalibrated.isVisible()
    assert "No verdict: these weights are not calibrated." in card.text
    assert "Lesions" in card.text
    used = state.results.scan.slices_used
    assert card.thumbnails[0].index in used, "the slices that the class rests on"


@pytest.mark.parametrize(
    ("spacing", "positions", "expected"),
    [
        ((None, 0.8, 0.8), np.array([0.0, 2, 4, 6, 12, 14, 16]), "slices are missing or uneven"),
        ((None, 0.8, 0.8), None, "the slice distance is unknown"),
        ((None, None, None), None, "the pixel size is unknown"),
    ],
)
def test_the_card_says_why_there_is_no_volume(card, state, spacing, positions, expected):
    volume = state.case.volume
    geometry = replace(volume.geometry, spacing_mm=spacing)
    state.case.volume = replace(volume, geometry=geometry, slice_positions_mm=positions)
    if spacing[1] is None:
        summaries = state.results.summaries
        state.results.summaries = {k: replace(s, lesion_mm2=None) for k, s in summaries.items()}
    state.results.scan = make_verdict(lesion_ml=None, lung_ml=None, mostly=None)
    assert card.amount.text() == f"Lesion volume off: {expected}"
    state.results.summaries = {k: replace(s, lesion_px=0) for k, s in state.results.summaries.items()}
    assert card.amount.text() == "No lesion marked"


def test_edited_thresholds_are_marked(card, state):
    thresholds = state.thresholds
    thresholds.detections = replace(thresholds.detections, score=0.9)
    assert card.edited.isVisible(), "the volume rests on them"
    thresholds.detections = thresholds.default_detections
    assert not card.edited.isVisible()
    state.results.scan = make_verdict(basis="edited")
    assert card.edited.isVisible()


def test_nothing_moves_and_the_old_words_stay_while_thresholds_are_followed(card, state):
    height, rows = card.sizeHint().height(), [t.pos() for t in card.thumbnails]
    scan, told = state.results.scan, card.text
    state.results.updating, state.results.scan = True, None
    assert card.answer.text() == "Pneumonia signs"
    assert card.progress.text() == "following…"
    assert "lesion volume follows" in card.text.casefold(), "volumes of two settings are not added up"
    assert card.thumbnails[0].index == scan.deciding[0]
    stale = card.grab().toImage()
    state.display.slice_index = 4
    assert card.thumbnails[1].current, "scrolling goes on meanwhile"
    state.display.slice_index = 3
    state.results.scan, state.results.updating = scan, False
    assert card.text == told
    assert card.grab().toImage() != stale
    for other in (
        None,
        make_verdict(verdict=None, class_index=1),
        make_verdict(verdict="no_class"),
        make_verdict(deciding=()),
    ):
        state.results.scan = other
        assert card.sizeHint().height() == height
        assert [t.pos() for t in card.thumbnails] == rows
    state.results.summaries, state.case.volume = {}, None
    assert card.sizeHint().height() == height


def test_the_card_says_what_to_do_where_nothing_is_known(qtbot):
    state = AppState()
    card = VerdictCard(state)
    qtbot.addWidget(card)
    assert "Open a series" in card.text
    state.case.volume = make_volume(slices=SLICES)
    assert "Choose some under Weights" in card.text
    state.weights.chosen = ("some.safetensors",)
    assert "Run series (Ctrl+Shift+R) analyses every slice that shows lung." in card.text
    state.run.kind = "run"
    assert "0 of 7 slices are done" in card.text
    state.run.kind = ""
    fill(state)
    state.weights.cards = (replace(state.weights.cards[0], image_classes=()),)
    state.results.scan = None
    assert "These weights find regions only" in card.text


def test_deciding_slices_lead_there_by_mouse_and_keys(qtbot, card, state):
    asked = []
    card.sliceChosen.connect(asked.append)
    assert [thumbnail.index for thumbnail in card.thumbnails] == [3, 4, 1, None, None, None]
    assert [thumbnail.current for thumbnail in card.thumbnails[:3]] == [True, False, False]
    qtbot.mouseClick(card.thumbnails[1], Qt.MouseButton.LeftButton)
    for key in (Qt.Key.Key_Space, Qt.Key.Key_Return):
        qtbot.keyClick(card.thumbnails[2], key)
    qtbot.mouseClick(card.thumbnails[5], Qt.MouseButton.LeftButton)
    assert asked == [4, 1, 1]
    assert state.display.slice_index == 3, "a view never writes state"
    assert card.thumbnails[1].accessibleName() == "Deciding slice 5: pneumonia 0.90"
    assert card.thumbnails[1].focusPolicy() == Qt.FocusPolicy.TabFocus
    state.display.slice_index = 4
    assert [thumbnail.current for thumbnail in card.thumbnails[:3]] == [False, True, False]
    state.results.scan = make_verdict(verdict="control")
    assert card.thumbnails[1].accessibleName() == "Slice 5, looks most ill: pneumonia 0.90"


def test_thumbnails_are_as_the_slice_is_shown(card, state, qtbot):
    voxels = state.case.volume.voxels.copy()
    voxels[3, :, :40], voxels[3, :, 40:] = -1000, 400
    state.case.volume = replace(state.case.volume, voxels=voxels)

    def sides():
        image = card.thumbnails[0].grab().toImage()
        return [image.pixelColor(x, 23).lightness() > 128 for x in (12, 33)]

    assert sides() == [False, True]
    state.display.flip_horizontal = True
    qtbot.waitUntil(lambda: sides() == [True, False])
    state.display.inverted = True
    qtbot.waitUntil(lambda: sides() == [False, True])


def test_no_word_is_cut_in_the_narrowest_panel(card, state):
    card.resize(393, card.height())
    lines = (card.answer, card.where, card.amount, card.kind, card.worth)
    words = [make_verdict(ill_slices=290, lung_slices=328), make_verdict(lesion_ml=1234.0, mostly="middle")]
    words += [make_verdict(verdict="uncertain", ill_slices=0, doubt=doubt) for doubt in get_args(Doubt)]
    words += [make_verdict(verdict="control", ill_slices=10)]
    state.thresholds.detections = replace(state.thresholds.detections, score=0.9)
    summaries = state.results.summaries
    some = {k: summaries[k] for k in (1, 2)}
    words += [make_verdict(verdict=verdict) for verdict in ("control", "uncertain", "no_class", "ill")]
    words += [make_verdict(verdict=None, class_index=2, probabilities=(0.0, 0.5, 1.0))]
    for scan, known in [(scan, known) for scan in words for known in (summaries, some)]:
        state.results.summaries = known
        state.results.scan = scan
        card.layout().activate()
        for line in lines:
            assert line.fontMetrics().horizontalAdvance(line.text()) <= line.width(), line.text()
