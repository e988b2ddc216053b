"""The plots as files."""

import numpy as np
import pytest
from PIL import Image

from model_core.base.errors import ExportError
from model_core.base.jobs import Progress, finish
from model_core.export import available_plots, export_plots, write_plot
from model_core.export.plots import KINDS

CLASSES = ("Control", "Other", "COVID-19")


@pytest.mark.parametrize("plot_format", ["png", "svg"])
def test_all_plots_of_a_slice(tmp_path, make_volume, make_shown, plot_format):
    shown = make_shown(make_volume())
    items = list(export_plots(tmp_path, shown, image_classes=CLASSES, plot_format=plot_format, selected=101))
    paths = [item for item in items if not isinstance(item, Progress)]
    assert [path.name for path in paths] == [
        f"slice-0002-{kind}.{plot_format}" for kind in available_plots(shown)
    ]
    assert len(paths) == 4
    for path in paths:
        if plot_format == "png":
            with Image.open(path) as image:
                assert min(image.size) > 500
                assert len(np.unique(np.asarray(image.convert("L")))) > 5
                assert "not for diagnosis" in image.info["Software"]
        else:
            text = path.read_text("utf-8")
            assert "<svg" in text
            assert "not for diagnosis" in text
    assert len(list(tmp_path.iterdir())) == 4


def test_equal_results_give_equal_files(tmp_path, make_volume, make_shown):
    shown = make_shown(make_volume())
    for name in ("a.svg", "b.svg"):
        write_plot(tmp_path / name, "score-area", shown)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_nothing_is_written_where_one_exists(tmp_path, make_volume, make_shown):
    (tmp_path / "slice-0002-class-bars.png").write_text("precious")
    with pytest.raises(ExportError, match="exists"):
        finish(export_plots(tmp_path, make_shown(make_volume())))
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_class_the_regions_are_plotted(tmp_path, make_volume, make_shown):
    without = make_shown(make_volume(), verdict=False)
    assert available_plots(without) == ("score-histogram", "score-area")
    finish(export_plots(tmp_path, without))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "slice-0002-score-area.png",
        "slice-0002-score-histogram.png",
    ]


def test_what_cannot_be_plotted_says_so(tmp_path, make_volume, make_shown):
    volume = make_volume()
    without = make_shown(volume, verdict=False)
    for kind in ("class-bars", "roi-batch"):
        with pytest.raises(ExportError, match="no image class"):
            write_plot(tmp_path / "a.png", kind, without)
    with pytest.raises(ExportError, match=r"\.svg"):
        write_plot(tmp_path / "a.pdf", "class-bars", make_shown(volume))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_plots_of_edited_evidence_say_so(tmp_path, make_volume, make_shown, kind):
    volume = make_volume()
    written = {}
    for basis in ("trained", "edited"):
        path = tmp_path / f"{basis}.svg"
        write_plot(path, kind, make_shown(volume, basis=basis), image_classes=CLASSES)
        written[basis] = path.read_text("utf-8")
    assert 'id="edited"' in written["edited"]
    assert "edited evidence</dc:title>" in written["edited"]
    assert "edited" not in written["trained"]
