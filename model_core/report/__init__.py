"""Reports as plain blocks, and what makes Markdown, one HTML page and PDF of them."""

from model_core.report.document import Block, Cell, Document, Note, Picture, Row, Table, cell, table
from model_core.report.pdf import write_pdf

__all__ = ["Block", "Cell", "Document", "Note", "Picture", "Row", "Table", "cell", "table", "write_pdf"]
