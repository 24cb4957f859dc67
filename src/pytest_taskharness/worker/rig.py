"""Puts one stepped world together: an app, a broker and a backend, the clock, and what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from ..clock.virtual import VirtualTime
from ..recorder import Recorder
from ..timeline import Timeline
from .answering import answer_at_once
from .borrowing.beside import apps_beside
from .borrowing.takeover import borrowed, send_late
from .eager import applying_honestly
from .frames import code_copied_once
from .ids import seeded_ids
from .presence import Presence
from .supplies.supply import Supply
from .waiting.background import joining_by_thread
from .wires import losing_answers, losing_results, silent_when_dead
from .world import World

__all__ = ["stepped_world"]

#: What others than Celery read, to find the server.
SHOWN = {"broker_url", "result_backend"}


@contextmanager
def stepped_world(
    app: Any, supply: Supply, *, time: VirtualTime, config: Mapping[str, Any], seed: int, eager: bool,
    discreet: bool = False,
) -> Iterator[World]:  # fmt: skip
    """A world without workers yet, in virtual time.

    Args:
        app: It becomes the current one, and its configuration names our broker and backend.
        supply: Both of them.
        time: The clock.
        config: Celery settings.
        seed: Makes what is random repeatable.
        eager: Whether bodies run at the call.
        discreet: Whether the app looks as ever: somebody else says which one is current, and its URLs stay as they are,
            though they lead nowhere.
    """
    recorder = Recorder(Timeline(time.now), time)
    recorder.warns_of_loss = eager
    world = World(app, time=time, recorder=recorder, broker=supply.broker, eager=eager)
    world.presence = Presence(world, seed=seed)
    supply.broker.wait_for_event = world.waits.wait_for_event
    supply.broker.on_consumer_timeout = world.close_channel
    supply.attach(recorder)

    def make_backend() -> Any:
        backend = supply.make_backend(world.waits)
        recorder.wrap_backend(backend)
        losing_results(world, backend)
        world.ferry = supply.ferry(backend)
        return backend

    with ExitStack() as stack:
        stack.callback(supply.broker.close)
        kept = SHOWN if discreet else set()
        leading = {name: value for name, value in supply.settings.items() if name not in kept}
        settings = {**config, **leading}  # where messages and results are is the mode's to say
        amqp = stack.enter_context(
            borrowed(app, config=settings, connect=supply.connect, make_backend=make_backend, current=not discreet)
        )
        losing_answers(world, amqp)
        answer_at_once(world, app)
        recorder.wrap_amqp(amqp)
        stack.enter_context(code_copied_once())
        stack.enter_context(seeded_ids(app, seed))
        stack.enter_context(silent_when_dead(world))
        stack.enter_context(joining_by_thread(world))
        stack.enter_context(world.presence)
        if discreet:
            backend, equip = app._get_backend(), partial(_equip, world)
            world.presence.lend(partial(apps_beside, app, connect=supply.connect, backend=backend, equip=equip))
        if eager:
            stack.enter_context(applying_honestly(app, world))
        stack.enter_context(world.opened())
        yield world


def _equip(world: World, amqp: Any) -> None:
    """What another app publishes is on the timeline, too, and what it asks is answered."""
    answer_at_once(world, amqp.app)
    send_late(amqp)
    losing_answers(world, amqp)
    world.recorder.wrap_amqp(amqp)
