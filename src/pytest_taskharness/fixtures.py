"""The fixtures, each a thin wrapper around ``Harness.open``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import pytest

from .config import NO_APP, MarkerOptions, Settings, read_marker
from .errors import ConfigurationError, FidelityError, ServerError, TaskHarnessError, WorkerDied

if TYPE_CHECKING:
    from .harness import Harness
    from .servers.given import GivenURL
    from .servers.given_rabbitmq import GivenRabbitMQ

__all__: list[str] = []

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
#: The harnesses that a test has opened and no report has shown yet.
OPENED: pytest.StashKey[list[Any]] = pytest.StashKey()
#: Whether all phases of a test have passed so far.
PASSING: pytest.StashKey[bool] = pytest.StashKey()
#: What the suite's own fixtures have asked for that were set up for this item, class, module or session.
ASKED: pytest.StashKey[set[str]] = pytest.StashKey()


#: Pytest reads this name: where the text says it all, the frames of this module say nothing more.
__tracebackhide__ = methodcaller("errisinstance", (pytest.UsageError, TaskHarnessError))


@pytest.fixture(scope="session")
def taskharness_app(request: pytest.FixtureRequest) -> Any:
    """The Celery app under test; override it in conftest.py, or name it with ``taskharness_app`` in the ini file."""
    path = request.config.stash[SETTINGS].app.value
    if path is None:
        raise pytest.UsageError(NO_APP)
    return path


@pytest.fixture
def taskharness_config() -> Mapping[str, Any]:
    """Celery settings for the time that a harness is open; override it in conftest.py."""
    return {}


@pytest.fixture
def _taskharness_mode(request: pytest.FixtureRequest) -> str:
    return str(_case(request, "modes", marked(request.node).modes or request.config.stash[SETTINGS].modes.value))


@pytest.fixture
def _taskharness_seed(request: pytest.FixtureRequest) -> int:
    return int(_case(request, "seeds", marked(request.node).seeds or (request.config.stash[SETTINGS].seed.value,)))


def _case(request: pytest.FixtureRequest, noun: str, values: tuple[Any, ...]) -> Any:
    """The value that this test was parametrized with, or the only one."""
    if hasattr(request, "param"):
        return request.param
    if len(values) > 1:
        warnings.warn(
            pytest.PytestWarning(
                f"{request.node.nodeid} asks for the {noun} {', '.join(map(str, values))} and runs with {values[0]!r} "
                "only: pytest could not see that it uses the harness. Ask for the fixture by name."
            ),
            stacklevel=2,
        )
    return values[0]


@pytest.fixture
def harness(
    request: pytest.FixtureRequest,
    taskharness_app: Any,
    taskharness_config: Mapping[str, Any],
    _taskharness_mode: str,
    _taskharness_seed: int,
) -> Iterator[Harness]:
    """Your Celery app with its worker stepped in the test's thread, under a virtual clock.

    Once for each mode that ``--taskharness-mode`` or the marker asks for.
    """
    yield from _opened(request, taskharness_app, taskharness_config, mode=_taskharness_mode, seed=_taskharness_seed)


def _pinned(mode: str) -> Any:
    """A fixture for one mode, whatever the command line says."""

    def fixture(
        request: pytest.FixtureRequest,
        taskharness_app: Any,
        taskharness_config: Mapping[str, Any],
        _taskharness_seed: int,
    ) -> Iterator[Harness]:
        yield from _opened(request, taskharness_app, taskharness_config, mode=mode, seed=_taskharness_seed)

    fixture.__doc__ = f"A harness in ``{mode}`` mode, whatever the command line says."
    return pytest.fixture(name=f"{mode.replace('+', '_')}_harness")(fixture)


eager_harness = _pinned("eager")
memory_harness = _pinned("memory")
fakeredis_harness = _pinned("fakeredis")
redis_harness = _pinned("redis")
redis_process_harness = _pinned("redis+process")
rabbitmq_harness = _pinned("rabbitmq")
rabbitmq_process_harness = _pinned("rabbitmq+process")


def _opened(
    request: pytest.FixtureRequest, app: Any, config: Mapping[str, Any], *, mode: str, seed: int
) -> Iterator[Harness]:  # fmt: skip
    from .harness import Harness
    from .worker.ids import ids_for

    marker = marked(request.node)
    settings = request.config.stash[SETTINGS]
    given = settings.app
    if given.source.startswith("--"):
        app = given.value  # the command line wins over a fixture that conftest.py overrides
    try:
        with ids_for(place_of(request.node)):
            harness = Harness.open(
                app,
                mode,
                seed=seed,
                config={**config, **(marker.config or {})},
                workers=marker.workers,
                **said_of(marker, settings),
            )
    except (ConfigurationError, FidelityError, ServerError, WorkerDied) as error:
        raise pytest.UsageError(str(error)) from None
    request.node.stash.setdefault(OPENED, []).append(harness)
    try:
        with _progress_shown(request.config):
            yield harness
    finally:
        # A test that has failed has one thing to say, not two.
        if not request.node.stash.get(PASSING, True):
            harness.forgive()
        harness.close()


@contextmanager
def _progress_shown(config: pytest.Config) -> Iterator[None]:
    """A test that takes long may say so on the terminal, past what captures its output."""
    from .explore.session import chosen

    before, chosen.tell = chosen.tell, partial(_tell, config)
    try:
        yield
    finally:
        chosen.tell = before


def _tell(config: pytest.Config, line: str) -> None:
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    if terminal is not None:  # a worker of pytest-xdist has none
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            terminal.write_line(line)


def said_of(marker: MarkerOptions, settings: Settings) -> dict[str, Any]:
    """What a test, and the whole run, say of each harness that is opened for it."""
    return {
        "start": marker.start,
        "pool": marker.pool,
        "visibility_timeout": marker.visibility_timeout,
        "consumer_timeout": marker.consumer_timeout,
        "strict_leftovers": marker.strict_leftovers,
        "redis_url": _given_redis(settings),
        "rabbitmq_url": _given_rabbitmq(settings),
        "fresh_workers": settings.fresh_workers.value,
    }


def place_of(item: pytest.Item) -> str:
    """What no other test is called; a node id differs under ``xdist --dist loadgroup``."""
    path, _, name = item.location
    return f"{path}::{name}"


def _given_redis(settings: Settings) -> GivenURL | None:
    from .servers.given import GivenURL

    url = settings.redis_url
    if url.value is None:
        return None
    allowed = {"allow_nonempty": settings.allow_nonempty.value, "allow_remote": settings.allow_remote.value}
    return GivenURL(url.value, url.source, **allowed)


def _given_rabbitmq(settings: Settings) -> GivenRabbitMQ | None:
    from .servers.given_rabbitmq import GivenRabbitMQ

    url = settings.rabbitmq_url
    return None if url.value is None else GivenRabbitMQ(url.value, url.source, allow_remote=settings.allow_remote.value)


def marked(node: pytest.Item | pytest.Collector) -> MarkerOptions:
    """What the markers of a test, or those of a class or a module alone, say."""
    return read_marker((mark.args, mark.kwargs) for mark in node.iter_markers("taskharness"))
