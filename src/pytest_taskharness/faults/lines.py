"""The lines of the user's code: which there are, and a call before each of them runs."""

from __future__ import annotations

import dis
import inspect
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

from .monitoring import Monitoring
from .tracing import Tracing

__all__ = ["LineWatch", "body_code", "codes_of", "in_package", "lines_of", "package_root", "source_line", "with_lines"]

_ENGINE: Final = Monitoring() if sys.version_info >= (3, 12) else Tracing()

#: Code that is installed, and not the user's, also where it lies below the user's directory.
_INSTALLED = ("site-packages", "dist-packages")


class LineWatch:
    """While entered, the calling thread calls ``on_line(code, line)`` just before each line of the watched code runs.

    ``on_line`` may raise: the line does not run, and the body unwinds.  It is called again for each line that comes
    in unwinding (of a ``finally:`` or an ``except:``, the ``with`` that is left, callers whose code is watched), and
    may raise again, so that a dead body does nothing more.  Where it raises at a ``with`` that is being left, its
    ``__exit__`` is called all the same, and the body dies then.

    Before Python 3.12 that has a gap: in the function that was at the line, what follows an ``except:`` or a
    ``finally:`` runs up to the first call in it, because Python takes a trace function away that raises.  A tracer
    of somebody else's (a debugger, coverage) then sees nothing as long as the watch lasts, and is put back.

    Watches can be nested; each gets its lines, the outermost first.
    """

    def __init__(
        self, watched: Callable[[CodeType], bool] | frozenset[CodeType], on_line: Callable[[CodeType, int], object]
    ) -> None:  # fmt: skip
        """Watch these codes (see :func:`codes_of`), or all that a function answers True for, which costs more."""
        #: The codes that are watched, where they are known from the start.
        self.codes = watched if isinstance(watched, frozenset) else None
        self.on_line = on_line
        self._is_watched = _is_none if isinstance(watched, frozenset) else watched
        # By id: equal code of another file is other code, and the hash of a code is slow.
        self._known = {id(code): (code, True) for code in self.codes or ()}

    def wants(self, code: CodeType) -> bool:
        """Whether this code is watched; asked once for each."""
        known = self._known.get(id(code))
        if known is None:
            known = self._known[id(code)] = (code, bool(self._is_watched(code)))
        return known[1]

    def __enter__(self) -> LineWatch:
        """Watch the functions that are called from here on."""
        _ENGINE.begin(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Give the thread back as it was."""
        _ENGINE.end(self)


def _is_none(code: CodeType) -> bool:  # noqa: ARG001 - in the place of a user's function
    """Of the codes that are not known, none is watched."""
    return False


def body_code(function: Any) -> CodeType | None:
    """The code that the user has written for a task or a function, below all wrappers; None where there is none."""
    found = _innermost(function)
    return found.__code__ if isinstance(found, FunctionType) else found if isinstance(found, CodeType) else None


def _innermost(function: Any) -> Any:
    seen: set[int] = set()
    while id(function) not in seen:
        seen.add(id(function))
        function = _below(function)
    return function


def _below(function: Any) -> Any:
    """What a wrapper wraps, of one layer; the same where it wraps nothing."""
    if isinstance(function, partial):
        return function.func
    if inspect.ismethod(function):
        return function.__func__
    if isinstance(function, FunctionType):
        return getattr(function, "__wrapped__", function)
    if isinstance(function, type):
        return getattr(function, "run", function)
    # A Celery task: what autoretry_for has put aside, or what the worker calls; else an object that can be called.
    inner = (getattr(function, name, None) for name in ("_orig_run", "run", "__wrapped__"))
    own_call = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself is asked for
    return next(filter(callable, inner), own_call if isinstance(own_call, FunctionType) else function)


@lru_cache(maxsize=256)
def with_lines(code: CodeType) -> frozenset[int]:
    """The lines of ``with``: where a body that unwinds calls ``__exit__``."""
    offsets = [each.offset for each in dis.get_instructions(code) if each.opname == "WITH_EXCEPT_START"]
    return frozenset(
        line
        for start, end, line in code.co_lines()
        if line is not None and any(start <= offset < end for offset in offsets)
    )


def codes_of(function: Any) -> frozenset[CodeType]:
    """The code of a task's body, and of what is defined inside it; empty where there is none."""
    code = body_code(function)
    return frozenset() if code is None else frozenset(_with_nested(code))


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)


def lines_of(function: Any) -> list[int]:
    """The numbers of the lines of a task's body that can run, those of nested functions included."""
    return sorted({line for code in codes_of(function) for line in _lines(code)})


def _lines(code: CodeType) -> set[int]:
    names = [(at.offset, at.opname) for at in dis.get_instructions(code)]
    resumed = next((index for index, (_, name) in enumerate(names) if name == "RESUME"), -1)
    prologue = {offset for index, (offset, name) in enumerate(names) if index <= resumed or name == "GEN_START"}
    spans = ((line, set(range(start, end, 2))) for start, end, line in code.co_lines() if line)
    return {line for line, offsets in spans if not offsets <= prologue}


def source_line(code: CodeType, line: int) -> str:
    """The text of a line, without its indentation; empty where there is no source."""
    return linecache.getline(code.co_filename, line).strip()


def package_root(code: CodeType) -> str:
    """The directory of the outermost package that holds this code; of a plain module, the one that it is in."""
    directory = Path(code.co_filename).absolute().parent
    while (directory / "__init__.py").exists() and (directory.parent / "__init__.py").exists():
        directory = directory.parent
    return str(directory)


def in_package(code: CodeType, root: str) -> bool:
    """Whether this code is of the user's package, whose directory is ``root``."""
    path = os.path.abspath(code.co_filename)  # noqa: PTH100 - asked for each function that is called
    below = path.removeprefix(root + os.sep)
    return below != path and not any(name in below for name in _INSTALLED)
