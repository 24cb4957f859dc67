"""What the command line has said to all explorations of a session.  Imports nothing: the plugin loads it each time."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Chosen", "chosen"]


class Chosen:
    """One for the process.

    Attributes:
        plan: The only plan to run, or None: all that a test asks for.
        tell: Shows a line to whoever waits; None where nobody does.
    """

    def __init__(self) -> None:
        """Nothing was said."""
        self.plan: str | None = None
        self.tell: Callable[[str], object] | None = None

    def forget(self) -> None:
        """The session is over."""
        self.plan = self.tell = None


chosen = Chosen()
