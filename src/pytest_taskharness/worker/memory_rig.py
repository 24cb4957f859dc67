"""Puts one world together on the memory broker: the modes ``memory`` and ``eager``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ..broker.memory import MemoryBroker, QueuedMessage, profile_for
from ..broker.transport import address, connect
from ..clock.sleep import Sleeper, sleep_virtually
from ..clock.virtual import VirtualTime
from ..recorder import Recorder
from ..timeline import Timeline
from .backend import MemoryBackend
from .eager import applying_honestly
from .takeover import borrowed, virtual_readers
from .world import World

__all__ = ["memory_world"]


@contextmanager
def memory_world(
    app: Any, *, time: VirtualTime, config: Mapping[str, Any], seed: int, eager: bool
) -> Iterator[tuple[World, MemoryBroker]]:  # fmt: skip
    """A world without workers yet, on a broker of its own, in virtual time."""
    recorder = Recorder(Timeline(time.now), time)
    recorder.warns_of_loss = eager
    broker = MemoryBroker(lambda: time.now, profile=profile_for(_broker_url(app)))
    world = World(app, time=time, recorder=recorder, broker=broker, eager=eager)
    broker.wait_for_event = world.waits.wait_for_event
    broker.on_expired = lambda message: _expired(recorder, message)
    url = address(broker)

    def make_backend() -> Any:
        backend = MemoryBackend(app, waits=world.waits)
        recorder.wrap_backend(backend)
        return backend

    with ExitStack() as stack:
        stack.callback(setattr, broker, "closed", True)
        settings = {"broker_url": url, "broker_read_url": url, "broker_write_url": url, "result_backend": url, **config}
        amqp = stack.enter_context(
            borrowed(app, config=settings, connect=lambda: connect(broker), make_backend=make_backend)
        )
        recorder.wrap_amqp(amqp)
        stack.enter_context(virtual_readers(time, seed))
        stack.enter_context(sleep_virtually(Sleeper(time.monotonic, world.waits.sleep, world.lives_here)))
        if eager:
            stack.enter_context(applying_honestly(app, world))
        stack.enter_context(world.opened())
        yield world, broker


def _broker_url(app: Any) -> str | None:
    url = app.conf.get("broker_url")
    return str(url[0] if isinstance(url, (list, tuple)) and url else url) if url else None


def _expired(recorder: Recorder, message: QueuedMessage) -> None:
    headers = message.headers
    recorder.record(
        "expire", task=headers.get("task"), id=headers.get("id"), queue=message.queue, note=f"in {message.queue!r}"
    )
