"""Files appear whole or not at all, and hold what they promise."""

import csv
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.base.errors import ExportError
from model_core.base.files import atomic_folder
from model_core.base.jobs import Progress, finish
from model_core.base.results import ScanVerdict
from model_core.base.settings import Architecture, DetectionSettings, EvidenceSettings
from model_core.base.volume import Problem
from model_core.export import (
    atomic_path,
    export_slices,
    predictions,
    slice_prediction,
    slices_with_findings,
    told_problem,
    write_json,
    write_png,
    write_rois_csv,
)
from model_core.weights.card import ModelCard, evidence_basis


class Networks:
    cards = (
        ModelCard(
            name="seg",
            title="Seg",
            architecture=Architecture(kind="segmentation"),
            region_classes=("GGO",),
            sha256="a1",
        ),
        ModelCard(
            name="cls",
            title="Cls",
            architecture=Architecture(kind="classifier"),
            region_classes=("GGO",),
            image_classes=("Control", "Other", "COVID-19"),
            sha256="b2",
            base_sha256="a1",
        ),
    )
    region_classes = ("GGO", "Consolidation")
    image_classes = ("Control", "Other", "COVID-19")
    evidence = EvidenceSettings()

    def evidence_basis(self, settings):
        return evidence_basis(*self.cards, settings)


# ------------------------------------------------------------------------------------------- atomic


def write(target, text, *, then=lambda _temporary: None, overwrite=False):
    with atomic_path(target, overwrite=overwrite) as temporary:
        temporary.write_text(text)
        then(temporary)


def fail(error):
    raise error


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("text")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        assert not target.exists()
    assert target.read_text() == "text"
    assert list(target.parent.iterdir()) == [target]


def test_an_existing_file_is_kept_unless_replacing_is_allowed(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ExportError, match=r"'a\.txt' exists already"), atomic_path(target):
        pytest.fail("the block must not run")
    assert target.read_text() == "old"
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a.txt"
    with pytest.raises(ExportError, match="exists already"):
        write(target, "mine", then=lambda _: target.write_text("theirs"))
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_nothing_behind(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyError):
        write(target, "half", then=lambda _: fail(KeyError()), overwrite=True)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "no space"), (errno.EACCES, "may not write"), (errno.EIO, "error")]
)
def test_a_full_disk_is_named_with_the_base_name_only(tmp_path, code, words):
    target = tmp_path / "Doe_Jane" / "a.png"
    with pytest.raises(ExportError, match=words) as caught:
        write(target, "half", then=lambda path: fail(OSError(code, os.strerror(code), str(path))))
    assert "a.png" in caught.value.message
    assert "Doe_Jane" not in caught.value.message + caught.value.details
    assert list(target.parent.iterdir()) == []


