"""Harnesses inside one another: what the outer one has replaced, the inner one has found, and puts back when it ends.

So only the innermost can be taken off.  An outer one that is closed first, as by a ``tearDown`` that stops its workers
in the order of their start, is taken off with the one inside it: until then its app publishes to a broker of ours that
has ended, and never to its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["is_on", "lay", "taken_off"]


class _Layer:
    """What one harness puts back."""

    def __init__(self, harness: Any, stack: ExitStack) -> None:
        """It is in force."""
        self.harness = harness
        self.stack = stack
        self.is_over = False


#: Outermost first.
_layers: list[_Layer] = []


def lay(harness: Any, stack: ExitStack) -> None:
    """A harness is open: closing the stack puts back what it has replaced."""
    _layers.append(_Layer(harness, stack))


def is_on(harness: Any) -> bool:
    """Whether something is still replaced, be the harness closed or not."""
    return any(layer.harness is harness for layer in _layers)


@contextmanager
def taken_off(harness: Any) -> Iterator[None]:
    """On the way out, put back what this harness has replaced, as soon as nothing lies over it."""
    mine = next(layer for layer in _layers if layer.harness is harness)
    try:
        yield
    finally:
        mine.is_over = True
        with ExitStack() as over:
            if _layers[-1] is not mine:
                harness._world.end()  # noqa: SLF001 - one of our own
            for layer in _uncovered():
                over.callback(layer.stack.close)


def _uncovered() -> list[_Layer]:
    """Those that are over, and under no other one; outermost first."""
    last = next((number for number in reversed(range(len(_layers))) if not _layers[number].is_over), -1)
    found = _layers[last + 1 :]
    del _layers[last + 1 :]
    return found
