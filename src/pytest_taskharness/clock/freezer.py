"""Freezing the clocks of this process, with freezegun or time-machine, beside whatever the user's test does.

There is one source of truth: the innermost frozen clock of the process.  A test that is inside its own
``freeze_time`` or ``travel`` shares it with the harness, and a ``freeze_time`` that begins while a harness is open
takes over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from typing import Any

from ..errors import ConfigurationError
from .real import EPOCH, Real, plain

__all__ = ["Freezer", "default_library"]

FREEZEGUN, TIME_MACHINE = "freezegun", "time-machine"


def default_library() -> str:
    """The library that freezes where the test has not frozen yet: time-machine where it is installed."""
    return TIME_MACHINE if find_spec("time_machine") else FREEZEGUN


class Freezer:
    """A clock of this process that stands still until it is moved.

    Entering an already frozen process shares its clock; a ticking one, or an explicit ``start``, gets a layer of our
    own on top, with the library that is already active.
    """

    def __init__(self, start: datetime | None = None, *, library: str | None = None) -> None:
        """Freeze at ``start``, or at the process's own now."""
        _check_library(library)
        active = _active_library()
        self.library = active or library or default_library()
        self.shared = active is not None and start is None and not _is_ticking(active)
        self._stop: Callable[[], object] | None = None
        if not self.shared:
            self._stop = _START[self.library](plain(start) if start else self.now())

    def now(self) -> datetime:
        """The process's current time (aware, UTC), to the microsecond."""
        api = sys.modules.get("freezegun.api")
        if api is not None and api.freeze_factories:
            return plain(api.freeze_factories[-1]())
        return Real.datetime.now(timezone.utc)

    def shift(self, delta: timedelta) -> None:
        """Move the innermost frozen clock."""
        factories = _freezegun_stack()
        travellers = _time_machine_stack()
        if factories:
            factories[-1].tick(delta)
        elif travellers:
            travellers[-1].shift(delta)

    def close(self) -> None:
        """Take our own layer off, if we put one on."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()


def _check_library(library: str | None) -> None:
    if library not in {None, FREEZEGUN, TIME_MACHINE}:
        raise ConfigurationError(f"clock= takes {FREEZEGUN!r} or {TIME_MACHINE!r}; given: {library!r}")
    if library == TIME_MACHINE and not find_spec("time_machine"):
        raise ConfigurationError(
            f"clock={TIME_MACHINE!r} needs the extra of that name: pip install 'pytest-taskharness[time-machine]'."
        )


def _freezegun_stack() -> list[Any]:
    api = sys.modules.get("freezegun.api")
    return [] if api is None else list(api.freeze_factories)


def _time_machine_stack() -> list[Any]:
    module = sys.modules.get("time_machine")
    if module is None:
        return []
    # Called coordinates_stack before time-machine 3.
    return list(getattr(module, "traveller_stack", None) or getattr(module, "coordinates_stack", None) or ())


def _active_library() -> str | None:
    if _freezegun_stack():
        return FREEZEGUN
    return TIME_MACHINE if _time_machine_stack() else None


def _is_ticking(library: str) -> bool:
    if library == FREEZEGUN:
        return not hasattr(_freezegun_stack()[-1], "move_to") or _freezegun_ticks()
    first = Real.datetime.now(timezone.utc)
    started = Real.monotonic()
    while Real.monotonic() - started < 0.000_01:
        pass
    return Real.datetime.now(timezone.utc) != first


def _freezegun_ticks() -> bool:
    from freezegun import api

    return bool(api.tick_flags[-1])


def _start_freezegun(at: datetime) -> Callable[[], object]:
    from freezegun import freeze_time

    # freezegun answers naive "local" questions with UTC plus this offset: keep the machine's own.
    offset = at.astimezone().utcoffset()
    # pytest measures how long a test takes by the clocks of this module.
    freeze = freeze_time(at, tz_offset=offset or timedelta(0), ignore=["_pytest.timing"])
    freeze.start()
    return freeze.stop


def _start_time_machine(at: datetime) -> Callable[[], object]:
    import time_machine

    # A datetime in UTC would set the TZ of the process, and a float is not exact: whole seconds, then the rest.
    since_epoch = at - EPOCH
    travel = time_machine.travel(since_epoch // timedelta(seconds=1), tick=False)
    traveller = travel.start()
    traveller.shift(since_epoch % timedelta(seconds=1))
    return travel.stop


_START = {FREEZEGUN: _start_freezegun, TIME_MACHINE: _start_time_machine}