def test_without_hard_links_files_are_renamed(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    target = tmp_path / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("text")
    assert list(tmp_path.iterdir()) == [target]
    late = tmp_path / "b.txt"
    with pytest.raises(ExportError, match="exists already"):
        write(late, "mine", then=lambda _: late.write_text("theirs"))
    assert (tmp_path / "b.txt").read_text() == "theirs"


def test_a_folder_in_the_way_and_a_file_as_a_folder(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ExportError, match="is a folder"), atomic_path(tmp_path / "a.png", overwrite=True):
        pytest.fail("the block must not run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"'b\.png' cannot be written"):
        write(tmp_path / "file" / "b.png", "text")


# --------------------------------------------------------------------------------------------- PNG


def test_png_round_trip_says_what_it_is(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    path = tmp_path / "Bild ä.png"
    write_png(path, rgb)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), rgb)
        assert image.info["Software"].startswith("CTMaskNet")
        assert "not for diagnosis" in image.info["Disclaimer"]
    with pytest.raises(ExportError, match="exists"):
        write_png(path, rgb)
    write_png(path, rgb[:, ::-1], overwrite=True)
    with pytest.raises(ExportError, match=r"\.png"):
        write_png(tmp_path / "a.jpg", rgb)


def test_many_slices_with_progress_and_names_without_patient(tmp_path, make_volume, make_shown, rectangle):
    volume = make_volume()
    mask = rectangle(volume, (3, 12), (4, 20))
    asked = []

    def shown(index):
        asked.append(index)
        return make_shown(volume, [mask], index=index)

    items = list(export_slices(tmp_path, volume, [0, 2], shown=shown, scale=2, text=False))
    steps = [item for item in items if isinstance(item, Progress)]
    assert [(s.done, s.total) for s in steps] == [(0, 2), (1, 2), (2, 2)]
    assert [p.name for p in items if not isinstance(p, Progress)] == ["slice-0001.png", "slice-0003.png"]
    assert asked == [0, 2]
    with Image.open(tmp_path / "slice-0003.png") as image:
        assert image.size == (100, 80)


def test_nothing_is_written_where_one_file_exists(tmp_path, make_volume):
    (tmp_path / "slice-0003.png").write_text("precious")
    volume = make_volume()
    with pytest.raises(ExportError, match=r"slice-0003\.png exist already"):
        finish(export_slices(tmp_path, volume, [0, 1, 2], text=False))
    assert [p.name for p in tmp_path.iterdir()] == ["slice-0003.png"]
    assert len(finish(export_slices(tmp_path, volume, [0, 1, 2], text=False, overwrite=True))) == 3


def test_cancel_keeps_whole_files_only(tmp_path, make_volume):
    job = export_slices(tmp_path, make_volume(), [0, 1, 2], text=False)
    for item in job:
        if not isinstance(item, Progress):
            break
    job.close()
    assert [p.name for p in tmp_path.iterdir()] == ["slice-0001.png"]


def test_no_slice_to_export_is_said(tmp_path, make_volume, make_shown, rectangle):
    volume = make_volume()
    empty = make_shown(volume, index=0).summary
    found = make_shown(volume, [rectangle(volume, (3, 12), (4, 20))], index=2).summary
    assert slices_with_findings([found, empty]) == (2,)
    with pytest.raises(ExportError, match="no slice"):
        finish(export_slices(tmp_path, volume, slices_with_findings([empty])))


# --------------------------------------------------------------------------------------------- CSV


def test_csv_of_all_rois(tmp_path, make_volume, make_shown):
    volume = make_volume()
    path = tmp_path / "rois.csv"
    write_rois_csv(
        path, volume, (make_shown(volume, index=k, basis="published" if k == 0 else "edited") for k in (0, 2))
    )
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8
    assert rows[4] == {
        "slice_index": "2",
        "slice_number": "3",
        "position_mm": "26.000",
        "rank": "1",
        "candidate": "100",
        "label": "Lesion",
        "score": "0.900000",
        "x1": "1.00",
        "y1": "2.00",
        "x2": "11.25",
        "y2": "8.00",
        "area_px": "61.50",
        "area_mm2": "30.13",
        "copies": "2",
        "detected": "yes",
        "evidence": "edited",
        "edit": "",
    }
    assert {row["evidence"] for row in rows[:4]} == {"published"}
    with pytest.raises(ExportError, match="exists"):
        write_rois_csv(path, volume, [])


def test_csv_leaves_unknown_numbers_empty(tmp_path, make_volume, make_shown):
    volume = make_volume(spacing=(None, None, None), slice_positions_mm=None)
    write_rois_csv(tmp_path / "a.csv", volume, [make_shown(volume)])
    with (tmp_path / "a.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert row["area_mm2"] == row["position_mm"] == ""


def test_csv_that_fails_half_way_leaves_nothing(tmp_path, make_volume, make_shown):
    volume = make_volume()

    def slices():
        yield make_shown(volume)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_rois_csv(tmp_path / "a.csv", volume, slices())
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------- JSON


def test_json_document(tmp_path, make_volume, make_shown, rectangle):
    volume = make_volume()
    masks = [rectangle(volume, (3, 12), (4, 20)), rectangle(volume, (20, 30), (20, 25))]
    later, first = make_shown(volume, masks, [2, 1], index=2), make_shown(volume, index=0)
    scan = ScanVerdict((0.1, 0.2, 0.8), 2, (0, 2), "Mean of two.", "published")
    networks = Networks()
    document = predictions(
        volume,
        [slice_prediction(volume, later, pipeline=networks), first],
        pipeline=networks,
        detections=DetectionSettings(score=0.4),
        evidence=EvidenceSettings(),
        scan=scan,
    )
    write_json(tmp_path / "p.json", document)
    read = json.loads((tmp_path / "p.json").read_text("utf-8"))
    assert set(read) >= {"schema_version", "series", "weights", "settings", "scan", "slices"}
    assert read["schema_version"] == 1
    assert read["series"] == {
        "id": "abc123",
        "title": "CT",
        "modality": "CT",
        "size": [3, 40, 50],
        "spacing_mm": [2.0, 0.7, 0.7],
        "unit": "HU",
        "plane": "unknown",
    }
    assert [(w["name"], w["sha256"], w["kind"]) for w in read["weights"]] == [
        ("seg", "a1", "segmentation"),
        ("cls", "b2", "classifier"),
    ]
    assert read["settings"]["published"] is read["scan"]["published"] is True
    assert read["settings"]["evidence_basis"] == read["scan"]["evidence_basis"] == "published"
    assert read["settings"]["detections"]["score"] == 0.4
    assert read["scan"]["class"] == "COVID-19"
    assert read["scan"]["class_probabilities"] == {"Control": 0.1, "Other": 0.2, "COVID-19": 0.8}
    assert [s["index"] for s in read["slices"]] == [0, 2]
    assert read["slices"][0]["detections"] == []
    last = read["slices"][1]
    assert last["position_mm"] == 26.0
    assert len(last["image_logits"]) == 3
    assert last["class_probabilities"]["COVID-19"] == pytest.approx(0.9)
    assert last["detections"][0] == {
        "label": "Consolidation",
        "score": pytest.approx(0.95),
        "box": [4.0, 3.0, 20.0, 12.0],
        "area_px": 144.0,
        "mask_area_px": 144,
    }
    assert last["detections"][1]["label"] == "GGO"
    text = json.dumps(read)
    assert "DOE" not in text
    assert "PID-77" not in text


def test_json_without_classifier_and_positions(make_volume, make_shown):
    volume = make_volume(spacing=(None, None, None), slice_positions_mm=None)
    document = predictions(
        volume,
        [make_shown(volume, verdict=False)],
        pipeline=Networks(),
        detections=DetectionSettings(),
        evidence=EvidenceSettings(score=0.3),
    )
    assert document["scan"] is None
    assert document["settings"]["published"] is False
    assert document["settings"]["evidence_basis"] == "edited"
    assert document["series"]["spacing_mm"] == [None, None, None]
    only = document["slices"][0]
    assert only["position_mm"] is only["image_logits"] is only["class_probabilities"] is None


def test_problems_name_slices_by_number_and_quote_nothing(make_volume):
    names = ("DOE_JANE_10.dcm", "DOE_JANE_1", "3")
    volume = make_volume(slice_names=names)
    text = f"3 slice(s) are missing: 5 mm between {names[0]} and {names[1]}, not 3; see DOE_JANE_copy.dcm."
    problem = Problem("warning", text, 'RescaleType "DOE JANE".', ("DOE_JANE_copy.dcm", "and 3 more"))
    assert told_problem(problem, volume) == {
        "level": "warning",
        "text": "3 slice(s) are missing: 5 mm between slice 1 and slice 2, not 3; see another file.",
        "action": 'RescaleType "…".',
    }


def test_the_name_of_a_series_is_not_in_the_document(make_volume):
    for every, told in ((1, "CT axial"), (3, "CT axial, every 3rd slice")):
        volume = make_volume(title="DOE JANE thorax", plane="axial", every=every)
        document = predictions(
            volume, [], pipeline=Networks(), detections=DetectionSettings(), evidence=EvidenceSettings()
        )
        assert document["series"]["title"] == told
        assert "DOE" not in json.dumps(document)


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_files_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "deep" / "out"
    with pytest.raises(ExportError), atomic_folder(target, last="a.json") as work:
        (work / "sub" / "b.txt").write_text("new")
    assert not target.exists(), "made for nothing"
    target.mkdir()
    for name in ("b.txt", "mine.txt", "old.png"):
        (target / name).write_text("before")
    moved = []
    replace_file = Path.replace

    def noted(path, place):
        moved.append(place.relative_to(target).as_posix())
        return replace_file(path, place)

    monkeypatch.setattr(Path, "replace", noted)
    with atomic_folder(target, last="a.json", outdated=[target / "old.png"]) as work:
        (work / "sub").mkdir()
        for name in ("b.txt", "a.json", "sub/c.txt"):
            (work / name).write_text("new")
        assert (target / "b.txt").read_text() == "before"
        assert (target / "old.png").exists()
    assert moved == ["b.txt", "sub/c.txt", "a.json"], "the document last"
    assert {p.relative_to(target).as_posix(): p.read_text() for p in target.rglob("*") if p.is_file()} == {
        **dict.fromkeys(moved, "new"),
        "mine.txt": "before",
    }
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ExportError, match="'file' cannot be written"),
        atomic_folder(tmp_path / "file", last=""),
    ):
        pass


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_name_that_is_too_long_is_told(tmp_path, overwrite):
    target = tmp_path / ("n" * 300 + ".txt")
    with pytest.raises(ExportError, match="the name is too long"), atomic_path(target, overwrite=overwrite):
        pass
    assert list(tmp_path.iterdir()) == []
