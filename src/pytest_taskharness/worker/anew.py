"""A world that was used as good as new, where little has changed in it: opening another one takes ten times as long."""

from __future__ import annotations

import copy
from typing import Any

import celery.utils.time
from celery.worker import state as worker_state

from ..broker.memory import MemoryBroker
from ..timeline import Timeline
from .ids import ids_given, resume_ids
from .node import Node
from .world import World

__all__ = ["Imprint"]

#: What ``app.control`` changes on the app's tasks.
_LIMITS = ("rate_limit", "soft_time_limit", "time_limit")


class Imprint:
    """A stepped world on the memory broker, as it was when it had just been opened and employed.

    What every run changes is put back: the timeline, the results, the faults, where the random numbers stand.  A world
    in which anything else has changed cannot be had back: time has passed, a message is left, a worker is paused, …
    """

    def __init__(self, world: World) -> None:
        """Remember it."""
        self._world = world
        self._now = world.time.now
        self._settings = dict(world.app.conf.maps[0])
        self._tasks = self._limits()
        self._workers = [_described(node) for node in world.nodes]
        self._image = copy.deepcopy(world.app.backend.image())
        self._tags = self._broker._tags
        self._random = ids_given(), celery.utils.time.random.getstate()

    @property
    def _broker(self) -> MemoryBroker:
        broker = self._world.broker
        assert isinstance(broker, MemoryBroker)
        return broker

    def take_back(self) -> Timeline | None:
        """Put the world back: the timeline that it begins, or None where it cannot be put back."""
        if not self._is_alike():
            return None
        world, broker = self._world, self._broker
        self._forget()
        world.app.backend.restore_image(copy.deepcopy(self._image))
        broker.sent.clear()
        broker._tags = self._tags
        worker_state.reset_state()
        resume_ids(self._random[0])
        celery.utils.time.random.setstate(self._random[1])
        return world.timeline

    def _forget(self) -> None:
        world = self._world
        world.recorder.timeline = Timeline(self._now)
        world.recorder._hidden.clear()
        world.script.faults.clear()
        world.script.armed = False
        world.waits.forget()
        world.descent.begin_anew()
        world.starts = world._turn = 0
        world.restores.forget()
        for node in world.nodes:
            node.consumer.task_consumer.channel._turn = 0

    def _is_alike(self) -> bool:
        world, broker = self._world, self._broker
        return (
            world.time.now == self._now
            and not (broker.unacked or broker.on_hold or broker.is_out or any(map(broker.peek, broker.queues)))
            and not (world.script.luck or world.script._watchers or world._broken or world.stack or world._fallen)
            and not (world.company._running or world.company._pairs or world.company._holds)
            and [_described(node) for node in world.nodes] == self._workers
            and not any(map(_limits_rates, world.nodes))
            and dict(world.app.conf.maps[0]) == self._settings
            and self._limits() == self._tasks
        )

    def _limits(self) -> list[Any]:
        tasks = self._world.app._tasks.items()
        return [(name, *(task.__dict__.get(limit) for limit in _LIMITS)) for name, task in tasks]


def _described(node: Node) -> Any:
    """What can make one worker differ from another, or from itself."""
    return (
        node.name, node.only, node.concurrency, node.goes_on, node.dead, list(node.told.items()), bool(node.running),
        bool(node.waiting), node.consumer.qos.value, node.timer.peek() is not None,
    )  # fmt: skip


def _limits_rates(node: Node) -> bool:
    """Whether a bucket of tokens stands somewhere: nobody can say how full it was."""
    return any(bucket is not None for bucket in node.consumer.task_buckets.values())
