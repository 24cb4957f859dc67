"""What users hold as ``harness.broker``."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..broker.tampered import id_in
from ..errors import ConfigurationError, FidelityError, NoSuchMessage, hide_frames
from ..timeline import Message, Run
from .interruption import Interruption
from .mail import Stored, as_message, copy_of, in_order, is_copy, retries_in, standing
from .queues import known_queue, queue_names

if TYPE_CHECKING:
    from .harness import Harness

__all__ = ["Broker"]

__tracebackhide__ = hide_frames

VerbT = TypeVar("VerbT", bound=Callable[..., Any])


def _alone(verb: VerbT) -> VerbT:
    """A verb beside which nobody drives, and after which there may be something to do."""

    @wraps(verb)
    def alone(self: Broker, *args: Any, **kwargs: Any) -> Any:
        with self._opened().exclusively():
            return verb(self, *args, **kwargs)

    return cast("VerbT", alone)


class Broker:
    """What is between publishers and workers: look at it, and let it do what brokers do on their bad days.

    A message is meant by a :class:`Message` (from ``harness.outbox``), or by whatever ``harness.run_of`` takes: a
    result, an id, a run, a task that was called once.  Of a task that was retried, the last message is meant.  Each
    verb that changes something is an event of kind ``fault`` on the timeline.
    """

    def __init__(self, harness: Harness, opened: Callable[[], Any]) -> None:
        """Use ``harness.broker``."""
        self._harness = harness
        self._opened = opened

    # -- looking

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue.

        Raises:
            ConfigurationError: There is no such queue; the text names the nearest.
        """
        return len(self._broker("depth()").peek(self._known(queue)))

    def peek(self, queue: str) -> list[Message]:
        """The messages that wait in a queue, in the order in which they would be delivered.

        Raises:
            ConfigurationError: There is no such queue; the text names the nearest.
        """
        waiting = self._broker("peek()").peek(self._known(queue))
        return [as_message(stored, self._harness.timeline) for stored in waiting]

    @property
    def unacked(self) -> list[Message]:
        """The messages that were delivered and are not acknowledged yet, in order of delivery."""
        held = list(self._broker("unacked").unacked.values())
        return [as_message(stored, self._harness.timeline) for stored in held]

    @property
    def visibility_timeout(self) -> float | None:
        """Seconds after which Redis' clients take an unacknowledged delivery for lost; None where there is no Redis."""
        timeout: float | None = self._broker("visibility_timeout").visibility_timeout
        return timeout

    # -- messages

    @_alone
    def duplicate(self, x: Any, *, concurrently: bool | Sequence[int] = False) -> None:
        """Put a second copy of a message at the end of its queue, as a producer does that sends it again.

        It has the same id, headers and body, and does not say that it is redelivered.  The first copy may wait, be
        held by a worker, or be done.

        Args:
            x: The message.
            concurrently: Whether both bodies run at once, one line each in turn; or after how many lines they take
                turns: with ``(2, 3)`` the first runs two lines, then the second three, then the first goes on to its
                end.  Both copies must still have to run.

        Raises:
            NoSuchRun: Nothing was published under this id; the text lists what was, nearest first.
            NoSuchMessage: No queue has ever had such a message.
            ConfigurationError: There is no second body that it could run at once with.
            FidelityError: The mode has no broker, or cannot run two bodies on a schedule.
        """
        broker, run = self._broker("duplicate()"), self._harness.run_of(x)
        stored = self._copy(x, run, "duplicate()")
        if concurrently is not False:
            self._check_concurrently(run, concurrently)
        broker.add(stored.queue, stored.payload)
        broker.on_added(run.id, retries_in(stored))
        self._record(run, f"duplicated: a second copy at the end of queue {stored.queue!r}", copies=1)
        if concurrently is not False:
            self._opened().together(run.id, None if concurrently is True else tuple(concurrently))

    @_alone
    def redeliver(self, x: Any) -> None:
        """Deliver a message again, marked as redelivered: the broker takes its delivery for lost.

        What is not acknowledged goes back to the head of its queue, while its worker goes on with it, as after a
        visibility timeout.  What was acknowledged comes again, as where the acknowledgement was lost.

        Args:
            x: The message.

        Raises:
            NoSuchRun: Nothing was published under this id; the text lists what was, nearest first.
            NoSuchMessage: It was never delivered.
            FidelityError: The mode has no broker.
        """
        broker, run = self._open_broker("redeliver()"), self._harness.run_of(x)
        held = {tag: stored for tag, stored in broker.unacked.items() if id_in(stored.payload) == run.id}
        if held:
            self._take_for_lost(list(held))
        elif any(event.kind == "deliver" for event in run.timeline):
            held = {"": self._copy(x, run, "redeliver()")}
            broker.add(held[""].queue, held[""].payload, redelivered=True)
        else:
            raise NoSuchMessage(f"redeliver({_called(run)}) needs a delivery, and there was none: {self._where(run)}.")
        for stored in held.values():
            broker.on_added(run.id, retries_in(stored))
        self._record(run, "redelivered: the broker takes its delivery for lost", copies=int("" in held))

    def _take_for_lost(self, tags: list[str]) -> None:
        with self._harness.app.connection_for_write() as connection:
            for tag in reversed(tags):  # each goes to the head of the queue
                connection.default_channel.qos.restore_by_tag(tag)

    @_alone
    def drop(self, x: Any) -> None:
        """Lose a message that waits in a queue; ``harness.tally.lost`` has its run.  Of several copies, the first.

        Args:
            x: The message.

        Raises:
            NoSuchRun: Nothing was published under this id; the text lists what was, nearest first.
            NoSuchMessage: It does not wait in a queue; the text says where it is.
            FidelityError: The mode has no broker.
        """
        broker, run = self._open_broker("drop()"), self._harness.run_of(x)
        waiting = [stored for stored in self._waiting(run) if not isinstance(x, Message) or is_copy(stored, x)]
        if not waiting or not broker.take_out(waiting[0]):
            raise NoSuchMessage(f"drop({_called(run)}) needs a message that waits in a queue: {self._where(run)}.")
        broker.on_taken_out(run.id)
        self._record(run, f"dropped from queue {waiting[0].queue!r}", dropped=1)

    @_alone
    def reorder(self, queue: str | None = None, *, order: Sequence[Any] | None = None) -> None:
        """Put the messages that wait into another order; a more urgent priority still goes first.

        Args:
            queue: The queue; each one if not given.
            order: The messages that come first, in this order; a random one, by the harness's seed, if not given.

        Raises:
            ConfigurationError: There is no such queue, or the priorities of the messages forbid that order.
            NoSuchMessage: One of the messages does not wait in the queue.
            FidelityError: The mode has no broker.
        """
        self._open_broker("reorder()")
        names = [self._known(queue)] if queue is not None else self._queues()
        if order is None:
            for name in names:
                self._arrange(name, self._shuffled)
        elif order:
            self._put_in_order([self._harness.run_of(x) for x in order], names)

    def _put_in_order(self, runs: list[Run], queues: list[str]) -> None:
        name = next((queue for queue in queues if runs[0].id in self._ids(queue)), queues[0])
        for run in runs:
            if run.id not in self._ids(name):
                raise NoSuchMessage(f"reorder(): {_called(run)} does not wait in queue {name!r}: {self._where(run)}.")
        ids = [run.id for run in runs]
        self._arrange(name, partial(in_order, ids))
        found = self._ids(name)
        if found[: len(ids)] != ids:
            raise ConfigurationError(
                f"reorder() cannot put a less urgent message of queue {name!r} before a more urgent one: the broker "
                f"delivers by priority. Asked for: {', '.join(ids)}; it will be: {', '.join(found)}."
            )

    def _ids(self, queue: str) -> list[str]:
        return [id_in(stored.payload) or "" for stored in self._opened().broker.peek(queue)]

    def _arrange(self, queue: str, order: Callable[[list[Any]], list[Any]]) -> None:
        if len(self._ids(queue)) > 1:
            self._opened().broker.arrange(queue, order)
            self._opened().recorder.record("fault", note=f"queue {queue!r} is in another order", queue=queue)

    def _shuffled(self, messages: list[Any]) -> list[Any]:
        return self._random.sample(messages, len(messages))

    @cached_property
    def _random(self) -> random.Random:
        return random.Random(f"{self._harness.seed}/reorder")  # of a text: not its hash(), which differs

    # -- interruptions

    @_alone
    def hold(self, queue: str) -> Interruption:
        """Let a queue deliver nothing until :meth:`release`, or the end of the ``with`` block; publishing goes on.

        Raises:
            ConfigurationError: There is no such queue, or it is held already.
            FidelityError: The mode has no broker, or its broker cannot do that.
        """
        broker = self._stepped_broker("hold()", "worker().pause(), which stops a worker")
        name = self._known(queue)
        if name in broker.on_hold:
            raise ConfigurationError(f"hold({name!r}) contradicts an earlier one: the queue is held already.")
        broker.on_hold.add(name)
        self._opened().recorder.record("fault", note=f"queue {name!r} is held", queue=name)
        return Interruption(lambda: self.release(name) if name in broker.on_hold else None)

    @_alone
    def release(self, queue: str) -> None:
        """Let a held queue deliver again.

        Raises:
            ConfigurationError: There is no such queue, or it is not held.
            FidelityError: The mode has no broker, or its broker cannot do that.
        """
        broker = self._stepped_broker("release()", "worker().resume()")
        name = self._known(queue)
        if name not in broker.on_hold:
            held = ", ".join(map(repr, sorted(broker.on_hold))) or "none"
            raise ConfigurationError(f"release({name!r}) contradicts the script: the queue is not held. Held: {held}.")
        broker.on_hold.discard(name)
        self._opened().recorder.record("fault", note=f"queue {name!r} is released", queue=name)

    @_alone
    def outage(self) -> Interruption:
        """Let nobody reach the broker until the end of the ``with`` block.

        Publishing raises ``kombu.exceptions.OperationalError``, after the publisher's own retries, in virtual time.
        Workers lose their connections and connect again afterwards; what they had not acknowledged is redelivered:
        on Redis after the visibility timeout, else as soon as the broker is back.  Results can still be read.

        Raises:
            ConfigurationError: The broker is out already.
            FidelityError: The mode has no broker, or its broker cannot do that.
        """
        broker = self._stepped_broker("outage()", "worker().kill()")
        if broker.is_out:
            raise ConfigurationError("outage() contradicts an earlier one: nobody can reach the broker already.")
        self._opened().recorder.record("fault", note="outage: nobody can reach the broker")
        self._opened().lose_broker()
        return Interruption(lambda: self._end_outage() if broker.is_out else None)

    @_alone
    def _end_outage(self) -> None:
        world = self._opened()
        world.recorder.record("fault", note="the outage has ended")
        world.find_broker()

    # -- what is meant

    def _broker(self, verb: str) -> Any:
        if self._harness.mode == "eager":
            raise FidelityError(
                f"broker.{verb} needs a broker; eager mode has none: the body runs at the call. Run this test with "
                "mode='memory'."
            )
        return self._opened().broker

    def _open_broker(self, verb: str) -> Any:
        """One whose queues can be looked into and written to, while workers go on."""
        if self._harness.mode == "rabbitmq+process":
            raise FidelityError(
                f"broker.{verb} changes what waits in a queue, which nobody can do to a RabbitMQ whose workers go on "
                "by themselves. Run this test with mode='rabbitmq', or use worker().kill(), whose messages come again."
            )
        return self._broker(verb)

    def _stepped_broker(self, verb: str, instead: str) -> Any:
        if self._harness.mode.endswith("+process"):
            raise FidelityError(
                f"broker.{verb} is for a broker whose workers are stepped; in mode {self._harness.mode!r} real workers "
                f"talk to a real server. Run this test with mode='memory', 'fakeredis' or 'redis', or use {instead}."
            )
        return self._broker(verb)

    def _check_concurrently(self, run: Run, concurrently: object) -> None:
        self._stepped_broker("duplicate(concurrently=…)", "duplicate() alone")
        lines = concurrently if isinstance(concurrently, (tuple, list)) else [None]
        if concurrently is not True and not all(type(number) is int and number >= 0 for number in lines):
            raise ConfigurationError(f"concurrently= takes True, or numbers of lines: (2, 3); given: {concurrently!r}")
        held = self._opened().broker.unacked.values()
        if not self._waiting(run) and not any(id_in(stored.payload) == run.id for stored in held):
            raise ConfigurationError(
                f"duplicate({_called(run)}, concurrently=…) needs a first copy that has yet to run: {self._where(run)}."
            )

    def _copy(self, x: Any, run: Run, verb: str) -> Stored:
        wanted = x if isinstance(x, Message) else next(reversed(run.messages), None)
        broker = self._opened().broker
        stored = copy_of(wanted, broker, self._waiting(run), run) if wanted is not None else None
        if stored is None:
            raise NoSuchMessage(
                f"{verb} needs a message that was in a queue; nothing is known of one of {_called(run)}: "
                f"{self._where(run)}. What was broadcast, or performed without a broker, and what a worker process "
                "has published and acknowledged, cannot be sent again."
            )
        return stored

    def _where(self, run: Run) -> str:
        return standing(run, self._opened().broker, self._waiting(run))

    def _waiting(self, run: Run) -> list[Any]:
        """What waits of a run, first come first."""
        broker = self._opened().broker
        return [each for queue in self._queues() for each in broker.peek(queue) if id_in(each.payload) == run.id]

    def _record(self, run: Run, note: str, **detail: int) -> None:
        self._opened().recorder.record("fault", task=run.task, id=run.id, note=note, **detail)

    def _known(self, queue: Any) -> str:
        return known_queue(queue, self._harness.app, self._opened())

    def _queues(self) -> list[str]:
        return queue_names(self._harness.app, self._opened())


def _called(run: Run) -> str:
    return f"{run.task} {run.id}"
