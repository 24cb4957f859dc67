"""What Celery's own hooks and signals tell, in a file that every process of a scenario appends to.

Nothing of the harness is in here: the same lines are written by a real worker process and by a stepped worker.
Each line is one JSON object and one ``write``, so that processes do not cut each other short.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Task, current_app, signals
from celery.utils.time import maybe_iso8601

#: The environment variable with the path of the file.  It is there while a scenario is played and in its worker
#: process; without it nothing is written down, because the signals are those of every app in the process.
VARIABLE = "PARITY_LOG"


def note(what: str, task_id: str, *, retries: int = 0, **detail: Any) -> None:
    """Append one line about one attempt of one task."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    line = json.dumps({"what": what, "id": task_id, "retries": retries, "detail": shown(detail)}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(path: Path, *, offset: int = 0) -> list[dict[str, Any]]:
    """The lines that were written after ``offset`` bytes."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes()[offset:].splitlines()]


def shown(value: Any) -> Any:
    """A value as JSON can keep it: exceptions as ``Type: text``, what JSON has no form for as its repr."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if isinstance(value, dict):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


class Told(Task):
    """A task that writes down each of its hooks, and the steps of its body."""

    abstract = True

    def step(self, what: str, **detail: Any) -> None:
        """A line of the body's own."""
        note(what, self.request.id, retries=self.request.retries, **detail)

    def before_start(self, task_id, args, kwargs):
        self._hook("before_start", task_id)

    def on_success(self, retval, task_id, args, kwargs):
        self._hook("on_success", task_id, value=retval)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self._hook("on_failure", task_id, error=exc)

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self._hook("on_retry", task_id, error=exc)

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self._hook("after_return", task_id, status=status, value=retval)

    def _hook(self, name: str, task_id: str, **detail: Any) -> None:
        note(name, task_id, retries=_retries(self), **detail)


def _retries(task: Any) -> int:
    """Of the attempt that runs; 0 in the worker's main process, where none does."""
    return task.request.retries or 0


@signals.before_task_publish.connect(weak=False)
def _published(sender, body, headers, properties, routing_key, **_):
    if isinstance(body, dict):  # message protocol 1
        note("publish", body["id"], retries=body["retries"], task=sender, routing_key=routing_key, protocol=1)
        return
    _, _, embed = body
    known = {name: headers[name] for name in _HEADERS if headers.get(name)}
    if "stamped_headers" in known:
        known["stamped_headers"] = sorted(known["stamped_headers"])  # Celery makes it of a set
    if headers.get("expires"):
        known["expires"] = True
    if any(headers.get("timelimit") or ()):
        known["timelimit"] = headers["timelimit"]
    family = {name: _names(embed.get(name)) for name in ("callbacks", "errbacks", "chain", "chord") if embed.get(name)}
    note(
        "publish", headers["id"], retries=headers["retries"], task=sender, routing_key=routing_key,
        delay=_delay(headers), priority=properties.get("priority"), **known, **family,
    )  # fmt: skip


_HEADERS = (
    "argsrepr", "kwargsrepr", "parent_id", "root_id", "group", "group_index", "shadow", "ignore_result",
    "stamps", "stamped_headers", "replaced_task_nesting",
)  # fmt: skip


def _delay(headers: dict[str, Any]) -> float | None:
    """Seconds from now to the eta."""
    eta = maybe_iso8601(headers.get("eta"))
    return None if eta is None else (eta - current_app.now()).total_seconds()


def _names(signatures: Any) -> list[str]:
    """The tasks of callbacks, errbacks or a chain; a chord's body is a single one."""
    many = signatures if isinstance(signatures, list) else [signatures]
    return [signature["task"] for signature in many]


@signals.task_received.connect(weak=False)
def _received(request, **_):
    note("received", request.id, retries=request.request_dict.get("retries") or 0)


@signals.task_prerun.connect(weak=False)
def _prerun(task, task_id, **_):
    note("prerun", task_id, retries=_retries(task))


@signals.task_postrun.connect(weak=False)
def _postrun(task, task_id, state, retval, **_):
    note("postrun", task_id, retries=_retries(task), state=state, value=retval)


@signals.task_success.connect(weak=False)
def _success(sender, result, **_):
    note("success", sender.request.id, retries=_retries(sender), value=result)


@signals.task_failure.connect(weak=False)
def _failure(sender, task_id, exception, **_):
    note("failure", task_id, retries=_retries(sender), error=exception)


@signals.task_retry.connect(weak=False)
def _retry(sender, request, reason, **_):
    note("retry", request.id, retries=request.retries, reason=reason)


@signals.task_revoked.connect(weak=False)
def _revoked(request, expired, terminated, **_):
    note("revoked", request.id, retries=request.retries, expired=bool(expired), terminated=bool(terminated))


@signals.task_unknown.connect(weak=False)
def _unknown(name, id, exc, **_):
    note("unknown", id, error=exc)


@signals.task_rejected.connect(weak=False)
def _rejected(message, exc, **_):
    headers = message.headers if isinstance(message.headers, dict) else {}
    note("rejected", headers.get("id") or "no task", error=exc)


@signals.task_internal_error.connect(weak=False)
def _internal_error(sender, task_id, exception, **_):
    note("internal error", task_id, error=exception)
