"""The way out of a ``with``, for a body that dies there.

Where its block has come to its end, Python has left it by then, so that an exception at this line would never reach
``__exit__``: a transaction would stay open, and a lock locked, as if nobody had died.  Whoever watches the lines raises
at the call of ``__exit__`` instead.

Where an error leaves the block, Python is about to call ``__exit__`` with it.  An exception at this line would come
before, and Python would take that error for the one that is being handled ever after, as it would at a ``continue`` or
a ``return`` by which an ``except:`` ends.  Whoever watches the lines lets ``__exit__`` be called, or the ``except:``
end, and raises then.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import takewhile
from types import CodeType, FrameType
from typing import Any

__all__ = ["codes_below", "has_to_wait", "is_over", "is_way_out", "leave", "manager_of"]

#: What may stand before the arguments of ``__exit__``: it makes room below what the body returns.
_AHEAD = ("NOP", "SWAP", "ROT_TWO", "EXTENDED_ARG")
_CALLS = ("PRECALL", "CALL", "CALL_FUNCTION", "KW_NAMES")
#: What calls ``__exit__`` with the error that leaves the block, and awaits it; then what puts Python's own state in
#: order where ``__exit__`` raises.  An exception amid that would leave the state as it is.
_ERROR_LEAVES = (
    *("PUSH_EXC_INFO", "WITH_EXCEPT_START", "GET_AWAITABLE", "LOAD_CONST", "SEND", "YIELD_FROM", "YIELD_VALUE"),
    *("RESUME", "JUMP_BACKWARD_NO_INTERRUPT", "CLEANUP_THROW", "END_SEND", "EXTENDED_ARG"),
    *("COPY", "POP_EXCEPT"),
)


def is_way_out(code: CodeType, offset: int) -> bool:
    """Whether a line begins at this instruction only to call ``__exit__(None, None, None)``."""
    return offset in _ways_out(code)


@lru_cache(maxsize=256)
def _ways_out(code: CodeType) -> frozenset[int]:
    if not any(each.opname == "WITH_EXCEPT_START" for each in dis.get_instructions(code)):
        return frozenset()
    return frozenset(_found(list(dis.get_instructions(code))))


def _found(instructions: list[dis.Instruction]) -> Iterator[int]:
    for index, first in enumerate(instructions):
        if _calls_exit(instructions[index : index + 4]):
            yield first.offset
            ahead = takewhile(lambda each: each.opname in _AHEAD, reversed(instructions[:index]))
            yield from (each.offset for each in ahead)


def _calls_exit(four: list[dis.Instruction]) -> bool:
    *arguments, call = four
    return call.opname in _CALLS and all(
        each.opname == "DUP_TOP" or (each.opname.startswith("LOAD_CONST") and each.argval is None) for each in arguments
    )


def has_to_wait(code: CodeType, offset: int) -> bool:
    """Whether a line begins at this instruction to call ``__exit__`` with an error, or to end an ``except:``."""
    names = _names(code)
    if names.get(offset) == "PUSH_EXC_INFO":  # since Python 3.11
        offset += 2
    return names.get(offset) in {"WITH_EXCEPT_START", "POP_EXCEPT"}


def is_over(code: CodeType, offset: int, error: BaseException) -> bool:
    """Whether all is done before this instruction that had to be; a body that is dead already calls no ``__exit__``."""
    name = _names(code).get(offset)
    if name == "WITH_EXCEPT_START":
        return isinstance(sys.exc_info()[1], type(error))
    return name not in _ERROR_LEAVES


@lru_cache(maxsize=256)
def _names(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in dis.get_instructions(code)}


def manager_of(frame: FrameType) -> Any:
    """Whose ``__exit__`` has just begun; None where that cannot be seen."""
    code = frame.f_code
    if code.co_argcount:
        return frame.f_locals.get(code.co_varnames[0])
    return next(iter(frame.f_locals.get(code.co_varnames[0], ())), None) if code.co_varnames else None


def leave(manager: Any, error: BaseException) -> None:
    """Tell a context manager that its block ends by this error; what it raises itself, nobody lives to see."""
    with suppress(BaseException):  # the error itself, as a rule
        type(manager).__exit__(manager, type(error), error, error.__traceback__)


def codes_below(manager: Any) -> list[CodeType]:
    """The code that runs when a context manager is left: that of its class, and of its generator."""
    exit_code = getattr(getattr(type(manager), "__exit__", None), "__code__", None)
    generator_code = getattr(getattr(manager, "gen", None), "gi_code", None)
    return [code for code in (exit_code, generator_code) if code is not None]
