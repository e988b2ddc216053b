"""``ctmasknet explain`` end to end on a synthetic series, with small random networks and made references."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt
from scipy.special import expit

from model_core.base.calibration import Calibration
from model_core.base.references import References
from model_core.cli.main import main
from model_core.engine.load import load_pipeline
from model_core.explain import edit_picture, explain_region
from model_core.phantom import make_phantom, write_dicom
from model_core.weights.store import load_weights, save_weights

SLICES, SIZE = 5, 96
KEYS = {
    "image_logits",
    "class_probabilities",
    "roi_batch",
    "rois",
    "baseline_logits",
    "operators",
    "decisive_set",
    "region",
    "schema_version",
}
CLASSES = ["Control", "Other (non-COVID)", "COVID-19"]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    write_dicom(make_phantom(slices=SLICES, size=SIZE)[0], folder)
    return folder


@pytest.fixture(scope="module")
def plain(tiny_weights):
    return [str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")]


@pytest.fixture(scope="module")
def weights(plain, tmp_path_factory):
    """The tiny networks with RoI batches of controls, and a calibration, in the card."""
    loaded = load_weights(plain[1])
    size = loaded.card.architecture.roi_batch_size
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.3, (32, size, 5)).astype(np.float32)
    rows[..., 0] = -np.sort(-rng.uniform(0, 0.1, (32, size)), axis=1)
    card = dataclasses.replace(
        loaded.card,
        name="with-references",
        references=References.of(rows, patients=4, sources=("made",)),
        calibration=Calibration(slope=1.0, bias=0.0, ill_classes=(1, 2), control_rate=0.0, control_limit=0.1),
    )
    path = tmp_path_factory.mktemp("weights") / "with-references.safetensors"
    save_weights(path, loaded.tensors, card)
    return [plain[0], str(path)]


def explain(path, output, *options):
    return main(["explain", str(path), "-o", str(output), "--device", "cpu", *options])


@pytest.fixture(scope="module")
def written(series, weights, tmp_path_factory):
    """The folder of one slice, explained as it is and with ground glass planted."""
    volume = make_phantom(slices=SLICES, size=SIZE)[0]
    deep = distance_transform_edt((volume.voxels[2] < -700) & (volume.voxels[2] > -950))
    row, column = (int(place) for place in np.unravel_index(deep.argmax(), deep.shape))
    box = f"{column - 4},{row - 4},{column + 4},{row + 4}"
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        # What random networks mark everywhere would leave nothing healthy.
        module = sys.modules[edit_picture.__module__]
        patch.setattr(module, "weakly_marked", lambda *_: np.zeros((SIZE, SIZE), bool))
        options = "--weights", *weights, "--plant", box, "--ground-glass", "-450"
        assert explain(series, out, "--slice", "3", *options) == 0
    return out


@pytest.fixture(scope="module")
def document(written):
    return json.loads((written / "explanation.json").read_text())


def test_the_document_has_its_parts_and_the_class_is_that_of_predict(series, weights, document, tmp_path):
    assert set(document) >= KEYS
    assert main(["predict", str(series), "-o", str(tmp_path), "--device", "cpu", "--slices", "2:3",
                 "--weights", *weights]) == 0  # fmt: skip
    (row,) = json.loads((tmp_path / "predictions.json").read_text())["slices"]
    assert document["image_logits"] == pytest.approx(row["image_logits"], abs=1e-6)
    assert document["class_probabilities"] == pytest.approx(row["class_probabilities"], abs=1e-6)
    assert document["slice_number"] == row["index"] + 1


def test_slots_are_those_of_the_batch_each_once(document):
    batch, rois = np.array(document["roi_batch"]), document["rois"]
    assert batch.shape[1] == 5
    assert sorted(slot for roi in rois for slot in roi["slots"]) == list(range(len(batch)))
    assert [roi["rank"] for roi in rois] == list(range(1, len(rois) + 1))
    for roi in rois:
        assert (batch[roi["slots"], 0] == roi["score"]).all()
        left, top, right, bottom = roi["box"]
        assert 0 <= left <= right <= SIZE
        assert 0 <= top <= bottom <= SIZE


def test_leave_one_out_is_module_s_on_batches_made_by_hand(document, weights):
    pipeline = load_pipeline(weights, device="cpu")
    references = pipeline.cards[-1].references.batches
    layers = [(w.astype(float), b.astype(float)) for w, b in pipeline.evidence_backend.module_s.layers]

    def answer(rows):
        values = rows.ravel()
        for number, (matrix, offsets) in enumerate(layers):
            values = matrix @ (np.maximum(values, 0) if number else values) + offsets
        return values

    batch = np.array(document["roi_batch"])
    for roi in document["rois"][:6]:
        several = []
        for reference in references:
            rows = batch.copy()
            rows[roi["slots"]] = reference[roi["slots"]]
            several.append(answer(rows))
        without = np.mean(several, axis=0)
        np.testing.assert_allclose(roi["leave_one_out_logits"], without, rtol=0, atol=1e-6)
        own = [roi["contribution"]["leave_one_out"][name] for name in CLASSES]
        np.testing.assert_allclose(own, answer(batch) - without, rtol=0, atol=1e-6)


def test_contributions_add_up_to_the_logits(document):
    logits = np.array(document["image_logits"])
    for method in ("integrated_gradients", "shapley"):
        baseline = np.array(document["baseline_logits"][method])
        total = sum(
            np.array([roi["contribution"][method][name] for name in CLASSES]) for roi in document["rois"]
        )
        allowed = np.maximum(0.01 * np.abs(logits - baseline), 0.01)
        assert (np.abs(baseline + total - logits) <= allowed).all()
    assert document["baseline_logits"]["leave_one_out"] is None
    ill = document["operators"]["ill_or_not"]
    assert ill["logit"] == pytest.approx(np.logaddexp(logits[1], logits[2]) - logits[0], abs=1e-5)
    assert ill["baseline_logit"]["shapley"] + sum(ill["contribution"]["shapley"]) == pytest.approx(
        ill["logit"], abs=1e-5
    )


def test_what_the_verdict_hangs_on_is_told_with_what_becomes_of_it(document):
    found = document["decisive_set"]
    assert found["text"]
    before = document["ill_probability"]
    if before is None:
        assert found["verdict"] is None
        return
    assert found["verdict"] == ("ill" if before > 0.5 else "not ill")
    for name, changes in (("without", True), ("alone", False)):
        if (chosen := found[name]) is not None:
            ill = chosen["ill_probability"]
            assert (("ill" if ill > 0.5 else "not ill") != found["verdict"]) == changes
            assert chosen["ranks"] == [k for p in chosen["players"] for k in found["ranks"][p - 1]]


def test_pictures_and_a_sentence(series, weights, tmp_path, capsys):
    out = tmp_path / "out"
    assert explain(series, out, "--slice", "3", "--weights", *weights, "--seed", "5") == 0
    assert capsys.readouterr().out.strip()
    assert sorted(path.name for path in out.iterdir()) == [
        "explanation.json", "slice-0003-contribution-bars.png", "slice-0003-contributions.png",
    ]  # fmt: skip
    for path in out.glob("*.png"):
        with Image.open(path) as picture:
            assert len(picture.convert("L").getcolors()) > 20
            assert "not for diagnosis" in picture.text["Software"]
    text = (out / "explanation.json").read_text()
    assert explain(series, out, "--slice", "3", "--weights", *weights, "--seed", "5") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert explain(series, out, "--slice", "3", "--weights", *weights, "--seed", "5", "--overwrite") == 0
    assert (out / "explanation.json").read_text() == text


def test_weights_without_references_say_why_there_are_no_contributions(series, plain, tmp_path, capsys):
    assert explain(series, tmp_path, "--slice", "1", "--weights", *plain) == 0
    document = json.loads((tmp_path / "explanation.json").read_text())
    assert set(document["baseline_logits"].values()) == {None}
    assert document["picture_edit"] is None
    for roi in document["rois"]:
        assert set(roi["contribution"].values()) == {None}
        assert roi["leave_one_out_logits"] is None
    assert document["decisive_set"]["without"] is None
    for told in (document["operators"]["why_no_contributions"], capsys.readouterr().err):
        assert "train calibrate" in told
    # Removed rows are refilled without any.
    closed = document["operators"]["closed_up"]
    assert len(closed["logits"]) == len(document["rois"])
    assert expit(document["image_logits"]).tolist() == pytest.approx(
        list(document["class_probabilities"].values()), abs=1e-6
    )


def test_no_region_left_leaves_the_bias(series, weights, tmp_path):
    assert explain(series, tmp_path, "--slice", "1", "--weights", *weights, "--evidence-score", "1") == 0
    document = json.loads((tmp_path / "explanation.json").read_text())
    assert document["rois"] == []
    assert not np.any(document["roi_batch"])
    assert "bias" in document["operators"]["why_no_contributions"]
    assert document["settings"]["evidence_basis"] == "edited"


def test_thresholds_change_the_evidence_and_copies_count_with_their_row(series, weights, document, tmp_path):
    options = ("--slice", "3", "--weights", *weights)
    assert explain(series, tmp_path / "nms", *options, "--evidence-nms", "0.1") == 0
    other = json.loads((tmp_path / "nms/explanation.json").read_text())
    assert [roi["box"] for roi in other["rois"]] != [roi["box"] for roi in document["rois"]]

    scores = [roi["score"] for roi in document["rois"]]
    between = (scores[4] + scores[5]) / 2
    assert explain(series, tmp_path / "score", *options, "--evidence-score", f"{between:.9f}") == 0
    few = json.loads((tmp_path / "score/explanation.json").read_text())
    assert [roi["score"] for roi in few["rois"]] == scores[:5]
    test_slots_are_those_of_the_batch_each_once(few)
    test_leave_one_out_is_module_s_on_batches_made_by_hand(few, weights)
    test_contributions_add_up_to_the_logits(few)
    # The slots of the others are drawn anew, which is averaged.
    assert few["operators"]["closed_up"]["draws"] == 16


@pytest.mark.parametrize("options", [(), ("--slice", "0"), ("--slice", str(SLICES + 1)), ("--slice", "x")])
def test_wrong_usage_ends_with_2(series, weights, tmp_path, options):
    try:
        code = explain(series, tmp_path / "out", "--weights", *weights, *options)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert not (tmp_path / "out").exists()


def test_without_a_class_there_is_nothing_to_explain(series, plain, tmp_path, capsys):
    assert explain(series, tmp_path / "out", "--slice", "1", "--weights", plain[0]) == 1
    assert "nothing to explain" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_page_says_the_same(series, weights, document, tmp_path):
    options = (
        "--slice",
        "3",
        "--weights",
        *weights,
        "--report",
        "--stability",
        "--compare-nms",
        "0.25",
        "0.75",
    )
    assert explain(series, tmp_path, *options) == 0
    html = (tmp_path / "report.html").read_text()
    steady = json.loads((tmp_path / "explanation.json").read_text())["stability"]
    assert len(steady["changes"]) == 8
    assert np.shape(steady["image_logits"]) == (8, 3)
    assert len(steady["ill_probability"]) == len(steady["lesion_mm2"]) == 8
    assert "After 8 small changes" in html
    assert document["stability"] is None
    assert "Slice 3 of 5" in html
    assert "Shapley values" in html
    assert f"{document['class_probabilities']['COVID-19']:.3f}" in html
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert b"/FontFile2" in (tmp_path / "slice-0003-nms.pdf").read_bytes()
    assert (tmp_path / "slice-0003-nms.png").is_file()
    assert explain(series, tmp_path, *options) != 0, "nothing is replaced unasked"
    assert explain(series, tmp_path, "--slice", "2", "--weights", *weights, "--overwrite") == 0
    assert not [*tmp_path.glob("report.*"), *tmp_path.glob("*-nms.*")], "they were of another slice"


def test_without_the_library_for_pdf_a_report_is_refused_before_anything_is_computed(
    series, weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "reportlab.platypus", None)
    monkeypatch.setattr("model_core.engine.load.load_pipeline", None)
    assert explain(series, tmp_path / "out", "--slice", "3", "--weights", *weights, "--report") == 1
    assert "PDF needs the package reportlab" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_page_of_edited_evidence_says_so_where_it_says_how_it_was_made(series, weights, tmp_path):
    options = ("--slice", "3", "--weights", *weights, "--exclude", "1", "--report", "--stability")
    assert explain(series, tmp_path, *options) == 0
    html = (tmp_path / "report.html").read_text()
    assert "edited, not as these weights define it" in html
    assert "with the evidence as it was before the edit" in html


def test_an_edited_slice_is_explained_and_marked(series, weights, document, tmp_path, capsys):
    box = document["rois"][3]["box"]
    asked = ",".join(f"{edge:.1f}" for edge in box)
    options = ("--slice", "3", "--weights", *weights)
    assert explain(series, tmp_path, *options, "--exclude", "1", "3", "--ask", asked) == 0
    said = capsys.readouterr().out
    assert "Edited evidence (without regions 1, 3; asked about a box: Lesion " in said
    edited = json.loads((tmp_path / "explanation.json").read_text())
    assert edited["settings"]["evidence_basis"] == "edited"
    edit = edited["settings"]["edit"]
    assert [row["rank"] for row in edit["excluded"]] == [1, 3]
    assert [row["box"] for row in edit["excluded"]] == [document["rois"][k]["box"] for k in (0, 2)]
    ((answer,),) = (one["answers"] for one in edit["asked"])
    assert edit["asked"][0]["box"] == pytest.approx(box, abs=0.06)
    assert edited["original"]["image_logits"] == pytest.approx(document["image_logits"], abs=1e-6)
    assert edited["image_logits"] != pytest.approx(document["image_logits"], abs=1e-6)
    ranks = [roi["rank"] for roi in edited["rois"]]
    assert not {1, 3} & set(ranks)
    assert (answer["rank"] in ranks) == answer["in_evidence"]
    slots = sorted(slot for roi in edited["rois"] for slot in roi["slots"])
    assert slots == list(range(len(edited["roi_batch"])))
    assert document["settings"]["edit"] is None
    assert document["original"] is None


def test_only_some_regions_may_stay(series, weights, document, tmp_path):
    options = ("--slice", "3", "--weights", *weights)
    assert explain(series, tmp_path, *options, "--only", "2") == 0
    edited = json.loads((tmp_path / "explanation.json").read_text())
    ((row, rank),) = {(tuple(row), roi["rank"]) for row in edited["roi_batch"] for roi in edited["rois"]}
    assert rank == 2
    assert row[0] == pytest.approx(document["rois"][1]["score"])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--exclude", "999", "There is no region 999"),
        ("--ask", "1,2,3", "not a box"),
        ("--ask", "30,2,3,40", "X1 < X2"),
        ("--ask", "500,500,600,600", "within the slice of 96 x 96 pixels"),
    ],
)
def test_what_cannot_be_edited_is_said(series, weights, tmp_path, capsys, option, value, said):
    options = ("--slice", "3", "--weights", *weights)
    try:
        code = explain(series, tmp_path / "out", *options, option, value)
    except SystemExit as error:
        code = error.code
    assert code != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_region_hangs_on_is_told_and_drawn(series, weights, document, tmp_path, capsys, monkeypatch):
    # A coarse grid, for time's sake.
    monkeypatch.setitem(explain_region.__kwdefaults__, "grid", 2)
    options = ("--slice", "3", "--weights", *weights, "--region", "2")
    assert explain(series, tmp_path / "out", *options) == 0
    found = json.loads((tmp_path / "out/explanation.json").read_text())
    region = found["region"]
    assert document["region"] is None
    # Computed in PyTorch, which has gradients, instead of ONNX Runtime.
    for name in ("rank", "slots"):
        assert [roi[name] for roi in found["rois"]] == [roi[name] for roi in document["rois"]]
    for mine, plain in zip(found["rois"], document["rois"], strict=True):
        assert mine["score"] == pytest.approx(plain["score"], abs=1e-5)
        assert mine["box"] == pytest.approx(plain["box"], abs=1e-2)
    assert (region["rank"], region["box"]) == (2, pytest.approx(found["rois"][1]["box"]))
    score = found["rois"][1]["score"]
    assert region["logit"] == pytest.approx(np.log(score / (1 - score)), abs=1e-3)
    assert np.shape(region["cells"]["values"]) == (7, 7)
    assert np.shape(region["occlusion"]["logit_fall_at_the_fixed_proposal"]) == (2, 2)
    # The random network marks everything, so that there is no healthy lung to copy; that is said.
    assert region["filling"] in ("mean", "around")
    assert "one grey" in region["occlusion"]["filled_with"]
    said = capsys.readouterr().out
    assert f"Region 2: logit {region['logit']:+.2f}, compared with one grey, the mean of" in said
    path = region["integrated_gradients"]
    assert path["sum"] == pytest.approx(region["logit"] - path["healed_logit"], abs=0.05)
    with Image.open(tmp_path / "out/slice-0003-region-2.png") as picture:
        assert len(picture.convert("L").getcolors()) > 20
    assert explain(series, tmp_path / "none", *options[:-1], "999") == 2
    assert "--region 999 is out of range" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Three slices with masks of two patients, and a control."""
    folder = tmp_path_factory.mktemp("labelled")
    volume, labels = make_phantom(slices=12, size=SIZE)
    rows = ["file\tpatient\tapprox_hu_at_0\tapprox_hu_at_255"]
    for name in ("pairs/images", "pairs/masks", "classes/normal"):
        (folder / name).mkdir(parents=True)
    for number, index in enumerate((4, 5, 7, 1)):
        grey = np.clip((volume.voxels[index] + 1350.0) / 1500 * 255, 0, 255).astype(np.uint8)
        place = folder / ("pairs/images" if number < 3 else "classes/normal") / f"s{index}.png"
        Image.fromarray(grey).save(place)
        if number < 3:
            Image.fromarray(labels[index]).save(folder / f"pairs/masks/s{index}.png")
            rows.append(f"s{index}.png\tp{number % 2}\t-1350\t150")
    (folder / "pairs/index.tsv").write_text("\n".join(rows) + "\n")
    return folder


