"""DICOM: headers, frames, series and pixels; everything that the standard has a word for."""
