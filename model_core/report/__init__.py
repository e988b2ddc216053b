"""Reports as plain blocks, and what makes Markdown, one HTML page and PDF of them."""

from model_core.report.document import Block, Cell, Document, Note, Picture, Row, Table, cell, table
from model_core.report.pdf import require_pdf, write_pdf

__all__ = [
    "Block",
    "Cell",
    "Document",
    "Note",
    "Picture",
    "Row",
    "Table",
    "cell",
    "require_pdf",
    "table",
    "write_pdf",
]
