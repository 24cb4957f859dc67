"""One worker: Celery's WorkController and Consumer, delivering one message when told to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import _state, signals
from celery.exceptions import WorkerShutdown
from kombu.serialization import prepare_accept_content

from ..clock.timer import Due, SteppedTimer
from ..clock.virtual import VirtualTime
from ..errors import ConfigurationError, WorkerDied
from ..recorder import Recorder
from ..timeline import Event
from . import explain
from .answering import answer_as_from_the_start
from .bodies.company import Alarm, Hold
from .bodies.pool import Execution, Killed, SteppedPool
from .borrowing.apps import unregistered
from .connection import Connection
from .consumer import SteppedConsumer, SteppedController, WatchedChannel
from .reserving import Reserving
from .restores import TakeBack
from .sharing import others_aside, prefetch_as_one_of_several

if TYPE_CHECKING:
    from .world import World

__all__ = ["Node"]


class Node(Reserving):
    """A named worker in the test's thread.

    It consumes the queues that it was given, or every queue that its app knows.
    """

    #: What boots it.
    controller: Any = SteppedController

    def __init__(self, world: World, name: str, *, queues: list[str] | None = None, concurrency: int) -> None:
        """Not started yet."""
        super().__init__()
        self.world = world
        self.app = world.app
        self.name = name
        self.only = queues
        #: It consumes every queue, those included that publishing creates.
        self.everything = queues is None
        #: The same by the queues' own names, where they are called by others.
        self._named: list[str] = list(queues or ())
        self.concurrency = concurrency
        self.pid = os.getpid()
        self.paused = False
        self.alive = False
        self.connection = Connection(self)
        self._take_back = TakeBack(self)
        #: Killed: nobody hears any more of what its bodies do.
        self.dead = False
        #: What remote control said of a queue: to consume it, or not to.
        self.told: dict[str, bool] = {}
        self.running: list[Execution] = []
        #: It has been told to shut down, and does so when the bodies that run have ended.
        self.leaving = False

    @property
    def time(self) -> VirtualTime:
        """The world's clock."""
        return self.world.time

    @property
    def recorder(self) -> Recorder:
        """The world's recorder."""
        return self.world.recorder

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self.world.time.monotonic()

    def record(self, kind: str, *, task: str | None = None, id: str | None = None, **detail: Any) -> Event:
        """Write down something that this worker did."""
        return self.recorder.record(kind, task=task, id=id, worker=self.name, **detail)

    # -- life

    def start(self) -> None:
        """Boot Celery's worker: the same boot steps as ``celery worker``, without pool processes and event loop."""
        mine = {"node": self}
        queues = self.app.amqp.queues
        consumed = queues._consume_from
        self.worker = self.controller(
            app=self.app,
            hostname=f"{self.name}@taskharness",
            pool_cls=type("SteppedPool", (SteppedPool,), mine),
            consumer_cls=type("SteppedConsumer", (SteppedConsumer,), mine),
            timer_cls=partial(SteppedTimer, time=self.time),
            use_eventloop=False,
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
            concurrency=self.concurrency,
            queues=self.only,
            ready_callback=lambda consumer: signals.worker_ready.send(sender=consumer),
        )
        self.worker.node = self
        # Booting a pool forbids result.get() in the whole process; only bodies are in a worker here.
        _state._set_task_join_will_block(False)
        self.worker.blueprint.start(self.worker)
        queues._consume_from = consumed  # -Q is for this worker alone, and not for app.control.purge()
        self._named = [queues.aliases[name].name if name in queues.aliases else name for name in self.only or ()]
        self.consumer: SteppedConsumer = self.worker.consumer
        self.timer: SteppedTimer = self.worker.timer
        self.timer.is_booted = True
        #: Celery's mailbox for remote control; None where worker_enable_remote_control is off.
        self._pidbox = next((step.box for step in self.consumer.steps if hasattr(step, "box")), None)
        if self._pidbox is not None:
            answer_as_from_the_start(self, self._pidbox)
        prefetch_as_one_of_several(self.consumer)
        self.accept = prepare_accept_content(self.app.conf.accept_content)
        signals.task_received.connect(self._on_received, sender=self.consumer)
        signals.worker_process_init.send(sender=None)
        self.alive = True

    def again(self) -> Node:
        """Another one like it, not started yet."""
        return Node(self.world, self.name, queues=self.only, concurrency=self.concurrency)

    def stop(self) -> None:
        """A warm shutdown: what is held for later goes back to the broker."""
        if self.alive:
            self.withdraw()
            self.world.company.bury(self)
            self.worker.stop()
            self.consumer.blueprint.shutdown(self.consumer)

    def leave_when_idle(self) -> None:
        """Shut down, as it was told to, as soon as the bodies have ended that run."""
        if self.alive and not self.running:
            self.record("fault", note="shut down by remote control")
            self.stop()

    def pause(self) -> None:
        """Take no message and run no timer."""
        self.paused = True

    def resume(self) -> None:
        """Go on."""
        self.paused = False
        self.world.turn.wake()

    def kill(self, note: str = "killed: its connection is lost", **told: Any) -> None:
        """The node dies: its connection is lost, and the broker redelivers what was not acknowledged."""
        if self.alive:
            self.withdraw()
            self.record("fault", note=note, **told)
            self.connection.end()
            self.dead = True
            for execution in self.running:
                execution.killed = True
            self.world.company.bury(self)
            self.world.stay_dead()

    def hold_in(self, task: str) -> Hold:
        """Keep the next body of this task in its beginning.

        Raises:
            ConfigurationError: The app has no such task.
        """
        if task not in self.app.tasks:
            raise ConfigurationError(f"hold_in(): {self.unregistered(task)}")
        return self.world.company.hold(self, task)

    def withdraw(self) -> None:
        """It is no longer one of those that live."""
        self.alive = False
        self.waiting.clear()
        signals.task_received.disconnect(self._on_received, sender=self.consumer)

    # -- stepping

    @property
    def goes_on(self) -> bool:
        """Whether anything is to be expected of this worker."""
        return self.alive and self.connection.holds and not (self.paused or self.leaving)

    def queues(self) -> list[str]:
        """The names of the queues that this worker consumes, those that publishing has created included."""
        names = self._named or list(dict.fromkeys(queue.name for queue in list(self.app.amqp.queues.values())))
        if not self.told:
            return names
        return [name for name in dict.fromkeys([*names, *self.told]) if self.told.get(name, True)]

    def deliver(self) -> bool:
        """Take one message and hand it to Celery's own handler, queues in turn; False where none is there."""
        channel = self.consumer.task_consumer.channel
        if not channel.qos.can_consume():
            return False
        taken = channel.take_any(self.queues())
        if taken is not None:
            self.receive(*taken)
        return taken is not None

    def receive(self, message: Any, queue: str, **detail: Any) -> None:
        """Let Celery's consumer handle a message that was taken off a queue."""
        identity = self._identity(message)
        redelivered = bool((message.delivery_info or {}).get("redelivered"))
        self.record("deliver", queue=queue, redelivered=redelivered, **identity, **self._reprs(message), **detail)
        message.channel = WatchedChannel(message.channel, self, identity)
        self.at_once = "performed" in detail
        try:
            self.outlive(self._handle, message)
        finally:
            self.at_once = False

    def dues(self) -> list[Due]:
        """What this worker will do by itself, and when: its next timer, and what it takes back from the dead."""
        timer = self.timer.peek() if self.goes_on else None
        limits = self.world.company.dues(self) if self.running else []
        return [*([timer] if timer is not None else []), *self.restore_dues(), *limits]

    def restore_dues(self) -> list[Due]:
        """When this worker next finds a delivery, anybody's, that was held for too long; and when a message dies."""
        if not self.goes_on:
            return []
        broker = self.world.broker
        dues = (broker.restore_due(), self._take_back), (broker.expiry_due(), broker.expire_now)
        return [Due(at, 0, act) for at, act in dues if at is not None]

    def fire(self, due: Due) -> None:
        """Do what is due now."""
        if self.is_restore(due) or isinstance(due.entry, Alarm) or due.entry == self.world.broker.expire_now:
            self.outlive(due.entry)
        else:
            entry, before = self.timer.pop(), len(self.world.timeline)
            self.outlive(entry.entry)
            if len(self.world.timeline) == before:
                entry.was_in_vain()

    def is_restore(self, due: Due) -> bool:
        """Whether it is to take something back."""
        return due.entry is self._take_back

    def outlive(self, act: Callable[..., object], *args: Any) -> None:
        """What this worker does ends where it dies; so does a body that has waited for it in the same worker."""
        try:
            act(*args)
            self._between_messages()
        except Killed:
            if not self.dead:
                raise
            self.world.stay_dead()

    def _between_messages(self) -> None:
        """What celery.worker.loops does each time round: acks that were put off (before Celery 5.7), prefetch."""
        self.consumer.perform_pending_operations()
        if self.consumer.qos.prev != self.consumer.qos.value:
            self.consumer.qos.update()

    def _handle(self, message: Any) -> None:
        """What kombu's Consumer does with a message before it calls ``on_message``."""
        consumer = self.consumer.task_consumer
        message.accept = consumer.accept
        if message.errors:
            message._reraise_error(consumer.on_decode_error)
        else:
            consumer.on_message(message)

    def obey(self) -> bool:
        """Handle one remote control command (revoke, rate_limit, …); False where none is there."""
        box = self._pidbox
        if box is None or box.consumer is None or not self.goes_on:
            return False
        with others_aside(self):
            try:
                if not box.consumer.channel.receive_broadcasts():
                    return False
            except WorkerShutdown:
                self.leaving = True
        self.world.company.strike_down()
        self._between_messages()
        return True

    def held_for_eta(self) -> list[Any]:
        """The requests that wait for their eta: a task's own, or that of a retry."""
        found = (due.entry.args[0] for due in self.timer.pending() if due.entry.args)
        return [request for request in found if getattr(request, "eta", None) is not None]

    def started(self) -> dict[str, int]:
        """How many bodies of each task it has started."""
        mine = (event for event in self.world.timeline if event.kind == "start" and event.worker == self.name)
        return dict(Counter(str(event.task) for event in mine))

    @contextmanager
    def executing(self, execution: Execution) -> Iterator[None]:
        """While a body runs: its app is the current one, as in a pool process."""
        current = _state._tls.current_app
        with self.world.executing(execution):
            self.running.append(execution)
            _state._set_current_app(self.app)
            try:
                yield
            finally:
                _state._set_current_app(current)
                self.running.remove(execution)

    # -- telling

    def _on_received(self, request: Any = None, **_: Any) -> None:
        note = f"held until {request.eta.isoformat()}" if request.eta else ""
        self.record("receive", task=request.task.name, id=request.id, note=note)

    def poisoned(self, message: Any, note: str, *, error: BaseException | None = None) -> None:
        """A message that no task will run."""
        self.record("poison", note=note, error=error, **self._identity(message))

    def ended_by(self, message: Any, error: Exception) -> WorkerDied:
        """Celery has stumbled over a message itself: this worker is gone, and the message is in its queue again."""
        died = WorkerDied(explain.unhandled(self.name, self._identity(message)["task"], error))
        if self.world.execution_here() is not None:
            self.world.broke(died)
        self.poisoned(message, f"ends its worker: {type(error).__name__}: {error}", error=error)
        self.kill("has ended: its connection is lost")
        return died

    def unregistered(self, name: str | None) -> str:
        """What is wrong with a task name, and which one was meant."""
        return unregistered(self.app, name)

    @staticmethod
    def _identity(message: Any) -> dict[str, Any]:
        headers = message.headers if isinstance(message.headers, dict) else {}
        if "task" in headers:
            return {"task": headers["task"], "id": headers.get("id")}
        return {"task": None, "id": (message.properties or {}).get("correlation_id")}

    def _reprs(self, message: Any) -> dict[str, Any]:
        headers = message.headers if isinstance(message.headers, dict) else {}
        parent = {"parent_id": headers["parent_id"]} if headers.get("parent_id") else {}
        return {**self.recorder.reprs(headers.get("id"), headers), **parent}
