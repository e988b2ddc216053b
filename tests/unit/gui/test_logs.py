"""The log file of the window."""

import logging

from ctmasknet_gui.app.logs import LOG_NAME, log_to_file, stop_logging


def test_own_records_are_kept_and_others_are_not(tmp_path):
    handler = log_to_file(tmp_path / "new")
    try:
        logging.getLogger("ctmasknet_gui.controller.jobs").info("ours")
        logging.getLogger("pydicom").warning("Doe^Jane")
    finally:
        stop_logging(handler)
    logging.getLogger("ctmasknet_gui").info("after the end")
    text = (tmp_path / "new" / LOG_NAME).read_text("utf-8")
    assert "ours" in text
    assert "Doe" not in text
    assert "after" not in text


def test_a_folder_that_cannot_be_made_costs_the_log_only(tmp_path):
    (tmp_path / "file").touch()
    handler = log_to_file(tmp_path / "file" / "folder")
    assert handler is None
    stop_logging(handler)
