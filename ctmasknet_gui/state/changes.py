"""Several writes to the state as one change, for those who look at all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakMethod


class Changes:
    """Lets a view look once at what changed together.

    A moved threshold writes to a dozen fields; what follows each of them would be drawn a dozen times.
    """

    def __init__(self) -> None:
        self._depth = 0
        # Kept in the order in which they were first called.
        self._waiting: dict[WeakMethod[Callable[[], None]], None] = {}

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make the writes inside one change: what `once` returned is called when the outermost ends."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                waiting, self._waiting = self._waiting, {}
                # An error of one keeps none of the others from looking.
                with ExitStack() as stack:
                    for reference in reversed(waiting):
                        stack.callback(_call, reference)

    def once(self, method: Callable[[], None]) -> Callable[[], None]:
        """Return what calls a bound method: at once, or once at the end of what changes together.

        It does not keep the method's object alive.
        """
        reference = WeakMethod(method)

        def changed() -> None:
            if not self._depth:
                _call(reference)
            elif reference() is not None:
                self._waiting[reference] = None

        return changed


def _call(reference: WeakMethod[Callable[[], None]]) -> None:
    method = reference()
    if method is not None:
        method()
