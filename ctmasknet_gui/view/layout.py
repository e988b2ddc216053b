"""The remembered arrangement of the window as one block of bytes: docks, splitter, plot, notes."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QByteArray, QDataStream, QIODevice

# The first form did not know of panels that give way to the picture, the second of sliders that fold.
_MAGIC, _SECOND_MAGIC, _FIRST_MAGIC = 0x43544D33, 0x43544D32, 0x43544D31
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
    collapsed:
        Whether the list of series only gave way to the picture in a narrow window.
    pinned:
        Whether it was opened in a narrow window, where it stays.
    folded:
        Whether the sliders of the shown detections are folded; None: as there is room.
    """

    docks: QByteArray
    share: float = 0.5
    plot: int = 0
    notes: bool = False
    collapsed: bool = False
    pinned: bool = False
    folded: bool | None = None


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
    stream.writeBool(arrangement.collapsed)
    stream.writeBool(arrangement.pinned)
    stream.writeInt32(-1 if arrangement.folded is None else int(arrangement.folded))
    return result


def from_bytes(data: QByteArray) -> Arrangement:
    """Return what `to_bytes` was given; bytes of anything else count as those of the docks alone."""
    stream = QDataStream(data)
    stream.setVersion(_STREAM)
    magic = stream.readUInt32()
    if magic not in (_MAGIC, _SECOND_MAGIC, _FIRST_MAGIC):
        return Arrangement(data)
    docks = QByteArray()
    stream >> docks
    share = stream.readDouble()
    plot, notes = stream.readInt32(), stream.readBool()
    later = magic != _FIRST_MAGIC
    collapsed, pinned = (stream.readBool(), stream.readBool()) if later else (False, False)
    folded = stream.readInt32() if magic == _MAGIC else -1
    if stream.status() != QDataStream.Status.Ok:
        return Arrangement(QByteArray())
    return Arrangement(docks, share, plot, notes, collapsed, pinned, {0: False, 1: True}.get(folded))
