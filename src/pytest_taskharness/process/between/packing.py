"""Values on their way from a worker to the test: pickled, and what cannot be pickled as faithful a stand-in as can be.

Exceptions travel as their class and their state, never through their ``__init__``: many cannot be made again from
``args``, and pickle finds that out on the other side only.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...timeline.archive import Recorded

__all__ = ["pack", "unpack"]

#: The program that the test process was started as has another name in a worker, as in multiprocessing.
MAIN, MAIN_IN_WORKER = "__main__", "__mp_main__"


def pack(record: dict[str, Any]) -> bytes:
    """Pickle a record whose values may be anything."""
    try:
        data = _dumped(record)
        _loaded(data)  # some objects find out only then
    except Exception:  # noqa: BLE001 - objects raise what they like when they are pickled
        return _dumped(_Cleaner().cleaned(record))
    return data


def unpack(data: bytes) -> dict[str, Any]:
    """What :func:`pack` was given, or stand-ins for what is not known here."""
    record: dict[str, Any] = _Reader(io.BytesIO(data)).load()
    return record


class _Pickler(pickle.Pickler):
    """Takes exceptions apart itself."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, pickle.HIGHEST_PROTOCOL)
        self._open: set[int] = set()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, _Apart):
            return _made_again, value.parts
        if not isinstance(value, BaseException):
            return NotImplemented
        if id(value) in self._open:
            raise pickle.PicklingError("an exception that holds itself")
        self._open.add(id(value))
        return _made_again, _parts(value, lambda part: part)


def _dumped(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def _loaded(data: bytes) -> Any:
    return _Unpickler(io.BytesIO(data)).load()


class _Cleaner:
    """Makes a copy in which each innermost part that cannot be pickled is its repr; each object is looked at once."""

    def __init__(self) -> None:
        #: By the id of the original; what is being looked at holds the place of itself.
        self._done: dict[int, Any] = {}

    def cleaned(self, value: Any) -> Any:
        """The copy."""
        if not isinstance(value, BaseException) and type(value) not in {dict, list, tuple}:
            return value if _can_be_pickled(value) else Recorded(_repr(value))
        if id(value) not in self._done:
            self._done[id(value)] = Recorded("...")
            self._done[id(value)] = self._cleaned_inside(value)
        return self._done[id(value)]

    def _cleaned_inside(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.cleaned(key): self.cleaned(item) for key, item in value.items()}
        if isinstance(value, BaseException):
            return _Apart(_parts(value, self.cleaned))
        return type(value)(map(self.cleaned, value))


def _can_be_pickled(value: Any) -> bool:
    try:
        _loaded(_dumped(value))
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - the user's own repr
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


# -- exceptions


class _Apart:
    """An exception that was taken apart."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts


def _parts(error: BaseException, convert: Callable[[Any], Any]) -> tuple[Any, ...]:
    classes = [(each.__module__, each.__qualname__) for each in type(error).__mro__ if issubclass(each, BaseException)]
    state = {name: convert(value) for name, value in vars(error).items()}
    cause = None if error.__cause__ is None else convert(error.__cause__)
    return classes, tuple(map(convert, error.args)), state, _told(str, error), _repr(error), cause


def _told(tell: Callable[[Any], str], error: BaseException) -> str:
    try:
        return tell(error)
    except Exception:  # noqa: BLE001 - the user's own
        return _repr(error)


def _made_again(
    classes: list[tuple[str, str]], args: tuple[Any, ...], state: dict[str, Any], text: str, shown: str,
    cause: BaseException | None,
) -> BaseException:  # fmt: skip
    """An exception of the same class; of a class of the same name and bases where it cannot be had here."""
    found = [cls for cls in (_class(*each) for each in classes) if cls is not None]
    module, name = classes[0]
    cls = found[0]
    if (cls.__module__, cls.__qualname__) != (_here(module), name):
        body = {"__module__": _here(module), "__qualname__": name}
        cls = type(
            name.rpartition(".")[2], (cls,), {**body, "__str__": lambda self: text, "__repr__": lambda self: shown}
        )
    error: BaseException = cls.__new__(cls, *args)
    builtin: Any = next(each for each in cls.__mro__ if each.__module__ == "builtins")
    with suppress(Exception):  # what Python's own classes keep beside their arguments: a UnicodeError is its text
        builtin.__init__(error, *args)
    error.args = args
    vars(error).update(state)
    error.__cause__ = cause if isinstance(cause, BaseException) else None
    return error


def _class(module: str, name: str) -> type[BaseException] | None:
    with suppress(Exception):
        cls = _Unpickler(io.BytesIO()).find_class(module, name)
        if isinstance(cls, type) and issubclass(cls, BaseException):
            return cls
    return None


def _here(module: str) -> str:
    return MAIN if module == MAIN_IN_WORKER else module


class _Unpickler(pickle.Unpickler):  # the file is ours, in a directory that nobody else may enter
    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except ImportError:
            return super().find_class(_here(module), name)


class _Reader(_Unpickler):
    """In the test process, where a class of the worker's may not be known."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (_Absent,), {"text": f"<{module}.{name} object>"})


class _Absent(Recorded):
    """An object whose class cannot be had here."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """However it is made: nothing is known but its class."""

    def __setstate__(self, state: object) -> None:
        """Nor what it holds."""
