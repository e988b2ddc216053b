"""The remembered arrangement of the window as one block of bytes: docks, splitter, plot, notes."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QByteArray, QDataStream, QIODevice

_MAGIC = 0x43544D31
_STREAM = QDataStream.Version.Qt_6_0


@dataclass(frozen=True)
class Arrangement:
    """How the user has set up the window.

    Attributes
    ----------
    docks:
        Of `QMainWindow.saveState`.
    share:
        The table's share of the height that it has together with the plots.
    plot:
        Index of the plot in front.
    notes:
        Whether the notes on reading are open.
    """

    docks: QByteArray
    share: float = 0.5
    plot: int = 0
    notes: bool = False


def to_bytes(arrangement: Arrangement) -> QByteArray:
    """Return an arrangement as bytes."""
    result = QByteArray()
    stream = QDataStream(result, QIODevice.OpenModeFlag.WriteOnly)
    stream.setVersion(_STREAM)
    stream.writeUInt32(_MAGIC)
    stream << arrangement.docks
    stream.writeDouble(arrangement.share)
    stream.writeInt32(arrangement.plot)
    stream.writeBool(arrangement.notes)
    return result


def from_bytes(data: QByteArray) -> Arrangement:
    """Return what `to_bytes` was given; bytes of anything else count as those of the docks alone."""
    stream = QDataStream(data)
    stream.setVersion(_STREAM)
    if stream.readUInt32() != _MAGIC:
        return Arrangement(data)
    docks = QByteArray()
    stream >> docks
    share = stream.readDouble()
    plot, notes = stream.readInt32(), stream.readBool()
    if stream.status() != QDataStream.Status.Ok:
        return Arrangement(QByteArray())
    return Arrangement(docks, share, plot, notes)
