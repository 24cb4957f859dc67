"""Every error that this package raises on purpose.

All of them derive from :class:`TaskHarnessError`.  A message says what was expected, what was found instead and
how to mend it; none of them needs the documentation open beside it.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

__all__ = [
    "AmbiguousRun",
    "ConfigurationError",
    "Deadlock",
    "FaultNeverStruck",
    "FidelityError",
    "ForeignMessage",
    "HarnessClosed",
    "LeftoverWork",
    "LossyRoundTrip",
    "MomentMissed",
    "NoSuchEntry",
    "NoSuchMessage",
    "NoSuchRun",
    "NoVerdict",
    "PlansLeftOut",
    "RunBudgetExceeded",
    "ScheduleError",
    "ServerError",
    "TaskHarnessError",
    "TimeTravelError",
    "UnconsumedMessage",
    "UnserializableValue",
    "WorkerDied",
]


class _ExceptionInfo(Protocol):
    """What pytest hands to a ``__tracebackhide__`` function."""

    def errisinstance(self, types: tuple[type[BaseException], ...]) -> bool:
        """Whether the error is one of these."""


def hide_frames(excinfo: _ExceptionInfo) -> bool:
    """A module's ``__tracebackhide__``: where the text says it all, pytest points at the user's line, not at ours."""
    return excinfo.errisinstance((TaskHarnessError,))


class TaskHarnessError(Exception):
    """The base class of all errors of this package."""


class ConfigurationError(TaskHarnessError):
    """The harness cannot be set up as asked: an unknown mode, a missing app, an app path that does not import.

    Under pytest it is shown as a ``pytest.UsageError`` with the same text.
    """


class FidelityError(TaskHarnessError):
    """The chosen mode cannot represent what was asked; the message names a mode that can."""


class Deadlock(TaskHarnessError):
    """Something waits, and nothing can happen any more: no message can be delivered and no timer is set.

    The message lists who waits for what, where each unfinished task stands, and which queue has no consumer.
    """


class RunBudgetExceeded(TaskHarnessError):
    """More task runs, or more virtual time, than the budget allows: an endless retry, usually.

    The message prints the chain of the task that used the budget up.
    """


class AmbiguousRun(TaskHarnessError):
    """``run_of()`` found more than one run; the message lists them all."""


class NoSuchRun(TaskHarnessError, LookupError):
    """``run_of()`` found no run; the message lists what was published instead."""


class NoSuchEntry(TaskHarnessError, LookupError):
    """The beat schedule has no entry of this name; the text names the nearest."""


class NoSuchMessage(TaskHarnessError, LookupError):
    """A verb of ``harness.broker`` found no message where it looked; the text says where the message is instead."""


class ScheduleError(TaskHarnessError):
    """The beat schedule cannot work as it is written, or beat could not send an entry; the text says what is wrong.

    Celery's own beat finds out when an entry is due, writes that into its log, and goes on.
    """


class NoVerdict(TaskHarnessError):
    """Whether a task is idempotent, or how it is delivered, cannot be said: the question is at fault, not the task.

    The clean run fails already, say, or ``observe()`` does not return the same twice; the message says what to mend.
    """


class MomentMissed(TaskHarnessError):
    """``bring_to()``: the run never comes to that moment, or has been there before; the text says where it is."""


class TimeTravelError(TaskHarnessError, ValueError):
    """The virtual clock was asked to go backwards, or to somewhere that is not a time."""


class HarnessClosed(TaskHarnessError):
    """A verb was called on a harness that is already closed."""


class LeftoverWork(TaskHarnessError, AssertionError):
    """A test with ``strict_leftovers`` ended with messages, deliveries or timers still pending."""


class FaultNeverStruck(TaskHarnessError, AssertionError):
    """A fault that the test has scripted never struck, or ``hold_in()`` has held nothing.

    The test has not tested what it says.
    """


class ServerError(TaskHarnessError):
    """A real server, or the process of one, cannot be had: none found, not started, not reachable, died.

    The message says what was looked for and where, shows the end of the server's log, and names the ways out.
    """


class ForeignMessage(TaskHarnessError):
    """A queue delivered a message of another test: isolation is broken, and the session ends.

    Attributes:
        seen: The texts of all that were raised in this process, whoever has caught them.
    """

    seen: ClassVar[list[str]] = []

    def __init__(self, text: str) -> None:
        """Raise the alarm."""
        super().__init__(text)
        self.seen.append(text)


class WorkerDied(TaskHarnessError):
    """A worker ended although the test did not end it.

    Of a worker process the message shows the end of its log; of a stepped worker, which message it has stumbled over.
    """


class UnserializableValue(TaskHarnessError):
    """An argument or a result that the task's serializer cannot encode; the message has the path inside it.

    Where Celery would raise ``kombu.exceptions.EncodeError``, so is this one.
    """


class LossyRoundTrip(UserWarning):
    """A value that changed on its way through the serializer: a tuple that became a list, an int key a str."""


class PlansLeftOut(UserWarning):
    """``assert_idempotent()`` has found nothing and not tried every schedule: there are more than ``max_schedules``."""


class UnconsumedMessage(UserWarning):
    """A test has ended with messages in a queue that none of its workers consumes: a queue's name may be misspelt."""
