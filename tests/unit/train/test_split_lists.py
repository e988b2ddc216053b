"""What the shipped weights were trained on, by hash: against each other, and against the data itself."""

import itertools
import json

import pytest

from model_core.train.packing import pack
from model_core.train.recipe import read_recipe
from model_core.train.shipping import split_lists
from model_core.weights.store import weights_folder

FILES = sorted(weights_folder().glob("*.slices.txt"))
ANNOTATED = ("A", "A3", "A4", "A5")


def digests(lists, part, sources=None):
    return {
        digest
        for source, slices in lists[part].items()
        if sources is None or source in sources
        for digest in slices.values()
    }


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_there_are_lists():
    assert FILES


@pytest.mark.parametrize(("one", "other"), list(itertools.product(FILES, FILES)), ids=lambda path: path.stem)
def test_annotated_slices_held_out_by_one_network_are_held_out_by_all(one, other):
    held = digests(read(one), "validation", ANNOTATED)
    assert held
    assert not held & digests(read(other), "train")


@pytest.mark.shared_data
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_lists_name_the_slices_of_the_data(path, shared_data, tmp_path):
    """Small sources are read again: pictures, masks and split are those of the list."""
    lists = read(path)
    recipe = read_recipe(path.name.removesuffix(".slices.txt"))
    kept = {"A", "A5", *sorted(recipe.class_weights())[:1]}
    small = recipe.without(tuple(set(recipe.sources) - kept))
    found = split_lists(pack(small, shared_data, tmp_path))
    for part in ("train", "validation"):
        for source, slices in found[part].items():
            assert slices == lists[part][source]


@pytest.mark.shared_data
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_picture_of_a_held_out_patient_is_trained_on_without_its_outline(path, shared_data):
    """Some patients of A5 are also among the pictures without outlines, under another name."""
    from model_core.data.pictures import read_index

    recipe = read_recipe(path.name.removesuffix(".slices.txt"))
    without = [name for name, one in recipe.sources.items() if one.kind == "classified"]
    train = {name for source in without for name in read(path)["train"].get(source, ())}
    rows = read_index(shared_data / "A5_mosmed_lesion" / "index.tsv").values()
    if "A5" not in recipe.sources:
        pytest.skip("this recipe has no source whose patients have two names")
    held = {
        row["name_in_set_B_numbering"].removesuffix(".jpg")
        for row in rows
        if row["study"] in recipe.sources["A5"].validation
    }
    assert len(held) == len(recipe.sources["A5"].validation)
    assert not held & train


def test_classes_are_measured_on_no_patient_whose_lesions_were_trained_on():
    path = weights_folder() / "single-shot-r18t1.slices.txt"
    lists = read(path)
    # Picture k of the grade CT-1 shows the patient of study 255 + k.
    studies = {int(name.split("_")[2]) for name in lists["train"]["A5"]}
    measured = [name for name in lists["validation"]["mosmed_covid"] if name.startswith("mosmed_ct1_")]
    assert measured
    assert not studies & {255 + int(name.rsplit("_", 1)[1]) for name in measured}
