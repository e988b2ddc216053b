"""A page on a slice or a scan: what it says, as HTML and as one side of PDF."""

import base64
import contextlib
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from model_core.base.errors import ExportError
from model_core.base.references import ControlShares
from model_core.base.results import ScanVerdict, SliceSummary
from model_core.base.settings import Architecture, DetectionSettings, EvidenceSettings
from model_core.base.stability import ScanStability
from model_core.base.volume import Problem
from model_core.explain.distribution import Compared, RoiDistribution
from model_core.export.pages import PageSettings, write_page
from model_core.export.scan_page import page_slices, scan_page
from model_core.export.slice_page import slice_page
from model_core.plots import scan_profile
from model_core.report import Document, Note, Picture, Row, Table, write_pdf
from model_core.report.pdf import column_widths
from model_core.weights.card import ModelCard

CLASSES = ("Control", "Other (non-COVID)", "COVID-19")


class Networks:
    region_classes = ("Lesion",)
    image_classes = CLASSES
    evidence = EvidenceSettings(batch_size=8)
    cards = (
        ModelCard(
            name="one",
            title="One",
            architecture=Architecture(kind="single_shot"),
            region_classes=("Lesion",),
            image_classes=CLASSES,
            notes="Learned from <few> & others.",
        ),
    )

    def evidence_basis(self, settings):
        return "trained"


@pytest.fixture
def settings():
    return PageSettings(Networks(), DetectionSettings(), EvidenceSettings(batch_size=8), "one + two")


def text_of(html):
    parser, parts = HTMLParser(convert_charrefs=True), []
    parser.handle_data = parts.append
    parser.feed(html)
    return " ".join(" ".join(parts).split())


def pages(path):
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


