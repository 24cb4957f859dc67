"""The stepped or real workers of one harness: those that it starts by itself, and those that a test names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ConfigurationError, FidelityError, hide_frames
from .arguments import check_concurrency, check_queues
from .handle import Worker
from .staging import World

__all__ = ["Workforce"]

__tracebackhide__ = hide_frames

#: How many bodies may wait inside one another where the app does not say ``worker_concurrency``.  A fixed number:
#: Celery's default, the number of cores, would make a test depend on the machine.
DEFAULT_CONCURRENCY = 4
#: In eager mode, where no worker has a pool: how many calls may run inside one another.  Each holds a connection, of
#: which Celery has ten (``broker_pool_limit``).
EAGER_CONCURRENCY = 8
NAMES = "abcdefghijklmnopqrstuvwxyz"


class Workforce:
    """Starts workers, and finds them.

    Attributes:
        is_default: Whether the test has named none: those that there are were started for it.
    """

    def __init__(self, app: Any, mode: str, opened: Callable[[], World]) -> None:
        """No worker yet; ``opened()`` is the world, or raises that the harness is closed."""
        self._app = app
        self._mode = mode
        self._opened = opened
        self.is_default = True
        #: The workers that the test has named, and what it has asked of those that were started for it.
        self._named: set[str] = set()
        self._started: dict[str, dict[str, Any]] = {}

    def employ(self, workers: object) -> None:
        """Start the default ones.

        Raises:
            ConfigurationError: That is no number of workers.
        """
        if not isinstance(workers, int) or not 1 <= workers <= len(NAMES):
            raise ConfigurationError(f"workers= takes a number from 1 to {len(NAMES)}; given: {workers!r}")
        for name in ["worker"] if workers == 1 else NAMES[:workers]:
            self._opened().add_node(name, concurrency=self._concurrency())

    def _concurrency(self) -> int:
        configured = self._app.conf.worker_concurrency
        unsaid = configured in (None, 0, "auto")  # all of them mean the cores of a machine
        if not unsaid and not str(configured).isdigit():
            raise ConfigurationError(f"worker_concurrency is a number, or 'auto'; the app has {configured!r}")
        if self._mode == "eager":
            return EAGER_CONCURRENCY
        return DEFAULT_CONCURRENCY if unsaid else int(configured)

    def worker(
        self, name: str | None, *, queues: list[str] | None, concurrency: int | None, pool: str | None,
        arguments: Sequence[str],
    ) -> Worker:  # fmt: skip
        """What ``harness.worker`` says."""
        world = self._opened()
        check_queues(queues)
        check_concurrency(concurrency)
        if self._mode == "eager":
            raise FidelityError("eager mode has no worker. Run this test with mode='memory'.")
        how = self._how(pool, arguments)
        found = [node for node in world.nodes if name in (None, node.name)]
        if name is None and len(found) != 1:
            raise ConfigurationError(f"worker() means the only worker; there are {[node.name for node in found]}")
        asked = {"queues": queues, "concurrency": concurrency, **how}
        asked = {option: value for option, value in asked.items() if value is not None}
        if found and not self._is_replaced(found[0].name, asked):
            self._named |= {node.name for node in found if name}
            return Worker(world, found[0])
        if name is None:
            raise ConfigurationError(
                f"expected the name of the worker that is to be started so; found instead: worker({_listed(asked)}). "
                f"To fix this, name it: worker('images', {_listed(asked)}). Without a name, worker() is the one that "
                "is there."
            )
        self._dismiss_default()
        node = world.add_node(name, queues=queues, concurrency=concurrency or self._concurrency(), **how)
        self._named.add(name)
        self._started[name] = asked
        return Worker(world, node)

    def _dismiss_default(self) -> None:
        if self.is_default:
            self.is_default = False
            for node in [node for node in self._opened().nodes if node.name not in self._named]:
                self._opened().dismiss(node)

    def _is_replaced(self, name: str, asked: dict[str, Any]) -> bool:
        """Whether a worker that is there gives way to one of the same name: a default one that is asked for more.

        Raises:
            ConfigurationError: It was started for this test as it is.
        """
        if not asked:
            return False
        if self.is_default and name not in self._named:
            return True
        if asked == self._started.get(name):
            return False
        raise ConfigurationError(
            f"worker({name!r}, {_listed(asked)}): a worker of this name is there already, and was started otherwise. "
            "Say so when it is named first, or choose another name."
        )

    def _how(self, pool: str | None, arguments: Sequence[str]) -> dict[str, Any]:
        how: dict[str, Any] = {"pool": pool} if pool else {}
        how |= {"arguments": tuple(arguments)} if arguments else {}
        if how and not self._mode.endswith("+process"):
            raise FidelityError(
                f"worker({_listed(how)}) is for a real worker process; "
                f"mode {self._mode!r} steps its worker in the test's thread. Run this test with mode='redis+process'."
            )
        return how


def _listed(options: dict[str, Any]) -> str:
    """As in the call."""
    return ", ".join(f"{option}={value!r}" for option, value in options.items())
