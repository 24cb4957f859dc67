"""What users hold as ``harness.faults``."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from sys import _getframe
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, FaultNeverStruck, FidelityError, hide_frames
from ..faults import CrashWindow, Fault, Luck, Script, check_line
from ..wording import did_you_mean

if TYPE_CHECKING:
    from .harness import Harness

__all__ = ["Faults", "check_struck"]

__tracebackhide__ = hide_frames


class Faults:
    """What is to go wrong: errors, deaths, delays and losses, each at an instant that the test chooses.

    Each verb takes the task, or its registered name, and returns a :class:`Fault`: ``fault.struck`` says how often it
    has struck, ``fault.cancel()`` ends it.  A fault that strikes is an event of kind ``fault`` on the timeline; a test
    in which one never strikes has a mistake, and fails.
    """

    def __init__(self, harness: Harness, script: Script, *, check_forks: Callable[[], object]) -> None:
        """Use ``harness.faults``."""
        self._harness = harness
        self._script = script
        self._check_forks = check_forks

    def fail(self, task: Any, exc: object, times: int | None = None) -> Fault:
        """Raise ``exc`` in the place of the body.

        Args:
            task: The task, or its name.
            exc: The exception, or its class.
            times: For how many runs; each one if not given.

        Raises:
            ConfigurationError: ``exc`` is no exception, or the fault contradicts another one.
        """
        error = _made(exc)
        if not isinstance(error, Exception):
            raise ConfigurationError(f"fail() takes an exception, such as ConnectionError('refused'); given: {exc!r}")
        return self._add("fail", task, error, times=times)

    def crash(
        self, task: Any, at: CrashWindow | str, times: int | None = 1, *, death: str = "node", forked: bool = False
    ) -> Fault:  # fmt: skip
        """Let the worker die, by what would be a SIGKILL, when a run of ``task`` comes to a window.

        With ``death="node"`` the whole worker dies: its connection is lost, the broker redelivers what was not
        acknowledged, and a new worker of the same name starts at once, as a supervisor would start it.  With
        ``death="child"`` the pool process dies, and its main process reports ``WorkerLostError``
        (https://docs.celeryq.dev/en/stable/userguide/tasks.html#Task.reject_on_worker_lost).

        Args:
            task: The task, or its name.
            at: ``"before_ack"``, ``"in_body:24"`` (before line 24 of the task's file), ``"child@started"``, or a
                :class:`CrashWindow`, as :func:`crash_windows` gives them.
            times: How many runs die; each one if None.
            death: What dies, where ``at`` does not say.
            forked: Whether the body runs in a forked child, which ends in ``os._exit`` at the window: nothing unwinds,
                no ``finally:`` runs, and no lock is released.  For state outside of the process; what the body changes
                in memory is lost with the child.  In ``memory`` and ``redis``.

        Raises:
            ConfigurationError: There is no such window, the body has no such line, or nothing of the kind can die
                there.
            FidelityError: The mode has no worker that could die so.
        """
        window = at if isinstance(at, CrashWindow) else CrashWindow.parse(at, death=death)
        self._check_worker("crash")
        if forked:
            self._check_forks()
        name = self._name(task)
        unheard = (window.name, window.death) == ("before_ack", "child")
        if unheard and not self._harness.app.tasks[name].acks_late:
            raise ConfigurationError(
                f"{name} acknowledges early, before its body runs, and it is the main process that does so: its pool "
                "process cannot die at 'before_ack'. Use 'node@before_ack', 'child@started', or acks_late=True."
            )
        if isinstance(at, str):
            check_line(self._harness.app.tasks[name], window)
        fault = self._add("crash", name, window, times=times, must_strike=isinstance(at, str))
        fault.forked = forked
        return fault

    def slow(self, task: Any, seconds: Any, times: int | None = None) -> Fault:
        """Let the body take so many more virtual seconds; time limits and visibility timeouts see it.

        Args:
            task: The task, or its name.
            seconds: How many.
            times: For how many runs; each one if not given.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < inf:
            raise ConfigurationError(f"slow() takes seconds, more than 0; given: {seconds!r}")
        return self._add("slow", task, seconds, times=times)

    def lose_result(self, task: Any, times: int | None = 1) -> Fault:
        """Let the task run, and its result never reach the backend.

        Args:
            task: The task, or its name.
            times: For how many runs; each one if None.
        """
        return self._add("lose_result", task, None, times=times)

    def publish_unknown(self, task: Any, times: int | None = 1) -> Fault:
        """Raise ``OperationalError`` where the task is published, although the broker has got the message.

        ``harness.tally.unknown`` has the run.

        Args:
            task: The task, or its name.
            times: For how many publishes; each one if None.
        """
        self._check_worker("publish_unknown")
        return self._add("publish_unknown", task, None, times=times)

    def buggify(self, *, duplicate: float = 0.0, crash: float = 0.0, delay: float = 0.0) -> None:
        """From now on let anything go wrong by chance; which, follows from the seed of the harness.

        Args:
            duplicate: How probable it is that a message is there twice.
            crash: How probable it is that a worker dies over a delivery, at a window of its choice.
            delay: How probable it is that a body takes longer, by up to a minute.

        Raises:
            ConfigurationError: A probability is not at least 0 and below 1.
            FidelityError: The mode has no worker that could die.
        """
        self._check_mode()
        self._check_worker("buggify")
        self._script.trust_to(Luck(self._harness.seed, duplicate, crash, delay))

    def __repr__(self) -> str:
        """As ``<Faults: crash('shop.charge', at='node@before_ack')>``."""
        return f"<Faults: {', '.join(map(str, self._script.faults)) or 'none'}>"

    # -- adding

    def _add(self, kind: str, task: Any, what: Any, *, times: int | None, must_strike: bool = True) -> Fault:
        name = self._name(task)
        return self._script.add(Fault(kind, name, what, times, must_strike, origin=_origin()))

    def _name(self, task: Any) -> str:
        self._check_mode()
        name = task if isinstance(task, str) else getattr(task, "name", None)
        known = self._harness.app.tasks
        if not isinstance(name, str) or name not in known:
            meant = did_you_mean(name, known)
            raise ConfigurationError(f"harness.faults takes a task of {self._harness.app!r}; given: {task!r}.{meant}")
        return name

    def _check_mode(self) -> None:
        self._harness._open()  # noqa: SLF001 - one of our own
        if self._harness.mode.endswith("+process"):
            raise FidelityError(
                f"harness.faults works where the worker is stepped; in mode {self._harness.mode!r} it is a process of "
                "its own, which harness.worker().kill() ends by a real SIGKILL. Run this test with mode='memory', "
                "'fakeredis' or 'redis'."
            )

    def _check_worker(self, verb: str) -> None:
        if self._harness.mode == "eager":
            raise FidelityError(
                f"faults.{verb}() needs a broker and a worker; eager mode has neither. Run this test with "
                "mode='memory'."
            )


def _made(exc: object) -> object:
    """An exception of a class that needs no arguments; else what was given."""
    try:
        return exc() if isinstance(exc, type) and issubclass(exc, Exception) else exc
    except TypeError as error:
        raise ConfigurationError(
            f"fail() cannot make a {exc.__name__} by itself ({error}). To fix this, give it one: "  # type: ignore[attr-defined]
            f"{exc.__name__}(…)."  # type: ignore[attr-defined]
        ) from error


def _origin() -> str:
    """The line of the test: the innermost one outside of this file."""
    frame = _getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def check_struck(script: Script) -> None:
    """Complain of faults that the test has asked for in vain.

    Raises:
        FaultNeverStruck: The text lists them.
    """
    amiss = script.never_struck()
    if amiss:
        listed = "\n".join(f"  faults.{fault}  ({fault.origin})" for fault in amiss)
        raise FaultNeverStruck(
            f"expected {len(amiss)} fault{'s' * (len(amiss) != 1)} to strike; no run has come to what was asked for:\n"
            f"{listed}\n"
            "Let the task run as far as that before the test ends (harness.settle()), or cancel() what is not needed."
        )
