"""A dialog with formatted text to read and copy."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

_STYLE = (
    "h2 { color: #ffffff; font-size: 17px; margin-top: 14px; } h3 { color: #9fb0c2; margin-top: 12px; }"
    "h4 { color: #9fb0c2; margin-top: 10px; margin-bottom: 2px; }"
    "th { padding: 2px 10px 2px 0; color: #9fb0c2; }"
    "table { margin-top: 5px; margin-bottom: 5px; }"
    "td { padding: 2px 16px 2px 0; } td.key { color: #9fc9ef; } .muted { color: #9fb0c2; }"
    "td.whole { white-space: nowrap; padding-right: 10px; } td.name { color: #9fb0c2; }"
)


class TextDialog(QDialog):
    """Shows HTML made by this program (never text from files unescaped)."""

    def __init__(self, title: str, html: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.browser = QTextBrowser()
        self.browser.document().setDefaultStyleSheet(_STYLE)
        self.browser.setOpenExternalLinks(True)
        self.browser.setHtml(html)
        self.browser.setAccessibleName(title)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 14, 14, 12)
        layout.setSpacing(10)
        layout.addWidget(self.browser)
        layout.addWidget(buttons)
        self.resize(900, 680)
