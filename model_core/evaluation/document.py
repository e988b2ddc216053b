"""A report as a list of blocks, written as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

_STYLE = """
body { font: 15px/1.5 "Segoe UI", system-ui, sans-serif; color: #1d2733; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin-bottom: .25rem; } h2 { font-size: 1.2rem; margin-top: 2rem;
     border-bottom: 1px solid #d5dce4; padding-bottom: .25rem; }
.notice { background: #fdf3d8; border-left: 4px solid #c98a00; padding: .6rem .9rem; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #e3e8ee; padding: .3rem .75rem; text-align: left; vertical-align: top; }
th { background: #f4f6f9; } td.number { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; } caption { text-align: left; color: #52606d; padding-bottom: .25rem; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #52606d; }
@media print { body { max-width: none; margin: 0; } h2 { break-after: avoid; }
               figure, tr { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Heading:
    """A section title."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Notice:
    """Text that must not be overlooked."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells as text; cells of the columns ``numbers`` are right-aligned."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numbers: bool = True


@dataclass(frozen=True)
class Picture:
    """A PNG with its file name inside the report folder and a caption."""

    name: str
    png: bytes
    caption: str


Block = Heading | Paragraph | Notice | Table | Picture


@dataclass(frozen=True)
class Document:
    """A title and its blocks."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))


def to_markdown(document: Document) -> str:
    """Return the document as Markdown; pictures are linked by their file name."""
    parts = [f"# {_escape(document.title)}"]
    for block in document.blocks:
        match block:
            case Heading(text):
                parts.append(f"## {_escape(text)}")
            case Paragraph(text):
                parts.append(_escape(text))
            case Notice(text):
                parts.append(f"> **{_escape(text)}**")
            case Table():
                parts.append(_markdown_table(block))
            case Picture(name, _, caption):
                parts.append(f"![{_escape(caption)}]({name})\n\n*{_escape(caption)}*")
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    for character in ("\\", "|", "*", "_", "<", ">", "`", "[", "]"):
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _markdown_table(table: Table) -> str:
    align = ["---"] + [("---:" if table.numbers else "---")] * (len(table.columns) - 1)
    lines = [_line([_escape(c) for c in table.columns]), _line(align)]
    lines += [_line([_escape(cell) for cell in row]) for row in table.rows]
    return (f"{_escape(table.caption)}\n\n" if table.caption else "") + "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def to_html(document: Document) -> str:
    """Return the document as one HTML page that needs no other file."""
    body = [f"<h1>{html.escape(document.title)}</h1>", *map(_html_block, document.blocks)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(document.title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _html_block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Notice(text):
            return f'<p class="notice">{html.escape(text)}</p>'
        case Table():
            return _html_table(block)
        case Picture(_, png, caption):
            data = base64.b64encode(png).decode("ascii")
            text = html.escape(caption)
            return (
                f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
                f"<figcaption>{text}</figcaption></figure>"
            )


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(c)}</th>" for c in table.columns)
    rows = []
    for row in table.rows:
        cells = "".join(
            f'<td class="number">{html.escape(cell)}</td>'
            if table.numbers and column
            else f"<td>{html.escape(cell)}</td>"
            for column, cell in enumerate(row)
        )
        rows.append(f"<tr>{cells}</tr>")
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
