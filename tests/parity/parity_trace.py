"""Plays a scenario in one mode and writes down what can be compared with another mode.

Three witnesses: what the scenario returned (the user's view, by the result backend), what Celery's hooks and signals
told (``parity_log``, which knows nothing of the harness), and what the harness recorded (``harness.runs()``).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import parity_log
from celery import canvas
from celery.exceptions import TimeLimitExceeded
from parity_app import app
from parity_log import shown

from pytest_taskharness import Harness

if TYPE_CHECKING:
    from parity_scenario import Scenario

    from pytest_taskharness.timeline import Run

__all__ = ["Trace", "difference", "play"]

#: Lines of text, the same for the same behaviour.
Trace = list[str]
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


def play(scenario: Scenario, mode: str) -> Trace:
    """The normalized trace of a scenario in a mode."""
    log = Path(os.environ[parity_log.VARIABLE])
    offset = log.stat().st_size if log.exists() else 0
    with Harness.open(app, mode, config=scenario.config) as harness:
        with ExitStack() as stack:
            if mode.endswith("+process"):
                stack.enter_context(_canvases_at_once(harness._world.nodes))
            answer = scenario.play(harness)
        harness.settle()
        told = parity_log.read(log, offset=offset)
        names = Names(told)
        dead = _killed(harness)
        told = [line for line in told if not (line["id"] in dead and _is_unwinding(line))]
        lines = [f"the user saw {shown(answer)}", *_told(told, names), *_recorded(harness, names)]
    return [names.in_text(line.replace("\n", " / ")) for line in lines]


@contextmanager
def _canvases_at_once(workers: list[Any]) -> Iterator[None]:
    """While entered, real workers stand still as long as the test process publishes a canvas.

    Which part of a chord ends last, and so publishes its body, would depend on who is quicker: the test process with
    the next part, or a worker with what follows the first one.
    """
    with ExitStack() as stack:
        for kind in (canvas._chain, canvas.group, canvas._chord):
            stack.enter_context(mock.patch.object(kind, "apply_async", _while_paused(workers, kind.apply_async)))
        yield


def _while_paused(workers: list[Any], original: Callable[..., Any]) -> Callable[..., Any]:
    def apply_async(*args: Any, **kwargs: Any) -> Any:
        going = [worker for worker in workers if worker.goes_on]  # none, where one canvas is in another
        for worker in going:
            worker.pause()
        try:
            return original(*args, **kwargs)
        finally:
            for worker in going:
                worker.resume()

    return apply_async


def difference(expected: Trace, found: Trace, *, names: tuple[str, str]) -> list[str]:
    """A unified diff of two traces; nothing where they agree."""
    return list(unified_diff(expected, found, *names, lineterm="", n=1))


class Names:
    """A task is named by who published it, and as which child, because ids are random.

    ``add 1`` is the first task of the test, ``boom 1.2`` the second that it published.
    """

    def __init__(self, told: Iterable[dict[str, Any]]) -> None:
        """Name every task that was published."""
        self._numbers: dict[str | None, str] = {}
        self._names: dict[str, str] = {}
        self._children: dict[str | None, int] = {}
        self._others: dict[str, str] = {}
        for line in told:
            if line["what"] == "publish" and line["id"] not in self._numbers:
                self._add(line["id"], line["detail"])

    def _add(self, task_id: str, detail: dict[str, Any]) -> None:
        parent = detail.get("parent_id")
        child = self._children[parent] = self._children.get(parent, 0) + 1
        above = f"{self._numbers[parent]}." if parent in self._numbers else ""
        self._numbers[task_id] = f"{above}{child}"
        self._names[task_id] = f"{detail['task'].rpartition('.')[2]} {above}{child}"

    def of(self, task_id: str) -> str:
        """The name of a task, or its id where it was not published."""
        return self._names.get(task_id, task_id)

    def place(self, task_id: str) -> str:
        """What to sort by; what was not published comes last, in the order in which it was told."""
        return self._names.get(task_id, "~")

    def in_text(self, text: str) -> str:
        """The text with names in the places of ids; ids that are no task's (a group's) are numbered as they come.

        Times of day are no more than ``<time>``; when something is due is told as a delay.
        """
        return UUID.sub(lambda match: self._named(match[0]), TIME.sub("<time>", text))

    def _named(self, found: str) -> str:
        if found in self._names:
            return f"<{self._names[found]}>"
        return self._others.setdefault(found, f"<id {len(self._others) + 1}>")


# -- the log


def _told(told: list[dict[str, Any]], names: Names) -> Iterator[str]:
    """The lines of each attempt, in order.

    Not ordered are attempts among each other, and what other processes tell of an attempt (that it was published,
    received, and revoked) with what its body tells: a real worker's main process receives ahead.
    """
    elsewhere = {"publish": 0, "received": 1, "revoked": 3}
    for line in sorted(
        told, key=lambda line: (names.place(line["id"]), line["retries"], elsewhere.get(line["what"], 2))
    ):  # fmt: skip
        detail = " ".join(f"{key}={value!r}" for key, value in _rounded(line["detail"]).items())
        yield f"{names.of(line['id'])}, attempt {line['retries'] + 1}: {line['what']} {detail}".rstrip()


def _killed(harness: Harness) -> set[str | None]:
    """The tasks that were over their hard time limit."""
    errors = ((event.id, event.detail.get("error")) for event in harness.timeline)
    return {task_id for task_id, error in errors if isinstance(error, TimeLimitExceeded)}


def _is_unwinding(line: dict[str, Any]) -> bool:
    """Told by a killed pool process, which has 0.1 s to unwind its body after SIGTERM: sometimes it is quick enough."""
    return line["what"] == "postrun" and line["detail"].get("state") is None


def _rounded(detail: dict[str, Any]) -> dict[str, Any]:
    return {name: _asked(item) if name == "delay" else item for name, item in detail.items() if item is not None}


def _asked(delay: float) -> float:
    """The delay that was asked for: on a real clock some time passes before anybody can measure it.

    All scenarios ask for multiples of 0.2 s.
    """
    return round(math.ceil(delay / 0.2 - 0.001) * 0.2, 1)


# -- what the harness recorded


def _recorded(harness: Harness, names: Names) -> Iterator[str]:
    for run in sorted(harness.runs(), key=lambda run: names.place(run.id)):
        yield from (f"run {names.of(run.id)}: {line}" for line in _run(run, names))
    for name, runs in vars(harness.tally).items():
        yield f"tally: {name} {sorted(names.of(run.id) for run in runs)}"


def _run(run: Run, names: Names) -> Iterator[str]:
    states = [f"{state} {shown(state.meta)}" if state.meta is not None else str(state) for state in run.states]
    yield f"{' then '.join(run.tasks)}, {', '.join(states)}"
    yield f"result {shown(run.result)}, error {shown(run.error)}"
    for attempt in run.attempts:
        redelivered = " redelivered" if attempt.redelivered else ""
        yield f"attempt {attempt.number}{redelivered}: {attempt.outcome} {shown(attempt.error)}"
    yield f"retry delays {[_asked(delay) for delay in run.retry_delays]}, queues {[m.queue for m in run.messages]}"
    yield f"acked {run.acked}, redelivered {run.redelivered}, inline {run.inline}"
    yield f"parent {run.parent and names.of(run.parent.id)}, children {[names.of(child.id) for child in run.children]}"
