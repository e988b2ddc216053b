"""The lungs of the volumes that are open: found once, known to everything that asks later."""

from __future__ import annotations

from collections.abc import Generator
from weakref import WeakKeyDictionary

from model_core.anatomy.lungs import Lungs, find_lungs
from model_core.base.jobs import Progress
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.engine.preprocess import grey_range

# Written by whoever looks for them (in the window a worker), read by everybody.
_known: WeakKeyDictionary[Volume, Lungs] = WeakKeyDictionary()


def lungs_of(volume: Volume) -> Generator[Progress | Lungs, None, None]:
    """Find the lungs of a volume, or give what was found before; the last item is the `Lungs`.

    Greys of pictures count as what their series shows, whatever the weights take them for.
    """
    if volume not in _known:
        grey_hu = grey_range(volume, InputSpec(grey="estimate")) if volume.unit == "grey" else None
        for item in find_lungs(volume, grey_hu=grey_hu):
            if isinstance(item, Progress):
                yield item
            else:
                _known[volume] = item
    yield _known[volume]


def known_lungs(volume: Volume) -> Lungs | None:
    """Return the lungs of a volume where they were looked for already; looks for nothing."""
    return _known.get(volume)
