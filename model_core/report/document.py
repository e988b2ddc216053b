"""A report as plain blocks; the templates in ``resources/reports`` make Markdown and one HTML page of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from model_core.base.files import atomic_path, write_text
from model_core.base.resources import resource

# A value with its interval is a mapping with value, low and high; an interval alone is low and high.
Cell = str | int | float | Mapping[str, Any] | list[float] | None


def cell(value: Cell, *, digits: int = 3, sign: str = "") -> str:
    """Write a value for a table: a dash where there is none, with an interval ``0.812 (0.780 to 0.840)``.

    Parameters
    ----------
    sign:
        "+" writes the sign of positive numbers too.
    """
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:{sign}.{digits}f}"
    if isinstance(value, Mapping):
        middle = cell(value["value"], digits=digits, sign=sign)
        limits = [value["low"], value["high"]]
        return middle if None in limits else f"{middle} ({cell(limits, digits=digits, sign=sign)})"
    if isinstance(value, list):
        return " to ".join(cell(limit, digits=digits, sign=sign) for limit in value)
    return str(value)


@dataclass(frozen=True)
class Table:
    """Rows of values. Columns are right-aligned unless they hold text; the first always is text."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    digits: int = 3

    @property
    def texts(self) -> list[list[str]]:
        """What is written in each row."""
        return [[cell(value, digits=self.digits) for value in row] for row in self.rows]

    @property
    def right(self) -> list[bool]:
        """Whether each column is right-aligned."""
        return [
            bool(column) and not any(isinstance(row[column], str) for row in self.rows)
            for column in range(len(self.columns))
        ]


def table(
    first: str,
    columns: Mapping[str, str],
    rows: Mapping[str, Mapping[str, Any]],
    *,
    caption: str = "",
    digits: int = 3,
) -> Table:
    """Return a table of rows by their name; ``columns`` are titles and the keys of their values."""
    listed = [(name, *(row[key] for key in columns.values())) for name, row in rows.items()]
    return Table((first, *columns), listed, caption, digits)


@dataclass(frozen=True)
class Picture:
    """A PNG that lies in the folder ``figures`` of the report, and its caption."""

    name: str
    png: bytes
    caption: str

    @property
    def path(self) -> str:
        """Where it lies in the report folder."""
        return f"figures/{self.name}.png"

    @property
    def base64(self) -> str:
        """The PNG for a data URI."""
        return base64.b64encode(self.png).decode("ascii")


class Note(str):
    """A paragraph in small print."""

    __slots__ = ()


@dataclass(frozen=True)
class Row:
    """Columns side by side, each of blocks below each other; ``widths`` are their shares of the page."""

    columns: Sequence[Sequence[str | Table | Picture]]
    widths: Sequence[float]


Block = str | Table | Picture | Row


@dataclass(frozen=True)
class Document:
    """A title, paragraphs that open it, and sections by their title.

    Attributes
    ----------
    sections:
        Paragraphs, tables and pictures. Tables without rows and sections without any are left out.
    notice:
        Text that must not be overlooked.
    answer, colour:
        What the whole document is about, in a few words, and the colour ``#rrggbb`` that stands for it.
    second:
        Title of the section that begins a second side of paper; empty where all of it is meant for one.
    """

    title: str
    opening: Sequence[str]
    sections: Mapping[str, Sequence[Block]]
    notice: str = ""
    answer: str = ""
    colour: str = ""
    second: str = ""

    @property
    def filled(self) -> dict[str, list[Block]]:
        """The sections that have something to show."""
        shown = {
            title: [block for block in blocks if not isinstance(block, Table) or block.rows]
            for title, blocks in self.sections.items()
        }
        return {title: blocks for title, blocks in shown.items() if blocks}

    @property
    def pictures(self) -> list[Picture]:
        """Every picture, also those in rows."""
        blocks = [block for section in self.filled.values() for block in section]
        blocks += [one for row in blocks if isinstance(row, Row) for column in row.columns for one in column]
        return [block for block in blocks if isinstance(block, Picture)]

    def markdown(self) -> str:
        """Return the document as Markdown; pictures are linked by their path."""
        return self._render("report.md.jinja", _escape_markdown)

    def html(self) -> str:
        """Return the document as one HTML page that needs no other file."""
        return self._render("report.html.jinja", None)

    def _render(self, name: str, escape: Callable[[Any], Any] | None) -> str:
        environment = Environment(
            loader=FileSystemLoader(resource("reports")),
            autoescape=True,
            finalize=escape,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.tests |= {
            "table": lambda block: isinstance(block, Table),
            "picture": lambda block: isinstance(block, Picture),
            "row": lambda block: isinstance(block, Row),
            "note": lambda block: isinstance(block, Note),
        }
        return environment.get_template(name).render(document=self)

    def write(self, folder: Path) -> None:
        """Write report.md, report.html and the pictures."""
        for picture in self.pictures:
            with atomic_path(folder / picture.path) as temporary:
                temporary.write_bytes(picture.png)
        write_text(folder / "report.md", self.markdown())
        write_text(folder / "report.html", self.html())


def _escape_markdown(value: Any) -> Any:
    """Return a value that a template writes with Markdown's own characters escaped, on one line."""
    if hasattr(value, "__html__"):
        return value  # what the template itself wrote
    text = re.sub(r"[\\|*_<>`\[\]&~]", r"\\\g<0>", " ".join(str(value).split()))
    return Markup(text)  # noqa: S704 - escaped for Markdown here, instead of for HTML
