"""Metrics of detection, segmentation and image class, and the reports made of them."""