def evaluate_explanations(labelled, weights, output, *options):
    return main([
        "evaluate", "explanations", "--data", str(labelled / "pairs"), "--controls",
        str(labelled / "classes"), "-o", str(output), "--device", "cpu", "--weights", *weights,
        "--slices", "2", "--control-slices", "1", *options,
    ])  # fmt: skip


@pytest.mark.slow
def test_explanations_are_measured_against_the_order_of_scores(
    labelled, weights, tmp_path, capsys, monkeypatch
):
    work = ("--work", str(tmp_path / "work"))
    assert evaluate_explanations(labelled, weights, tmp_path / "one", *work) == 0
    assert "better than the order of scores: " in capsys.readouterr().out
    report = json.loads((tmp_path / "one/report.json").read_text())
    assert report["slices"] == {"lesion slices": 2, "controls": 1}
    lesions = report["results"]["lesion slices"]
    assert set(lesions) == {
        "leave_one_out", "closed_up", "integrated_gradients", "shapley", "score", "random"
    }  # fmt: skip
    for method, row in lesions.items():
        assert row["deletion_in_place"]["slices"] == 2
        assert {"mass", "gini", "row_sensitivity", "randomised_correlation", "null_player"} <= set(row)
        assert ("incompleteness" in row) == (method not in ("score", "random"))
    assert lesions["shapley"]["incompleteness"]["value"] == pytest.approx(0, abs=1e-4)
    assert lesions["score"]["randomised_correlation"]["value"] == pytest.approx(1)
    assert "mass" not in report["results"]["controls"]["shapley"]
    assert "score" not in report["gain_over_the_order_of_scores"]["lesion slices"]
    assert len((tmp_path / "one/slices.csv").read_text().splitlines()) == 1 + 3 * 6
    assert "order of scores" in (tmp_path / "one/report.html").read_text()

    # Regions are kept: another run looks at no picture.
    (kept,) = (tmp_path / "work").iterdir()
    monkeypatch.setattr("model_core.measure.explained_slices.run", None)
    monkeypatch.setattr("model_core.measure.explanations.METHODS", ("score", "random"))
    assert evaluate_explanations(labelled, weights, tmp_path / "two", *work) == 0
    again = json.loads((tmp_path / "two/report.json").read_text())
    assert again["results"]["lesion slices"]["score"] == lesions["score"]
    kept.write_bytes(b"damaged")
    assert evaluate_explanations(labelled, weights, tmp_path / "three", *work) == 1
    assert "delete it" in capsys.readouterr().err


