"""The log file: what went wrong, without patient text and paths (see the message controller)."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_NAME = "ctmasknet-gui.log"
MAX_BYTES = 1_000_000
ROOMS = ("ctmasknet_gui", "model_core")

_log = logging.getLogger(__name__)


def log_to_file(folder: Path) -> logging.Handler | None:
    """Send this program's log records of level INFO and above to a file; None where it cannot be written.

    Only the program's own loggers are kept: libraries log paths and values of the files they read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            folder / LOG_NAME, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8", delay=False
        )
    except OSError:
        _log.warning("The log file cannot be written.")
        return None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for room in ROOMS:
        logger = logging.getLogger(room)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    return handler


def stop_logging(handler: logging.Handler | None) -> None:
    """Detach and close what `log_to_file` returned."""
    if handler is None:
        return
    for room in ROOMS:
        logging.getLogger(room).removeHandler(handler)
    handler.close()
