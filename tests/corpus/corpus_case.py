"""What a case is, and the two words with which its author labels a task: ``wrong`` and ``right``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery

__all__ = ["CASES", "KINDS", "TOPICS", "Case", "Topic", "app", "load"]

#: The kinds of plan, the plainest first; each with what ``plans=`` calls it.
KINDS = {"again": "sequence", "crash": "crashes", "together": "together"}
TOPICS = sorted(path.stem for path in (Path(__file__).parent / "corpus_tasks").glob("[a-z]*.py"))

app = Celery("corpus", broker="redis://localhost:1/0", set_as_current=False)
# A lost worker costs nothing: the broker, or an operator, delivers again.
app.conf.task_acks_late = True

#: By name, in the order of the modules.
CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Case:
    """One task with a label.

    Attributes:
        name: As ``mail.send_then_note``.
        tells: What is wrong, or right, about it.
        sig: The call that is delivered more than once.
        observe: What a user would look at afterwards.
        reset: Begins anew.
        caught_by: The plainest kind of plan that must catch it: ``again``, ``crash`` or ``together``; None where it
            is right.
        thread: Where somebody in public was bitten by it.
        lines: Whose lines it may die at: those of its ``body``, or of its ``package``.
    """

    name: str
    tells: str
    sig: Any
    observe: Callable[[], Any]
    reset: Callable[[], Any]
    caught_by: str | None = None
    thread: str = ""
    lines: str = "body"

    @property
    def wrong(self) -> bool:
        """Whether it must be caught."""
        return self.caught_by is not None


class Topic:
    """The cases of one module, which share what is observed and how it begins anew."""

    def __init__(self, *, observe: Callable[[], Any], reset: Callable[[], Any]) -> None:
        self.observe = observe
        self.reset = reset

    def right(self, *args: Any, **named: Any) -> Callable[[Callable[..., Any]], Any]:
        """Make a task of a function, called with these arguments, that must not be accused."""
        return partial(self._add, args=args, caught_by=None, **named)

    def wrong(self, caught_by: str, *args: Any, **named: Any) -> Callable[[Callable[..., Any]], Any]:
        """Make a task of a function, called with these arguments, that must be caught by this kind of plan."""
        assert caught_by in KINDS, caught_by
        return partial(self._add, args=args, caught_by=caught_by, **named)

    def _add(
        self, body: Callable[..., Any], *, args: tuple[Any, ...], caught_by: str | None, thread: str = "",
        link: Any = None, lines: str = "body", **options: Any,
    ) -> Any:  # fmt: skip
        name = f"{body.__module__.rpartition('.')[2]}.{body.__name__}"
        assert name not in CASES, f"two cases are called {name}"
        assert body.__doc__, f"case {name} has no docstring that says what it is about"
        task = plain(**options)(body)
        sig = task.s(*args)
        if link is not None:
            sig.link(link)
        tells = " ".join(body.__doc__.split())
        CASES[name] = Case(name, tells, sig, self.observe, self.reset, caught_by, thread, lines)
        return task


#: A task that is no case: the child of one.  Never shared: it must not appear in the apps of other tests.
plain = partial(app.task, shared=False, lazy=False)


def load() -> dict[str, Case]:
    """Import every topic."""
    for topic in TOPICS:
        importlib.import_module(f"corpus_tasks.{topic}")
    return CASES
