"""Puts one world of real workers together: an app, a Redis, the workers' command line, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from redis.exceptions import RedisError

from ..broker.redis_broker import RedisBroker
from ..clock.sleep import Sleeper, sleep_virtually
from ..clock.virtual import VirtualTime
from ..errors import FidelityError, ServerError, hide_frames
from ..recorder import Recorder
from ..servers.guarded import GuardedProcess
from ..servers.rabbitmq import RabbitServer
from ..servers.redis import RedisServer
from ..timeline import Timeline
from ..worker.borrowing.takeover import borrowed, virtual_readers
from ..worker.supplies.redbeat import lead_redbeat_home, redbeat_settings
from ..worker.supplies.redis_supply import redis_supply
from ..worker.supplies.supply import Supply, options_for
from .between.faketime import find_library
from .between.walltime import WallTime
from .outside.amqp_broker import AmqpBroker
from .outside.backend import ProcessRedisBackend
from .outside.broadcasting import control_watched
from .outside.crew import Crew, engage, leave
from .outside.expiring import clean_between_tests
from .outside.explain import needs_faketime
from .outside.handover import may_go_on
from .outside.hiring import Hiring, checked_arguments, checked_pool
from .outside.virtual import VirtualProcessWorld, VirtualWaits
from .outside.world import ProcessWorld

__all__ = ["REAL", "process_world"]

__tracebackhide__ = hide_frames

#: The word for a clock that nobody moves.
REAL = "real"


@contextmanager
def process_world(
    app: Any, server: RedisServer, *, config: Mapping[str, Any], visibility_timeout: float | None = None,
    pool: str | None = None, arguments: Sequence[str] = (), start: datetime | None = None, seed: int = 0,
    clock: str | None = None, reuse: bool = True, amqp: RabbitServer | None = None,
) -> Iterator[ProcessWorld]:  # fmt: skip
    """A world without workers yet; its time is virtual where libfaketime is installed.

    Args:
        app: The app; a worker has to be able to import it.
        server: Where broker and result backend are.
        config: Celery settings of this test, for its own process and for workers.
        visibility_timeout: Seconds after which an unacknowledged delivery is taken for lost.
        pool: ``prefork``, ``threads`` or ``solo``.
        arguments: More of the command line of ``celery worker``.
        start: The first instant of the clock.
        seed: Makes what is random in the test process repeatable.
        clock: What freezes the test process (``freezegun``, ``time-machine``), or ``real`` for the real clock.
        reuse: Whether workers of an earlier test may go on, and those of this one for a later one.
        amqp: Where the broker is, if not on that server too.

    Raises:
        ConfigurationError: No worker could import the app, or there is no such pool.
        FidelityError: A real clock starts now, and nowhere else.
    """
    library = None if clock == REAL else find_library()
    if start is not None and library is None:
        raise FidelityError(needs_faketime(f"start={start.isoformat()}"))
    hiring = Hiring(app, pool=checked_pool(pool), arguments=checked_arguments(arguments), library=library)
    options = options_for(app, config, visibility_timeout)
    is_ours = server.process is not None
    if reuse and is_ours and amqp is None:
        hiring.make_key = partial(hiring.key_with, config, server.url, options)
        hiring.key = hiring.make_key()
    with ExitStack() as stack:
        time = hiring.time = _clock(stack, start, library=library, freezer=clock)
        recorder = Recorder(Timeline(time.now), time)
        supply = redis_supply(app, options, time=time, url=server.url, server=server)
        hiring.crew = engage(hiring.key)
        store, settings = _shared(app, supply, hiring.crew, config=config)
        broker: Any = store
        connect = supply.connect
        if amqp is not None:
            stack.callback(store.close)
            broker = AmqpBroker(amqp, options=options, clock_moves=library is not None)
            connect, settings = broker.connect, {**settings, **broker.settings()}
        hiring.settings = {**hiring.carried, **settings}
        stack.callback(broker.close)
        make = ProcessWorld if library is None else VirtualProcessWorld
        world = make(app, time=time, recorder=recorder, broker=broker, hire=hiring.hire)
        world.store = store
        if isinstance(broker, AmqpBroker):
            world.post = broker.of(world)
        backend = _backend_maker(app, world)
        ours = stack.enter_context(borrowed(app, config=settings, connect=connect, make_backend=backend))
        recorder.wrap_amqp(ours)
        world.moments.watch(ours)
        stack.enter_context(control_watched(world))
        world.listen_to_server((amqp or server).process)
        if isinstance(world, VirtualProcessWorld):
            stack.enter_context(virtual_readers(time, seed))
            sleeper = Sleeper(time.monotonic, cast("VirtualWaits", world.waits).sleep, world.lives_here)
            stack.enter_context(sleep_virtually(sleeper))
        recorder.before_effect = hiring.crew.send_others_home
        stack.callback(_part, world, hiring, server.process)
        yield world


def _clean_up(broker: RedisBroker) -> None:
    """The workers are gone; so is the server, perhaps."""
    with suppress(RedisError, ServerError):
        RedisBroker.clean(broker)


def _clock(stack: ExitStack, start: datetime | None, *, library: Path | None, freezer: str | None) -> Any:
    if library is None:
        return WallTime()
    time = VirtualTime(start, library=freezer)
    stack.callback(time.close)
    return time


def _shared(app: Any, supply: Supply, crew: Crew, *, config: Mapping[str, Any]) -> tuple[RedisBroker, dict[str, Any]]:
    """The broker, and the settings that lead there; workers that are there already know it under another prefix."""
    broker = cast("RedisBroker", supply.broker)
    broker.bindings = _AtOnce()
    broker.flush_bindings = lambda: None  # type: ignore[method-assign]
    results = dict(supply.settings["result_backend_transport_options"])
    if crew.prefix is not None:
        results["global_keyprefix"] = crew.prefix + results["global_keyprefix"].removeprefix(broker.own_prefix)
        broker.prefix = crew.prefix + broker.prefix.removeprefix(broker.own_prefix)
        broker.own_prefix = crew.prefix
        broker.options["global_keyprefix"] = broker.prefix
    crew.prefix = broker.own_prefix
    settings = {**config, **supply.settings, "result_backend_transport_options": results}
    return broker, {**settings, "broker_transport_options": broker.options, **redbeat_settings(app, broker)}


def _part(world: ProcessWorld, hiring: Hiring, server: GuardedProcess | None) -> None:
    """The test is over: its workers go on for another one, or end."""
    with ExitStack() as stack:  # whoever presses Ctrl-C meanwhile has them ended too
        stack.callback(hiring.crew.close)
        stack.callback(world.close)
        hiring.crew.send_others_home()
        if hiring.leaves_workers and may_go_on(world):
            _leave(world, hiring, server)
            stack.pop_all()


def _leave(world: ProcessWorld, hiring: Hiring, server: GuardedProcess | None) -> None:
    broker, crew = world.broker, hiring.crew
    kept = {queue for node in world.nodes for queue in node.initial}
    crew.clean = partial(_clean_up, broker)
    crew.is_served = lambda: server is not None and server.poll() is None
    broker.clean = lambda: clean_between_tests(broker, kept)
    assert hiring.key is not None
    leave(hiring.key, crew)


class _AtOnce(dict[Any, Any]):
    """Bindings that somebody else reads too: they cannot be put off until we read them ourselves."""

    def __setitem__(self, key: Any, write: Callable[[], object]) -> None:
        write()


def _backend_maker(app: Any, world: ProcessWorld) -> Callable[[], Any]:
    def make_backend() -> Any:
        lead_redbeat_home(app, world.store)
        backend = ProcessRedisBackend(app, broker=world.store, waits=world.waits)
        world.recorder.wrap_backend(backend)
        return backend

    return make_backend
