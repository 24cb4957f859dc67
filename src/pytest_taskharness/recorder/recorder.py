"""The recorder of one harness."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from inspect import unwrap
from pathlib import Path
from typing import Any, Protocol

from celery._state import get_current_task
from kombu.exceptions import EncodeError, OperationalError
from kombu.serialization import dumps, loads

from ..errors import LossyRoundTrip
from ..timeline import Event, Timeline
from .callsite import call_site
from .carrying import carried
from .errbacks import recording_errbacks
from .lossy import differences
from .publishing import describe_publish, snapshot
from .unserializable import unserializable

__all__ = ["Recorder"]

#: States that Celery's own machinery stores; any other comes from ``update_state``.
BUILT_IN_STATES = frozenset({"PENDING", "RECEIVED", "STARTED", "SUCCESS", "FAILURE", "REVOKED", "RETRY", "REJECTED"})
_SCALARS = (str, int, float, bool, type(None))


class Clock(Protocol):
    """What a recorder needs of a clock, virtual or real."""

    #: Called with (from, to) after each move.
    on_move: Callable[[datetime, datetime], object]

    @property
    def now(self) -> datetime:
        """The current instant (aware, UTC)."""


class Recorder:
    """Appends to a timeline what one app does."""

    def __init__(self, timeline: Timeline, time: Clock) -> None:
        """Record on this timeline, by this clock."""
        self.timeline = timeline
        self._time = time
        #: In eager mode nothing else shows that a value is not what a worker would get: warn.
        self.warns_of_loss = False
        #: Called before anything is published or stored.
        self.before_effect: Callable[[], object] = lambda: None
        #: Called with each publish event, after the broker has the message.
        self.on_published: Callable[[Event], object] = lambda event: None
        #: Called with each publish event, before the world knows of it; the last one first.
        self.listeners: list[Callable[[Event], object]] = []
        #: What stands for the arguments that a publisher hid, by task id.
        self._hidden: dict[str, dict[str, Any]] = {}
        self._root = f"{Path.cwd()}{os.sep}"
        time.on_move = self._jumped

    def record(
        self, kind: str, *, task: str | None = None, id: str | None = None, worker: str | None = None, **detail: Any
    ) -> Event:  # fmt: skip
        """Write down one event, now."""
        return self.timeline.record(kind, self._time.now, task=task, id=id, worker=worker, **detail)

    def _jumped(self, before: Any, after: Any) -> None:
        last = self.timeline.events[-1] if self.timeline.events else None
        if last is not None and last.kind == "clock jump":
            last.at = last.detail["to"] = after
        else:
            self.timeline.record("clock jump", after, to=after)

    def reprs(self, task_id: str | None, source: Mapping[str, Any]) -> dict[str, Any]:
        """How the arguments of a message may be shown: Celery writes them out anew in each retry, from the values."""
        texts = self._hidden.get(task_id or "", source)
        return {"argsrepr": texts.get("argsrepr"), "kwargsrepr": texts.get("kwargsrepr")}

    # -- publishing

    def wrap_amqp(self, amqp: Any) -> None:
        """Record each message that this ``app.amqp`` sends."""
        send = amqp.send_task_message

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            self.before_effect()
            try:
                sent = send(producer, name, message, **options)
            except EncodeError as error:
                raise self.unserializable(amqp.app, name, message, options, error) from error
            except OperationalError as error:
                if isinstance(error.__cause__ or error, EncodeError):
                    raise
                self._published(amqp, name, message, options, unknown=True)
                raise
            published = self._published(amqp, name, message, options)
            if self.warns_of_loss and not name.startswith("celery."):
                self._warn_of_lost_arguments(amqp.app, name, published, options)
            if self.listeners:
                self.listeners[-1](published)
            self.on_published(published)
            return sent

        amqp.send_task_message = send_task_message

    def _published(self, amqp: Any, name: str, message: Any, options: dict[str, Any], **extra: Any) -> Event:
        task_id = message.headers.get("id") or message.body["id"]
        detail = describe_publish(message, options=options, amqp=amqp, root=self._root)
        self.hide(name, task_id, detail)
        return self.record("publish", task=name, id=task_id, **detail, **extra)

    def hidden(self) -> dict[str, dict[str, Any]]:
        """What stands for hidden arguments, by task id: for :meth:`hide_as`, in another process."""
        return self._hidden

    def hide_as(self, hidden: dict[str, dict[str, Any]]) -> None:
        """Take over what was hidden in a forked child."""
        self._hidden.update(hidden)

    def hide(self, task: str, task_id: str, detail: dict[str, Any]) -> None:
        """Keep what stands for hidden arguments, and put it into the detail of this publish event."""
        before = self._hidden.get(task_id)
        if before is not None and before["task"] == task:
            detail |= {"hidden": True, **self.reprs(task_id, {})}
        elif detail["hidden"]:
            self._hidden[task_id] = {"task": task, **self.reprs(None, detail)}
        else:
            self._hidden.pop(task_id, None)  # another task under the same id, by self.replace()
        detail["headers"] = {**detail["headers"], **self.reprs(None, detail)}

    def unserializable(
        self, app: Any, name: str, message: Any, options: dict[str, Any], error: Exception
    ) -> Exception:  # fmt: skip
        """The error for a message whose arguments the serializer refused."""
        serializer = options.get("serializer") or app.conf.task_serializer
        body = message.body
        args, kwargs = (body[0], body[1]) if isinstance(body, tuple) else (body["args"], body["kwargs"])
        value = {"args": list(args), "kwargs": dict(kwargs)}
        subject = f"{name}()"
        hidden = "argsrepr" in options or "kwargsrepr" in options
        return unserializable(
            subject, value, serializer=serializer, encode=lambda part: dumps(part, serializer), error=error,
            hidden=hidden,
        )  # fmt: skip

    def _warn_of_lost_arguments(self, app: Any, name: str, published: Event, options: dict[str, Any]) -> None:
        sent = {"args": list(published.detail["args"]), "kwargs": published.detail["kwargs"]}
        content_type, encoding, body = dumps(sent, options.get("serializer") or app.conf.task_serializer)
        received = loads(body, content_type, encoding, accept=[content_type])
        lost = [found for part in sent for found in differences(sent[part], received[part], part)]
        _warn(f"the arguments of {name}", lost)

    # -- storing

    def wrap_backend(self, backend: Any) -> None:
        """Record each state that is stored through this result backend, and each errback that it calls inline."""
        store, encode = backend.store_result, backend.encode

        def store_result(
            task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
        ) -> Any:  # fmt: skip
            self.before_effect()
            stored = store(task_id, result, state, traceback, request=request, **kwargs)
            if not _came_too_late(backend, task_id, state):
                self._stored(backend, task_id, result, state=state, traceback=traceback, request=request)
            return stored

        def encode_or_explain(data: Any) -> Any:
            try:
                return encode(data)
            except EncodeError as error:
                raise self._unserializable_result(backend, encode, data, error) from error

        backend.store_result = store_result
        backend.encode = encode_or_explain
        backend._call_task_errbacks = recording_errbacks(backend, self)

    def _stored(
        self, backend: Any, task_id: str, result: Any, *, state: str, traceback: Any, request: Any
    ) -> None:  # fmt: skip
        detail: dict[str, Any] = {"state": state}
        task = request.task if isinstance(getattr(request, "task", None), str) else None
        if isinstance(result, BaseException):
            detail |= {"error": result, "traceback": traceback}
        elif state == "SUCCESS":
            detail["result"] = self._as_read(backend, result, task)
        elif state not in BUILT_IN_STATES:
            detail["meta"] = self._as_read(backend, result, task)
        self.record("store", task=task, id=task_id, **detail)

    def _as_read(self, backend: Any, value: Any, task: str | None) -> Any:
        """What somebody who asks the backend gets: a tuple comes back as a list."""
        if isinstance(value, _SCALARS):
            return value
        # Whether anybody accepts it is a matter of those who read; result_accept_content may say that nobody does.
        read = snapshot(carried(backend.prepare_value(value), backend.serializer))
        lost = list(differences(value, read, "result")) if self.warns_of_loss else []
        if lost:
            _warn(f"the result of {task or 'a task'}", lost, _body_of(backend.app, task))
        return read

    def _unserializable_result(self, backend: Any, encode: Any, data: Any, error: Exception) -> Exception:
        subject, value = "The result", data
        if isinstance(data, dict) and "result" in data:
            task_id, value = data.get("task_id"), {"result": data["result"]}
            running = get_current_task()
            name = f"{running.name} " if running is not None and running.request.id == task_id else ""
            subject = f"The {data.get('status', 'stored')} result of {name}{task_id}"
        return unserializable(subject, value, serializer=backend.serializer, encode=encode, error=error)


def _came_too_late(backend: Any, task_id: str, state: str) -> bool:
    """Celery 5.6.2 and 5.6.3 store a revoke over any state, which key-value backends refuse after a SUCCESS.

    ``rpc`` refuses nothing: it sends what it is given.
    """
    asked = getattr(backend, "_get_task_meta_for", None) if state == "REVOKED" else None
    return asked is not None and asked(task_id)["status"] == "SUCCESS"


def _body_of(app: Any, task: str | None) -> tuple[str, int]:
    """Where the body of a task stands: nobody calls the one who stores its result."""
    code = getattr(unwrap(app.tasks[task].run), "__code__", None) if task in app.tasks else None
    return (code.co_filename, code.co_firstlineno) if code else (__file__, 0)


def _warn(subject: str, lost: list[str], otherwise: tuple[str, int] = (__file__, 0)) -> None:
    if lost:
        text = f"{subject} changed on the way through the serializer: {'; '.join(lost)}"
        site = call_site()
        where = (site.file, site.line) if site else otherwise
        warnings.warn_explicit(LossyRoundTrip(text), None, *where)
