"""Where a function of the standard library is referred to, so that a stand-in can be put there and taken away."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["Places", "waits_for_something_real"]

#: Who waits for something real, beside the standard library: sockets, browsers, other test runners.
_REAL_WAITERS = frozenset({
    "selenium", "playwright", "psycopg", "psycopg2", "pymysql", "xdist", "execnet", "_pytest", "pytest", "pluggy",
    "py", "freezegun", "time_machine", "coverage", "debugpy", "pydevd",
}) | sys.stdlib_module_names  # fmt: skip


def waits_for_something_real(module_name: str) -> bool:
    """Whether code of this module must keep the real clock: child processes, threads, sockets, the test runner."""
    return module_name.partition(".")[0] in _REAL_WAITERS


class Places:
    """The names in all modules that refer to certain functions, ``from time import sleep`` included.

    Looking into every module is most of what opening a harness would cost: they are looked through again only when
    one was imported since, and a module only when it has changed in size.
    """

    def __init__(self, stand_ins: dict[Callable[..., Any], Callable[..., Any]]) -> None:
        """Know what stands in for what."""
        self._stand_ins = {id(real): stand_in for real, stand_in in stand_ins.items()}
        self._reals = {id(real): real for real in stand_ins}
        self._latest: tuple[int, str] | None = None
        self._read: dict[str, tuple[int, int]] = {}
        self._found: dict[tuple[str, str], tuple[dict[str, Any], Any]] = {}

    def fill(self) -> None:
        """Put the stand-ins in place."""
        latest = (len(sys.modules), next(reversed(sys.modules)))
        if latest != self._latest:
            self._latest = latest
            self._look_through_modules()
        for (_, name), (namespace, real) in self._found.items():
            if namespace.get(name) is real:
                namespace[name] = self._stand_ins[id(real)]

    def clear(self) -> None:
        """Put the real functions back, wherever the stand-in still is."""
        for (_, name), (namespace, real) in self._found.items():
            if namespace.get(name) is self._stand_ins[id(real)]:
                namespace[name] = real

    def _look_through_modules(self) -> None:
        for module_name, module in list(sys.modules.items()):
            # Some put other objects into sys.modules, and looking at those may import things.
            namespace = vars(module) if type(module) is ModuleType else {}
            if namespace and self._read.get(module_name) != (id(namespace), len(namespace)):
                self._read[module_name] = (id(namespace), len(namespace))
                self._look_into(module_name, namespace)

    def _look_into(self, module_name: str, namespace: dict[str, Any]) -> None:
        # The modules that define the functions are where `time.sleep()` finds them.
        defining = module_name in {"time", "asyncio", "asyncio.tasks"}
        if (waits_for_something_real(module_name) and not defining) or module_name.startswith(__package__):
            return
        for name, value in list(namespace.items()):
            real = self._reals.get(id(value)) or self._behind_a_fake(value)
            if real is not None:
                self._found[module_name, name] = (namespace, real)

    def _behind_a_fake(self, value: object) -> object | None:
        """What freezegun's ``fake_monotonic`` stands for: once time is thawed, the real function is in that place."""
        # Its fakes are functions; some other objects warn whoever asks them for anything.
        if type(value) is not FunctionType or value.__module__ != "freezegun.api":
            return None
        real = getattr(sys.modules.get("freezegun.api"), value.__name__.replace("fake_", "real_"), None)
        return self._reals.get(id(real))
