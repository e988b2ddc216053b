"""Reports as HTML and Markdown: every text arrives as it was given, every number is written one way."""

import re
import xml.etree.ElementTree as ET

import pytest

from model_core.report.document import Document, Picture, Table, cell, table

# What file names, patients and sources may hold.
HOSTILE = "<script>alert('x')</script> a|b *_`[c](d)` \\ &amp; ~~ \"q\" {{ 7 * 7 }} {% raw %}"


def document(text):
    return Document(
        text,
        [text],
        {
            text: [text, Table((text, text), [(text, 1)], caption=text), Picture("plot", b"\x89PNG", text)],
            "Nothing": [Table(("a",), [])],
        },
        notice=text,
    )


def test_html_shows_every_text_as_it_is():
    page = document(HOSTILE).html()
    assert "<script" not in page
    root = ET.fromstring(re.sub(r"<(meta|img)\b([^>]*)>", r"<\1\2/>", page.removeprefix("<!doctype html>")))
    shown = [text.strip() for text in root.itertext() if "alert" in text]
    assert set(shown) == {HOSTILE}
    # Title twice, notice, opening, section, paragraph, table caption, two columns, cell and figure caption.
    assert len(shown) == 11
    assert root.find(".//img").get("alt") == HOSTILE
    assert "Nothing" not in page


def test_markdown_keeps_tables_and_marks_no_text():
    text = document(HOSTILE + "\nnext").markdown()
    assert "Nothing" not in text
    assert "![" in text
    assert "](figures/plot.png)" in text
    heading, rule, row = (line for line in text.splitlines() if line.startswith("|"))
    assert rule == "| --- | ---: |"
    for line in (heading, row):
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        assert len(cells) == 2
        assert re.sub(r"\\(.)", r"\1", cells[0]).strip() == HOSTILE + " next"
    # Nothing but the template's own marks is left without a backslash.
    assert not re.search(r"(?<!\\)[<>`\[&~]", row)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (7, "7"),
        (None, "–"),
        (float("nan"), "–"),
        ("name", "name"),
        ({"value": 0.5, "low": -0.25, "high": 1.0}, "0.500 (-0.250 to 1.000)"),
        ({"value": 0.5, "low": None, "high": None}, "0.500"),
        ({"value": None, "low": None, "high": None}, "–"),
        ([-1.5, 2.0], "-1.500 to 2.000"),
    ],
)
def test_how_values_are_written(value, text):
    assert cell(value) == text


def test_digits_and_signs():
    change = {"value": 0.1, "low": -0.04, "high": 0.24}
    assert cell(change, digits=2, sign="+") == "+0.10 (-0.04 to +0.24)"


def test_columns_of_text_are_left_and_numbers_right():
    rows = {"1": {"count": 3, "share": None, "what": "–"}, "2": {"count": 4, "share": 0.5, "what": "x"}}
    shown = table("Name", {"Count": "count", "Share": "share", "What": "what"}, rows)
    assert shown.right == [False, True, True, False]
    assert shown.texts == [["1", "3", "–", "–"], ["2", "4", "0.500", "x"]]
    with pytest.raises(KeyError):
        table("Name", {"Count": "absent"}, rows)
