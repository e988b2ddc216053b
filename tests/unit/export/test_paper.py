"""Figures for print: what stands in them, in which size, and what their captions say."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model_core.base.errors import ExportError, SettingsError
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.export.paper import nms_figure, paper_figure, with_nms, write_paper_figure
from model_core.export.paper_captions import PaperLook, said_of
from model_core.scene import SceneSettings

LOOK = PaperLook(
    scene=SceneSettings(
        region_classes=("GGO", "Consolidation"),
        image_classes=("Control", "Other", "COVID-19"),
        weights="one + two",
    )
)


@pytest.fixture
def shown(make_volume, make_shown, rectangle):
    volume = make_volume()
    masks = [rectangle(volume, (8, 16), (6, 18)), rectangle(volume, (20, 34), (28, 44))]
    return volume, make_shown(volume, masks, [1, 2])


def words(figure):
    return [text.get_text() for text in figure.texts]


def caption(figure):
    lines = words(figure)
    start = max(k for k, line in enumerate(lines) if re.match(r"Slices? \d.* of \d", line))
    return " ".join(lines[start:])


def drawn(figure, gid):
    return [artist for axes in figure.axes for artist in axes.get_children() if artist.get_gid() == gid]


def test_four_columns_of_each_slice_with_a_caption(shown):
    volume, one = shown
    reference = np.zeros(volume.voxels.shape, np.uint8)
    reference[1, 5:12, 5:15] = 1
    figure = paper_figure(volume, [one], LOOK, reference=reference)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(178)
    text = caption(figure)
    for said in (
        "Slice 2 of 3",
        "score above",
        "NMS",
        "one + two",
        "Research use only",
        "reference mask dashed",
    ):
        assert said in text
    assert len(drawn(figure, "map")) == 1
    assert len(drawn(figure, "box")) == 2
    assert [label.get_text() for label in drawn(figure, "label")] == ["GGO 0.95", "Consolidation 0.60"]
    assert {"GGO", "Consolidation", "reference mask"} <= set(words(figure))
    sizes = [text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))]
    assert min(size for size in sizes) >= 6


def test_everything_lies_on_the_page_and_no_picture_on_another(shown):
    volume, one = shown
    figure = paper_figure(volume, [one] * 2, LOOK)
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    figure.canvas.draw()
    for text in figure.texts:
        extent = text.get_window_extent()
        assert extent.x1 <= figure.bbox.x1 + 1, text.get_text()
        assert extent.y0 >= -1, text.get_text()


@pytest.mark.parametrize("flip_horizontal", [False, True])
def test_flips_turn_the_picture_and_its_letters(shown, flip_horizontal):
    volume, one = shown
    scene = SceneSettings(region_classes=("GGO", "Consolidation"), flip_horizontal=flip_horizontal)
    figure = paper_figure(volume, [one], PaperLook(scene=scene))
    first = figure.axes[0]
    assert bool(first.get_xlim()[0] > first.get_xlim()[1]) is flip_horizontal
    letters = {text.get_text(): text.get_position()[0] for text in drawn(figure, "over")}
    assert bool(letters["R"] > letters["L"]) is flip_horizontal
    left, right = (
        label.get_position()[0] for label in drawn(figure, "label")
    )  # of the lesion at smaller x, then of that at greater x
    assert bool(left > right) is flip_horizontal


def test_without_detections_or_class_the_columns_stay(make_volume, make_shown):
    volume = make_volume()
    figure = paper_figure(volume, [make_shown(volume, verdict=False)], LOOK)
    assert len(figure.axes) == 4
    assert drawn(figure, "map") == []
    assert "Class from" not in caption(figure)
    batch = PaperLook(scene=LOOK.scene, plot="batch")
    assert len(paper_figure(volume, [make_shown(volume, verdict=False)], batch).axes) == 4


def test_edited_evidence_is_told(make_volume, make_shown):
    volume = make_volume()
    edited = make_shown(volume, basis="edited")
    assert "edited" in said_of(edited, LOOK.scene.image_classes)
    assert "Edited evidence" in caption(paper_figure(volume, [edited], LOOK))


@pytest.mark.parametrize("count", [0, 6])
def test_a_page_has_one_to_five_slices(shown, count):
    volume, one = shown
    with pytest.raises(SettingsError, match="1 to 5"):
        paper_figure(volume, [one] * count, LOOK)


def test_two_thresholds_side_by_side(shown, make_shown):
    volume, one = shown
    other = make_shown(volume)
    look = PaperLook(scene=LOOK.scene, plot="area")
    figure = nms_figure(volume, [one, other], look)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(86)
    titles = [line for line in words(figure) if "detection" in line and "NMS" in line]
    assert titles[0].endswith("2 detections")
    assert titles[1].endswith("0 detections")
    plots = [axes for axes in figure.axes if axes.get_yscale() != "linear"]
    assert len({axes.get_ylim() for axes in plots}) == 1
    with pytest.raises(SettingsError, match="one slice"):
        nms_figure(volume, [one, make_shown(volume, index=2)], look)
    with pytest.raises(SettingsError, match="Two or three"):
        nms_figure(volume, [one], look)


def test_what_is_compared_is_not_joined():
    joined = DetectionSettings(join_touching=True)
    detections, evidence = with_nms(joined, EvidenceSettings(), 0.25)
    assert (detections.nms_iou, evidence.nms_iou, detections.join_touching) == (0.25, 0.25, False)


def test_files_in_print_quality(shown, tmp_path):
    volume, one = shown
    figure = nms_figure(volume, [one, one], LOOK)
    pdf, png = write_paper_figure(tmp_path / "a.pdf", figure, title="A slice")
    content = pdf.read_bytes()
    assert content.count(b"/FontFile2") >= 1
    assert b"/Type3" not in content
    assert b"DOE" not in content
    with Image.open(png) as image:
        assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)
        assert image.size[0] == pytest.approx(86 / 25.4 * 300, abs=2)
        assert "not for diagnosis" in image.info["Software"]
    again, _ = write_paper_figure(tmp_path / "b.pdf", figure, title="A slice")
    assert again.read_bytes() == content
    with pytest.raises(ExportError, match="exists"):
        write_paper_figure(tmp_path / "a", figure, title="A slice")


def test_words_of_a_column_end_before_the_next_and_numbers_of_its_axis_stand_apart(make_volume, make_shown):
    volume = make_volume()
    few = make_shown(volume)
    few = replace(few, summary=replace(few.summary, lung=True, ill_probability=0.05))
    assert said_of(few, ()) == "No clear pneumonia signs, pneumonia 0.05"
    # Each histogram alone would have other ticks.
    row = few.rois[0]
    columns = [
        replace(few, rois=tuple(replace(row, rank=k + 1, candidate=k) for k in range(count)))
        for count in (31, 97)
    ]
    figure = nms_figure(volume, columns, LOOK)
    figure.canvas.draw()
    lines = [text for text in figure.texts if "pneumonia 0.05" in text.get_text()]
    assert len(lines) == 2
    assert lines[0].get_window_extent().x1 < lines[1].get_window_extent().x0
    assert "Pneumonia: calibrated probability" in caption(figure)
    for axes in figure.axes[1::2]:
        heights = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert len(heights) > 2
        assert not any(a.overlaps(b) for k, a in enumerate(heights) for b in heights[k + 1 :])


def test_captions_speak_of_no_class_and_of_no_detections_where_there_are_none(make_volume, make_shown):
    volume = make_volume()
    look = PaperLook(scene=LOOK.scene, plot="area")
    one = make_shown(volume)
    own = caption(nms_figure(volume, [one, one], look))
    assert "regions that the class rests on, the best 16 in colour, those filled that are detections." in own
    apart = replace(one, rois=tuple(replace(roi, detected=None) for roi in one.rois))
    assert "filled" not in caption(paper_figure(volume, [apart], look))
    without = replace(one, verdict=None)
    for figure in (paper_figure(volume, [without], look), nms_figure(volume, [without] * 2, look)):
        assert "class" not in caption(figure)
        assert "of the ranked regions" in caption(figure)
