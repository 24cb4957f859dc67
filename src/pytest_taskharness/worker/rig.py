"""Puts one stepped world together: an app, a broker and a backend, the clock, and what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ..clock.sleep import Sleeper, sleep_virtually
from ..clock.virtual import VirtualTime
from ..recorder import Recorder
from ..timeline import Timeline
from .answering import answer_at_once
from .eager import applying_honestly
from .frames import code_copied_once
from .ids import seeded_ids
from .supply import Supply
from .takeover import borrowed, virtual_readers
from .wires import losing_answers, losing_results, silent_when_dead
from .world import World

__all__ = ["stepped_world"]


@contextmanager
def stepped_world(
    app: Any, supply: Supply, *, time: VirtualTime, config: Mapping[str, Any], seed: int, eager: bool
) -> Iterator[World]:  # fmt: skip
    """A world without workers yet, in virtual time."""
    recorder = Recorder(Timeline(time.now), time)
    recorder.warns_of_loss = eager
    world = World(app, time=time, recorder=recorder, broker=supply.broker, eager=eager)
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
        settings = {**config, **supply.settings}  # where messages and results are is the mode's to say
        amqp = stack.enter_context(borrowed(app, config=settings, connect=supply.connect, make_backend=make_backend))
        losing_answers(world, amqp)
        answer_at_once(world)
        recorder.wrap_amqp(amqp)
        stack.enter_context(virtual_readers(time, seed))
        stack.enter_context(code_copied_once())
        stack.enter_context(seeded_ids(app, seed))
        stack.enter_context(silent_when_dead(world))
        stack.enter_context(sleep_virtually(Sleeper(time.monotonic, world.waits.sleep, world.lives_here)))
        if eager:
            stack.enter_context(applying_honestly(app, world))
        stack.enter_context(world.opened())
        yield world
