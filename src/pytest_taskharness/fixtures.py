"""The fixtures, each a thin wrapper around ``Harness.open``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .config import NO_APP, MarkerOptions, Settings, read_marker
from .errors import ConfigurationError, FidelityError

if TYPE_CHECKING:
    from .harness import Harness

__all__: list[str] = []

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
#: The harnesses that a test has open, for its report.
OPEN: pytest.StashKey[list[Any]] = pytest.StashKey()


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
    settings: Settings = request.config.stash[SETTINGS]
    mode: str = getattr(request, "param", None) or (_marked(request).modes or settings.modes.value)[0]
    return mode


@pytest.fixture
def _taskharness_seed(request: pytest.FixtureRequest) -> int:
    given = getattr(request, "param", None)
    seeds = _marked(request).seeds or (request.config.stash[SETTINGS].seed.value,)
    return int(seeds[0] if given is None else given)


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
    with _opened(request, taskharness_app, taskharness_config, mode=_taskharness_mode, seed=_taskharness_seed) as it:
        yield it


@pytest.fixture
def memory_harness(
    request: pytest.FixtureRequest,
    taskharness_app: Any,
    taskharness_config: Mapping[str, Any],
    _taskharness_seed: int,
) -> Iterator[Harness]:
    """A harness in ``memory`` mode, whatever the command line says."""
    with _opened(request, taskharness_app, taskharness_config, mode="memory", seed=_taskharness_seed) as it:
        yield it


@pytest.fixture
def eager_harness(
    request: pytest.FixtureRequest,
    taskharness_app: Any,
    taskharness_config: Mapping[str, Any],
    _taskharness_seed: int,
) -> Iterator[Harness]:
    """A harness in ``eager`` mode, whatever the command line says."""
    with _opened(request, taskharness_app, taskharness_config, mode="eager", seed=_taskharness_seed) as it:
        yield it


@contextmanager
def _opened(
    request: pytest.FixtureRequest, app: Any, config: Mapping[str, Any], *, mode: str, seed: int
) -> Iterator[Harness]:  # fmt: skip
    from .harness import Harness

    __tracebackhide__ = True
    marker = _marked(request)
    try:
        harness = Harness.open(
            app, mode, start=marker.start, seed=seed, config={**config, **(marker.config or {})},
            workers=marker.workers, pool=marker.pool, visibility_timeout=marker.visibility_timeout,
            strict_leftovers=marker.strict_leftovers,
        )  # fmt: skip
    except (ConfigurationError, FidelityError) as error:
        raise pytest.UsageError(str(error)) from None
    opened = request.node.stash.setdefault(OPEN, [])
    opened.append(harness)
    try:
        yield harness
    finally:
        opened.remove(harness)
        harness.close()


def _marked(request: pytest.FixtureRequest) -> MarkerOptions:
    return read_marker((mark.args, mark.kwargs) for mark in request.node.iter_markers("taskharness"))
