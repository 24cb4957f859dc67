"""Faults that nobody has chosen, drawn by a seed: FoundationDB calls it buggify."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ..errors import ConfigurationError
from .windows import CrashWindow

__all__ = ["Luck"]

#: Where a worker may die by bad luck: windows that every delivery comes to.
_WINDOWS = ("received", "started", "after_body", "before_ack", "after_ack")
#: The longest delay, in seconds.
_LONGEST = 60.0


@dataclass
class Luck:
    """What may happen to any task, and how probable it is.

    Attributes:
        seed: Two worlds with one seed have the same luck.
        duplicate: That a message that is published is there twice.
        crash: That the worker dies, at some window of a delivery.
        delay: That a body takes up to a minute longer.
    """

    seed: int
    duplicate: float = 0.0
    crash: float = 0.0
    delay: float = 0.0
    _doomed: dict[str, CrashWindow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name in ("duplicate", "crash", "delay"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ConfigurationError(
                    f"buggify({name}=…) takes a probability, 0 or more and less than 1 (with 1 nothing would end); "
                    f"given: {value!r}"
                )
        self._random = random.Random(f"{self.seed}/buggify")  # of a text: not its hash(), which differs

    def duplicates(self) -> bool:
        """Whether this message is there twice."""
        return self._random.random() < self.duplicate

    def delays(self) -> float:
        """How many seconds longer this body takes."""
        return round(self._random.uniform(0, _LONGEST), 3) if self._random.random() < self.delay else 0.0

    def crashes(self, task_id: str, window: str) -> CrashWindow | None:
        """What dies here; drawn anew for each delivery."""
        if window == "received":
            self._doomed.pop(task_id, None)
            if self._random.random() < self.crash:
                self._doomed[task_id] = CrashWindow(self._random.choice(_WINDOWS))
        doomed = self._doomed.get(task_id)
        return self._doomed.pop(task_id) if doomed is not None and doomed.name == window else None
