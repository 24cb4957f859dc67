"""The real clock, which nothing can freeze, and the real ``datetime`` class.

freezegun replaces attributes of the ``time`` and ``datetime`` modules, and of every module that imported from
them.  A second instance of the built-in ``time`` module is in nobody's ``sys.modules``, so its functions stay what
they are, also when this module is imported while time is already frozen.
"""

from __future__ import annotations

import datetime as _datetime_module
import importlib.util
from importlib.machinery import BuiltinImporter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import time as _time
    from datetime import datetime

__all__ = ["EPOCH", "Real", "plain"]


def _second_time_module() -> _time:  # type: ignore[valid-type]
    spec = BuiltinImporter.find_spec("time")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Real:
    """The real things, kept as class attributes, where a freezer does not look."""

    _time = _second_time_module()
    monotonic = staticmethod(_time.monotonic)  # type: ignore[attr-defined]
    perf_counter = staticmethod(_time.perf_counter)  # type: ignore[attr-defined]
    time_ns = staticmethod(_time.time_ns)  # type: ignore[attr-defined]
    sleep = staticmethod(_time.sleep)  # type: ignore[attr-defined]
    #: freezegun's FakeDatetime is a subclass of the real class, so the real one is always in its MRO.
    datetime: type[datetime] = next(cls for cls in _datetime_module.datetime.__mro__ if cls.__name__ == "datetime")


EPOCH: Final = Real.datetime(1970, 1, 1, tzinfo=_datetime_module.timezone.utc)


def plain(moment: datetime) -> datetime:
    """The same instant as a real, aware ``datetime`` in UTC: never freezegun's subclass."""
    utc = _datetime_module.timezone.utc
    moment = moment.astimezone(utc) if moment.tzinfo is not None else moment.replace(tzinfo=utc)
    return Real.datetime(
        moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond, tzinfo=utc
    )