def test_explanations_are_not_measured_without_references(labelled, plain, tmp_path, capsys):
    assert evaluate_explanations(labelled, plain, tmp_path / "out") == 1
    assert "train calibrate" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_changed_picture_is_told_apart_and_marked(written, document):
    edit = document["picture_edit"]
    assert "not about the patient" in edit["about"]
    assert (edit["kind"], edit["ground_glass_hu"]) == ("plant", -450.0)
    assert edit["target"] == "ill_or_not"
    assert edit["logit_change"] == pytest.approx(edit["after"]["logit"] - edit["before"]["logit"])
    assert edit["before"]["image_logits"] == pytest.approx(document["image_logits"], abs=1e-6)
    assert len(edit["shams"]["logit_changes"]) == edit["shams"]["count"] <= 8
    with Image.open(written / "slice-0003-changed.png") as picture:
        assert "not for diagnosis" in picture.text["Software"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--heal-area", "0,0,5,5"], "hardly any lung"),
        (["--heal", "1", "--plant", "1,1,9,9"], "not allowed with"),
        (["--plant", "1,1,9,9", "--ground-glass", "40"], "outside -600..-400"),
        (["--ground-glass", "-450"], "give its box"),
        (["--heal-area", "1,1,9,9", "--ground-glass", "-450"], "give its box"),
    ],
)
def test_what_cannot_be_changed_is_refused(series, weights, tmp_path, capsys, options, said):
    try:
        code = explain(series, tmp_path / "out", "--slice", "3", "--weights", *weights, *options)
    except SystemExit as stopped:
        code = stopped.code
    assert code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
