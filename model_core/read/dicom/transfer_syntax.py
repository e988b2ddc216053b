"""Transfer syntaxes: how a DICOM file stores its pixels, and which can be decoded (PS3.5 10)."""

from __future__ import annotations

from pydicom.uid import UID

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_LE = "1.2.840.10008.1.2.1.98"  # uncompressed frames, cut like compressed ones
NATIVE_SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)

# What `decode` has a decoder for: JPEG, JPEG-LS, JPEG 2000 and its high-throughput kind, RLE, deflate.
_DECODABLE = frozenset(
    (
        *NATIVE_SYNTAXES,
        DEFLATED_LE,
        ENCAPSULATED_LE,
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.8.1",
        *(
            f"1.2.840.10008.1.2.4.{number}"
            for number in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 201, 202, 203)
        ),
    )
)

# Lossy by construction (PS3.5 10): the flag of the header is often missing.
LOSSY_SYNTAXES = frozenset(
    (
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.53",
        "1.2.840.10008.1.2.4.55",
        "1.2.840.10008.1.2.4.81",
    )
)

# May be with or without loss: near-lossless JPEG-LS and two kinds of JPEG 2000.
SELF_TELLING = ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")


def syntax_name(uid: str) -> str:
    """Return the name of a transfer syntax or SOP class for a message."""
    name = UID(uid).name
    return name if name != uid else f"unknown ({uid})"


def undecodable(uid: str) -> str:
    """Say why pixels of a transfer syntax cannot be decoded, "" where a decoder is known."""
    if uid in _DECODABLE:
        return ""
    name = syntax_name(uid)
    if "MPEG" in name or "HEVC" in name or "SMPTE" in name:
        return f"A video ({name}), which this program does not open. Export its frames as images."
    if "JPIP" in name:
        return f"The pixels are on a server, not in the file ({name}). Export the images with their pixels."
    return (
        f"The pixels are stored as {name}, for which there is no decoder here. "
        "Export the images again uncompressed or as JPEG 2000."
    )
