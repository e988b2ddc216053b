"""A document as PDF (A4), with fonts embedded and text that can be searched."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from model_core.base.errors import ExportError
from model_core.base.files import atomic_path
from model_core.plots.style import THEMES
from model_core.report.document import Block, Document, Note, Picture, Row, Table

_MARGIN_MM, _GAP = 14, 10.0
_TEXT, _SMALL = 8.6, 7.2
# Between the text of a cell and its sides.
_CELL = 4
# Widths of pictures that are tried, as shares of the room.
_SMALLER = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4)
_PAPER = THEMES["light"]
_SANS, _BOLD = "DejaVuSans", "DejaVuSans-Bold"


def require_pdf() -> None:
    """Raise `ExportError` where the library that writes PDF cannot be loaded."""
    try:
        import reportlab.platypus  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"PDF needs the package reportlab, which cannot be loaded ({error}): pip install reportlab."
        ) from error


def write_pdf(path: Path, document: Document, *, one_page: bool = False, overwrite: bool = False) -> None:
    """Write a document as PDF; equal documents give equal files.

    Parameters
    ----------
    one_page:
        Whether pictures, and at last all of it, are made smaller until it fits on one page, or on two
        where the document has a ``second`` side: each as much as it needs.

    Raises
    ------
    ExportError
        If the file exists, or cannot be written, or there is no library that writes it.
    """
    require_pdf()
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import Frame, KeepInFrame, PageBreak, PageTemplate
    from reportlab.platypus.doctemplate import BaseDocTemplate

    margin = _MARGIN_MM * mm
    width, height = A4[0] - 2 * margin, A4[1] - 2 * margin
    story: list[Any] = []
    for side, titles in enumerate(_sides(document)):
        part = _story(document, titles, width, head=not side)
        for pictures in _SMALLER if one_page else ():
            part = _story(document, titles, width, head=not side, pictures=pictures)
            if _height(part, width) < height:
                break
        story += [PageBreak()] * side
        story += [KeepInFrame(width, height - 1, part, mode="shrink")] if one_page else part
    with atomic_path(path, overwrite=overwrite) as temporary:
        made = BaseDocTemplate(
            str(temporary),
            pagesize=A4,
            leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=margin,
            title=document.title,
            creator="CTMaskNet",
            invariant=1,
        )  # fmt: skip
        frame = Frame(
            margin, margin, width, height, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0
        )
        made.addPageTemplates(PageTemplate("page", [frame], onPage=_number))
        made.build(story)


@cache
def _register_fonts() -> None:
    """Embed the fonts that matplotlib brings: those of PDF itself have no ≥ and no −."""
    import matplotlib as mpl
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name in (_SANS, _BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    pdfmetrics.registerFontFamily(_SANS, normal=_SANS, bold=_BOLD, italic=_SANS, boldItalic=_BOLD)


def _number(canvas: Any, made: Any) -> None:
    """Write the number of every page but the first."""
    if made.page > 1:
        canvas.setFont(_SANS, _SMALL)
        canvas.drawRightString(made.pagesize[0] - made.rightMargin, made.bottomMargin / 2, str(made.page))


def _style(size: float = _TEXT, *, colour: str = _PAPER.text, bold: bool = False, **more: Any) -> Any:
    from reportlab.lib.styles import ParagraphStyle

    fields = {"spaceAfter": 3.0, **more}
    return ParagraphStyle(
        "text",
        fontName=_BOLD if bold else _SANS,
        fontSize=size,
        leading=1.32 * size,
        textColor=colour,
        **fields,
    )


def _text(text: str, **style: Any) -> Any:
    from reportlab.platypus import Paragraph

    return Paragraph(escape(text), _style(**style))


def _height(story: list[Any], width: float) -> float:
    """Return how high a story is, with the space between its parts."""
    height = 0.0
    for flowable in story:
        _, own = flowable.wrap(width, 1e6)
        height += own + flowable.getSpaceBefore() + flowable.getSpaceAfter()
    return height


def _sides(document: Document) -> list[list[str]]:
    """Return the titles of the sections of each side."""
    titles = list(document.filled)
    # The first section may have no title.
    if not document.second or document.second not in titles[1:]:
        return [titles]
    second = titles.index(document.second)
    return [titles[:second], titles[second:]]


def _story(
    document: Document, titles: list[str], width: float, *, head: bool, pictures: float = 1.0
) -> list[Any]:
    _register_fonts()
    story = _head(document, width) if head else []
    for title in titles:
        if title:
            story.append(_text(title, size=10, bold=True, spaceBefore=7, spaceAfter=4))
        story += _flowables(document.filled[title], width, pictures)
    return story


def _head(document: Document, width: float) -> list[Any]:
    story = [_text(document.title, size=13, bold=True)]
    if document.answer:
        bar = {"borderPadding": (0, 0, 0, 7), "leftIndent": 7, "spaceBefore": 4, "spaceAfter": 6}
        story.append(_marked(_text(document.answer, size=12, bold=True, **bar), document.colour, width))
    if document.notice:
        story.append(
            _text(document.notice, backColor=_PAPER.grid, borderPadding=4, spaceBefore=5, spaceAfter=8)
        )
    return story + [_text(text) for text in document.opening]


def _flowables(blocks: Iterable[Block], width: float, pictures: float) -> list[Any]:
    return [flowable for block in blocks for flowable in _of(block, width, pictures)]


def _of(block: Block, width: float, pictures: float) -> list[Any]:
    if isinstance(block, Picture):
        return [_image(block.png, width * pictures), _text(block.caption, size=_SMALL, colour=_PAPER.muted)]
    if isinstance(block, Table):
        caption = [_text(block.caption, size=_SMALL, colour=_PAPER.muted)] if block.caption else []
        return [*caption, _table(block, width)]
    if isinstance(block, Row):
        return [_row(block, width, pictures)]
    return [_text(block, size=_SMALL, colour=_PAPER.muted) if isinstance(block, Note) else _text(block)]


def _image(png: bytes, width: float) -> Any:
    from reportlab.platypus import Image

    image = Image(io.BytesIO(png))
    image.drawWidth, image.drawHeight = width, image.imageHeight * width / image.imageWidth
    image.hAlign = "LEFT"
    return image


def _table(block: Table, width: float) -> Any:
    from reportlab.platypus import Table as Grid

    right = block.right
    head = [
        _text(column, size=_SMALL, bold=True, spaceAfter=0, alignment=2 * r)
        for column, r in zip(block.columns, right, strict=True)
    ]
    rows = [
        [_text(text, size=_SMALL, spaceAfter=0, alignment=2 * r) for text, r in zip(row, right, strict=True)]
        for row in block.texts
    ]
    widths = column_widths(list(zip(block.columns, *block.texts, strict=True)), width)
    style = [
        ("BACKGROUND", (0, 0), (-1, 0), _PAPER.grid),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, _PAPER.grid),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        # A number at the right must not touch a word at the left of the next column.
        *((f"{side}PADDING", (0, 0), (-1, -1), _CELL) for side in ("LEFT", "RIGHT")),
        *((f"{side}PADDING", (0, 0), (-1, -1), 1.6) for side in ("TOP", "BOTTOM")),
    ]
    return Grid([head, *rows], colWidths=widths, repeatRows=1, style=style, hAlign="LEFT", spaceAfter=4)


def column_widths(columns: list[tuple[str, ...]], width: float) -> list[float]:
    """Return how wide columns of texts (heading first) are on so many points: as their longest text.

    The widest get less where that is too much together.
    """
    from reportlab.pdfbase.pdfmetrics import stringWidth

    wanted = [
        max(18.0, *(stringWidth(text, _BOLD if k == 0 else _SANS, _SMALL) for k, text in enumerate(column)))
        + 2 * _CELL
        + 0.5
        for column in columns
    ]
    if sum(wanted) <= width:
        return [width * one / sum(wanted) for one in wanted]
    # Narrow ones keep what they want; the others share what is left.
    room, left = width, len(wanted)
    for one in sorted(wanted):
        if one * left > room:
            break
        room, left = room - one, left - 1
    return [min(one, room / left) for one in wanted]


def _row(block: Row, width: float, pictures: float) -> Any:
    from reportlab.platypus import Table as Grid

    room = width - _GAP * (len(block.columns) - 1)
    widths = [room * share / sum(block.widths) for share in block.widths]
    cells: list[Any] = []
    for column, own in zip(block.columns, widths, strict=True):
        cells += [_flowables(column, own, pictures), ""]
    columns = [part for own in widths for part in (own, _GAP)][:-1]
    style = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        *((f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")),
    ]
    return Grid([cells[:-1]], colWidths=columns, style=style, hAlign="LEFT", spaceAfter=_GAP / 2)


def _marked(flowable: Any, colour: str, width: float) -> Any:
    """Set a bar of colour beside what must be seen first."""
    from reportlab.platypus import Table as Grid

    style = [
        ("LINEBEFORE", (0, 0), (0, 0), 3.5, colour or _PAPER.text),
        *((f"{side}PADDING", (0, 0), (-1, -1), 1) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")),
    ]
    return Grid([[flowable]], colWidths=[width], style=style, hAlign="LEFT", spaceAfter=4)