def drawn(path):
    """Return the drawing commands of a PDF."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", path.read_bytes(), re.DOTALL)
    found = []
    for stream in streams:
        with contextlib.suppress(ValueError, zlib.error):
            found.append(zlib.decompress(base64.a85decode(b"<~" + stream.strip(), adobe=True)))
    return b"\n".join(page for page in found if b" Tf " in page)


def pictures_in(path):
    """Return how many pictures a PDF draws."""
    return len(re.findall(rb" Do\b", drawn(path)))


def summaries(count, **changes):
    return [
        SliceSummary(
            k, k % 3, 100 * (k % 3), 49.0 * (k % 3), (0.1, 0.2, 0.7), lung=True, ill_probability=0.1 * k
        )
        for k in range(count)
    ]


SCAN = ScanVerdict(
    probabilities=(0.1, 0.2, 0.8),
    class_index=None,
    slices_used=(1, 2),
    rule="Mean.",
    basis="trained",
    verdict="ill",
    lung_slices=6,
    ill_slices=4,
    control_rate=0.05,
    lesion_ml=12.34,
    lung_ml=4000.0,
    kind="undecided",
    deciding=(2, 1),
    verdict_rule="Ill where more slices look ill than in controls.",
)


def test_the_page_of_a_slice_says_class_regions_and_settings(make_volume, make_shown, settings, tmp_path):
    volume = make_volume()
    mask = np.zeros((40, 50), bool)
    mask[10:20, 10:30] = True
    shown = make_shown(volume, [mask])
    html, pdf = write_page(tmp_path, "page", slice_page(volume, shown, settings))
    text = text_of(html.read_text())
    assert "Slice 2 of 3" in text
    assert "COVID-19 0.90 (uncalibrated)" in text
    assert "Control 0.050" in text
    assert "one + two" in text
    assert "not a medical device" in text
    assert "Learned from <few> & others." in text
    assert "1 region marked" in text
    assert pages(pdf) == 1
    assert pictures_in(pdf) == html.read_text().count("<img") > 1
    for secret in ("DOE", "PID-77", "Chest 1.0", "2020"):
        assert secret not in text
        assert secret.encode() not in pdf.read_bytes()


def test_identity_is_there_only_where_it_is_asked_for(make_volume, make_shown, settings):
    volume = make_volume()
    page = slice_page(volume, make_shown(volume), replace(settings, identity=True))
    assert "DOE, JANE, PID-77, 2020-01-01" in text_of(page.html())


def test_edited_evidence_is_told(make_volume, make_shown, settings):
    volume = make_volume()
    page = slice_page(volume, make_shown(volume, basis="edited"), settings)
    assert "Edited evidence: not the class that the weights give." in text_of(page.html())


def test_the_page_of_a_scan_says_verdict_and_doubt(make_volume, settings, tmp_path):
    problem = Problem("warning", "Doe_1.dcm is cut off.", "It was left out.", ("Doe_1.dcm",))
    volume = make_volume(shape=(8, 40, 50), problems=(problem,))
    pictures = {k: np.full((300, 300, 3), 50, np.uint8) for k in (1, 2)}
    page = scan_page(volume, summaries(6), SCAN, settings, pictures=pictures)
    html, pdf = write_page(tmp_path, "scan", page)
    text = text_of(html.read_text())
    assert "Pneumonia signs" in text
    assert "Pneumonia signs in 4 of 6 lung slices" in text
    assert "cannot be told apart" in text
    assert "4 of 6 lung slices so far" in text
    assert "6 of 8 slices" in text
    assert "12.3 ml" in text
    assert "Slice 2. " in text
    assert "Slice 3. " in text
    assert "Not checked on whole scans" in text
    assert "cut off" in text
    assert "Doe_1" not in text
    assert pages(pdf) == 1
    assert pictures_in(pdf) == html.read_text().count("<img") > 1


def test_slices_left_out_without_lung_are_not_missing(make_volume, settings):
    volume = make_volume(shape=(8, 40, 50))
    page = scan_page(volume, summaries(6), SCAN, settings, pictures={}, outside=(5, 6, 7))
    text = text_of(page.html())
    assert "4 of 6 lung slices (controls" in text
    assert "so far" not in text
    assert "slices analysed 5 of 8" in text, "slice 6 was analysed, and counts no more than the others"
    assert "left out 3" in text
    nowhere = scan_page(volume, summaries(8), SCAN, settings, pictures={}, outside=range(8))
    assert "slices analysed 8 of 8" in text_of(nowhere.html()), "without any lung none is left out"


def test_a_page_names_no_lung_where_none_was_looked_for(make_volume, settings):
    unknown = [replace(summary, lung=None) for summary in summaries(6)]
    page = scan_page(make_volume(shape=(6, 40, 50)), unknown, SCAN, settings, pictures={})
    text = text_of(page.html())
    assert "Pneumonia signs in 4 of 6 slices" in text
    assert "lung slices" not in text
    assert "slices with lung" not in text


def test_without_clear_signs_the_deciding_slices_are_those_that_look_most_ill(make_volume, settings):
    pictures = {k: np.full((300, 300, 3), 50, np.uint8) for k in (1, 2)}
    control, volume = replace(SCAN, verdict="control", ill_slices=0), make_volume(shape=(6, 40, 50))
    page = scan_page(volume, summaries(6), control, settings, pictures=pictures, key_images={1: ""})
    text = text_of(page.html())
    assert "Slice 2. One of the slices that look most ill." in text
    places = [text.index(part) for part in ("Key images", "Other slices that look most ill", "Profile")]
    assert places == sorted(places), "one key image leaves room for them on its side"
    assert "that decide" not in text


def test_what_the_cards_say_alike_is_said_once(make_volume, settings):
    card = settings.pipeline.cards[0]
    settings.pipeline.cards = tuple(replace(card, notes=f"Not proven. Of {k}.") for k in range(2))
    text = text_of(scan_page(make_volume(), summaries(3), SCAN, settings, pictures={}).html())
    assert "Not proven. Of 0. Of 1." in text
    assert text.count("Not proven.") == 1


def test_key_images_come_first_with_their_notes(make_volume, settings, tmp_path):
    volume = make_volume(shape=(8, 40, 50))
    notes = {0: "a <note>.", 2: "Halo?", 3: "long " * 100, 4: "", 5: "without"}
    chosen = page_slices(summaries(6), SCAN, notes)
    assert chosen == (0, 2, 3, 4, 1)
    pictures = {k: np.full((300, 300, 3), 50, np.uint8) for k in chosen}
    page = scan_page(volume, summaries(6), SCAN, settings, pictures=pictures, key_images=notes)
    html, pdf = write_page(tmp_path, "scan", page)
    text = text_of(html.read_text())
    assert "Slice 1: a <note>. " in text
    assert "Slice 3: Halo? One of the slices that decide." in text
    assert "without a picture here: Slice 6: without." in text
    assert 100 < len(text.split("Slice 4: ")[1].split("…")[0]) <= 160
    places = [text.index(part) for part in ("Key images", "Profile", "Other slices that decide", "Slice 2. ")]
    assert places == sorted(places)
    assert pages(pdf) == 2, "the first is for the key images"
    assert '<h2 class="second">Profile</h2>' in html.read_text()
    assert pictures_in(pdf) == html.read_text().count("<img")
    widths = [float(width) for width in re.findall(rb"([\d.]+) 0 0 [\d.]+ \S+ \S+ cm", drawn(pdf))]
    assert max(widths) > 220, "points: a key image is as wide as a column of print, 78 mm or more"


@pytest.mark.parametrize("notes", [{}, {0: "a note"}])
def test_the_scan_stands_beside_its_controls_with_and_without_key_images(
    make_volume, settings, tmp_path, notes
):
    scores, areas = (
        Compared(
            edges=edges, shares=np.array([0.75, 0.25]), wasserstein=0.1234, jensen_shannon=0.5678, beyond=0.5,
            controls=ControlShares(
                mean=(0.5, 0.5), low=(0.4, 0.4), middle=(0.5, 0.5), high=(0.6, 0.6),
                wasserstein=(0.01, 0.02), jensen_shannon=(0.1, 0.2),
            ),
        )
        for edges in (np.array([0.0, 0.5, 1.0]), np.array([16.0, 64.0, 256.0]))
    )  # fmt: skip
    rois = RoiDistribution(
        slices=6, control_slices=30, control_patients=30, control_sources=("somewhere",), seen=30,
        scores=scores, areas=areas,
    )  # fmt: skip
    pictures = {k: np.full((300, 300, 3), 50, np.uint8) for k in page_slices(summaries(6), SCAN, notes)}
    page = scan_page(
        make_volume(shape=(8, 40, 50)), summaries(6), SCAN, settings, pictures=pictures, key_images=notes,
        rois=rois,
    )  # fmt: skip
    names = [picture.name for picture in page.pictures]
    assert names.count("profile") == names.count("scan-rois") == 1
    html, pdf = write_page(tmp_path, "scan", page)
    text = text_of(html.read_text())
    assert "beside those of 30 control patients, a slice each, from somewhere; the detector was" in text
    assert "0.123 (0.020)" in text
    assert "0.57 (0.20)" in text
    assert "Distances, not tests" in text
    assert html.read_text().count("<img") == len(names)
    assert pages(pdf) == 1 + bool(notes)


def test_the_page_says_how_sure_the_scan_is_once_somebody_asked(make_volume, settings):
    steady = ScanStability(
        (0, 2, 4), ("mirror image", "noise"), (160.0, 170.0), 2, (2, 1), "ill", ("ill", "uncertain")
    )
    pages = [
        text_of(scan_page(make_volume(), summaries(6), SCAN, settings, pictures={}, steady=one).html())
        for one in (None, steady)
    ]
    assert "In brackets" not in pages[0]
    assert "In brackets: from the least to the most" in pages[1]
    assert "“uncertain” after noise" in pages[1].lower()
    assert "These slices alone" not in pages[1], "unchanged they say what the scan says"
    assert "Of these 2 look ill, and 1 to 2 with the changes." in pages[1]


def test_a_scan_shows_its_deciding_slices_or_those_with_most_lesion():
    assert page_slices(summaries(6), SCAN) == (2, 1)
    assert page_slices(summaries(6), None) == (2, 5, 1)
    assert page_slices([], None) == ()


def test_weights_without_a_class_have_a_page_too(make_volume, make_shown, settings):
    volume = make_volume()
    text = text_of(slice_page(volume, make_shown(volume, verdict=False), settings).html())
    assert "No image class" in text
    text = text_of(scan_page(volume, summaries(3), None, settings, pictures={}).html())
    assert "No image class" in text


def test_nothing_is_replaced_unasked(make_volume, make_shown, settings, tmp_path):
    volume = make_volume()
    page = slice_page(volume, make_shown(volume), settings)
    (tmp_path / "page.pdf").write_text("mine")
    with pytest.raises(ExportError, match="exists already"):
        write_page(tmp_path, "page", page)
    assert [path.name for path in tmp_path.iterdir()] == ["page.pdf"]
    write_page(tmp_path, "page", page, overwrite=True)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_equal_documents_give_equal_files(make_volume, make_shown, settings, tmp_path):
    volume = make_volume()
    shown = make_shown(volume)
    for name in "ab":
        write_page(tmp_path, name, slice_page(volume, shown, settings))
    for suffix in (".html", ".pdf"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_long_document_goes_on_or_is_made_to_fit(tmp_path):
    from PIL import Image

    Image.new("RGB", (600, 500)).save(tmp_path / "x.png")
    picture = Picture("x", (tmp_path / "x.png").read_bytes(), "A caption ≥ 1 − 2.")
    table = Table(("name", "value"), [(f"row {k}", k / 7) for k in range(40)])
    row = Row([[picture, "beside"], [table]], (1, 2))
    document = Document(
        "Long", ["<b>plain</b>"], {"Part": [row, picture, picture, Note("small")]}, answer="Yes"
    )
    write_pdf(tmp_path / "many.pdf", document)
    write_pdf(tmp_path / "one.pdf", document, one_page=True)
    assert pages(tmp_path / "many.pdf") > 1
    assert pages(tmp_path / "one.pdf") == 1
    assert [picture.name for picture in document.pictures] == ["x", "x", "x"]
    assert "row 39" in document.html()
    assert "row 39" in document.markdown()


def test_a_page_says_what_its_numbers_are(make_volume, make_shown, settings):
    volume = make_volume()
    shown = make_shown(volume)
    shown = replace(shown, summary=replace(shown.summary, lung=True, ill_probability=0.9, detections=1))
    text = text_of(slice_page(volume, shown, settings).html())
    assert "Calibrated probability that the slice looks ill: 0.90." in text
    assert "box area (mm²)" in text
    assert "Score: how sure the network is" in text
    assert "regions of its own" not in text
    apart = replace(shown, rois=tuple(replace(roi, detected=None) for roi in shown.rois))
    assert "(–: the class has regions of its own)" in text_of(slice_page(volume, apart, settings).html())
    assert "(as published)" in text
    scan = text_of(scan_page(volume, summaries(6), SCAN, settings, pictures={}).html())
    assert "slices analysed." in scan
    assert "calibrated probability that it looks ill" in scan


def test_a_short_cell_beside_a_long_one_stands_on_one_line():
    rows = [("of the right and of the left lung, inside it", "2 %, 2 %"), ("marked", "1236.0 ml")]
    first, second = column_widths([(a, b) for a, b in zip(*rows, strict=True)], 160.0)
    assert first + second == pytest.approx(160)
    assert second > 44.5
    wide = column_widths([("a", "b"), ("a word " * 90, "c"), ("12", "another text " * 9)], 300.0)
    assert sum(wide) == pytest.approx(300)
    assert wide[0] < 30
    assert wide[1] == pytest.approx(wide[2])


def test_weights_without_a_class_have_a_profile_of_areas_and_no_word_on_a_class(make_volume, settings):
    found = [replace(one, ill_probability=None, probabilities=()) for one in summaries(3)]
    figure = Figure()
    scan_profile(figure, found, slices=3)
    (axes,) = figure.axes
    assert axes.get_ylabel() == ""
    assert axes.get_ylim()[1] < 0.2
    scan_profile(figure, summaries(3), slices=3)
    assert figure.axes[-1].get_ylabel() == "P(pneumonia)"

    class WithoutClass(Networks):
        def evidence_basis(self, settings):
            return None

    settings = replace(settings, pipeline=WithoutClass(), detections=DetectionSettings(mask_threshold=-0.5))
    text = text_of(scan_page(make_volume(), found, None, settings, pictures={}).html())
    assert "above \u22120.5" in text
    assert "class rests on" not in text
    assert "looks ill" not in text
