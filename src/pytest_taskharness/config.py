"""What the run was asked for: each value once, with where it came from.  Knows neither pytest nor Celery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from . import modes
from .errors import ConfigurationError

__all__ = ["MARKER", "NO_APP", "MarkerOptions", "Settings", "Sourced", "read_marker", "read_settings"]

T = TypeVar("T")

TIMELINE_CHOICES = ("never", "failed", "always")

#: The marker's signature, as `pytest --markers` shows it; :func:`marker_options` is what checks it.
MARKER = (
    "taskharness(mode=, modes=, start=, seed=, workers=, pool=, visibility_timeout=, consumer_timeout=, config={...}, "
    "strict_leftovers=, replace=): set up the harness of this test."
)

NO_APP = """\
no Celery app is configured for the harness. Name it in one of these ways:
  - in conftest.py:
        @pytest.fixture(scope="session")
        def taskharness_app():
            from shop.tasks import app
            return app
  - in pytest's configuration file:  taskharness_app = "shop.tasks:app"
  - on the command line:             --taskharness-app=shop.tasks:app"""


@dataclass(frozen=True)
class Sourced(Generic[T]):
    """A value and where it came from."""

    value: T
    source: str

    def __str__(self) -> str:
        """As ``memory (default)``."""
        return f"{self.value} ({self.source})"


@dataclass(frozen=True)
class Settings:
    """The settings of a whole run.

    Attributes:
        modes: The modes that the ``harness`` fixture is run in.
        app: The path of the Celery app, or None where a fixture says it.
        seed: Makes what is random repeatable.
        timeline: When a report shows the timeline: ``never``, ``failed`` or ``always``.
        redis_url: A Redis that runs already, or None: one is started where a mode needs it.
        rabbitmq_url: The same for a RabbitMQ.
        allow_nonempty: Whether that Redis may hold keys that are not ours.
        allow_remote: Whether either may be on another machine.
        fresh_workers: Whether each test starts worker processes of its own.
        replace_celery_fixtures: Whether the fixtures of ``celery.contrib.pytest`` are served by a stepped worker.
    """

    modes: Sourced[tuple[str, ...]]
    app: Sourced[str | None]
    seed: Sourced[int]
    timeline: Sourced[str]
    redis_url: Sourced[str | None]
    rabbitmq_url: Sourced[str | None]
    allow_nonempty: Sourced[bool]
    allow_remote: Sourced[bool]
    fresh_workers: Sourced[bool]
    replace_celery_fixtures: Sourced[bool]


@dataclass(frozen=True)
class MarkerOptions:
    """What ``@pytest.mark.taskharness(…)`` says about a test; None is "not said"."""

    modes: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    start: Any = None
    workers: int = 1
    pool: str | None = None
    visibility_timeout: float | None = None
    consumer_timeout: float | None = None
    config: Mapping[str, Any] | None = None
    strict_leftovers: bool = False
    replace: bool = True


def read_settings(option: Callable[[str], Any], ini: Callable[[str], Any]) -> Settings:
    """Resolve each setting: command line, then configuration file, then default.

    Args:
        option: The command line's value of a name, None where it was not given.
        ini: The configuration file's, empty where it was not given.

    Raises:
        ConfigurationError: A value cannot be used; the text says where it came from.
    """

    def sourced(name: str, default: Any) -> Sourced[Any]:
        given, configured = option(f"taskharness_{name}"), ini(f"taskharness_{name}")
        if given is not None:
            return Sourced(given, f"--taskharness-{name.replace('_', '-')}")
        return Sourced(configured, f"ini taskharness_{name}") if configured else Sourced(default, "default")

    chosen = sourced("mode", [modes.DEFAULT])
    return Settings(
        modes=Sourced(modes.parse(chosen.value, origin=chosen.source), chosen.source),
        app=sourced("app", None),
        seed=_checked(sourced("seed", "0"), int, "a whole number"),
        timeline=_checked(sourced("timeline", "failed"), _timeline_choice, f"one of {', '.join(TIMELINE_CHOICES)}"),
        redis_url=_checked(
            sourced("redis_url", None), _not_empty, "the URL of a Redis, such as redis://127.0.0.1:6379/15"
        ),
        rabbitmq_url=_checked(
            sourced("rabbitmq_url", None),
            _not_empty,
            "the URL of a RabbitMQ, such as amqp://guest:guest@127.0.0.1:5672//",
        ),
        allow_nonempty=sourced("allow_nonempty", False),
        allow_remote=sourced("allow_remote", False),
        fresh_workers=sourced("fresh_workers", False),
        replace_celery_fixtures=_of_file(ini, "taskharness_replace_celery_fixtures"),
    )


def _of_file(ini: Callable[[str], Any], name: str) -> Sourced[bool]:
    """What belongs to a suite, and not to one run of it: the command line has no option for it."""
    return Sourced(True, f"ini {name}") if ini(name) else Sourced(False, "default")


def _checked(setting: Sourced[Any], convert: Callable[[Any], T], wanted: str) -> Sourced[T]:
    try:
        return Sourced(convert(setting.value), setting.source)
    except ValueError:
        raise ConfigurationError(f"{setting.source} takes {wanted}; given: {setting.value!r}") from None


def _timeline_choice(value: str) -> str:
    if value not in TIMELINE_CHOICES:
        raise ValueError(value)
    return value


def _not_empty(value: str | None) -> str | None:
    """A variable of the shell that is not set must not mean that another server is used."""
    if value == "":
        raise ValueError(value)
    return value


def marker_options(  # noqa: PLR0913 - the words of the marker
    *,
    mode: str | None = None,
    modes: Iterable[str] | None = None,
    start: Any = None,
    seed: int | Iterable[int] | None = None,
    workers: int = 1,
    pool: str | None = None,
    visibility_timeout: float | None = None,
    consumer_timeout: float | None = None,
    config: Mapping[str, Any] | None = None,
    strict_leftovers: bool = False,
    replace: bool = True,
) -> MarkerOptions:
    """The marker's real signature: Python itself finds a misspelt argument."""
    return MarkerOptions(
        modes=_marked_modes(mode, modes),
        seeds=_marked_seeds(seed),
        start=start,
        workers=workers,
        pool=pool,
        visibility_timeout=visibility_timeout,
        consumer_timeout=consumer_timeout,
        config=_marked_config(config),
        strict_leftovers=strict_leftovers,
        replace=_marked_replace(replace),
    )


def _marked_modes(mode: str | None, several: Iterable[str] | None) -> tuple[str, ...] | None:
    if mode is not None and several is not None:
        raise ConfigurationError("@pytest.mark.taskharness takes mode= or modes=, not both")
    if mode is None and several is None:
        return None
    if mode is not None and not isinstance(mode, str):
        raise _refused("mode", "one mode's name, such as 'memory'; several go to modes=", mode)
    names = [mode] if mode is not None else _listed(several)
    if not all(isinstance(name, str) for name in names):
        raise _refused("modes", "names of modes, such as ['memory', 'eager']", several)
    return modes.parse(names, origin="@pytest.mark.taskharness")


def _marked_seeds(seed: int | Iterable[int] | None) -> tuple[int, ...] | None:
    if seed is None:
        return None
    seeds = tuple(_listed(seed))
    if not seeds or not all(isinstance(each, int) for each in seeds):
        raise _refused("seed", "a whole number, or several: 7, [1, 2], range(10)", seed)
    return seeds


def _marked_config(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if config is not None and not isinstance(config, Mapping):
        raise _refused("config", "a dict of Celery settings", config)
    return config


def _marked_replace(replace: object) -> bool:
    if not isinstance(replace, bool):
        raise _refused("replace", "True or False: whether the drop-in serves this test", replace)
    return replace


def _listed(value: Any) -> list[Any]:
    """The values of an iterable; a text, or anything else, is one value."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, type)) else [value]


def _refused(argument: str, wanted: str, given: object) -> ConfigurationError:
    return ConfigurationError(f"@pytest.mark.taskharness({argument}=…) takes {wanted}; given: {given!r}")


def _merged(closer: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    """One marker on top of another: settings merge key by key, ``mode`` and ``modes`` are spellings of one thing."""
    decided = {"mode", "modes"} if {"mode", "modes"} & closer.keys() else set()
    both = {**{name: value for name, value in outer.items() if name not in decided}, **closer}
    configs = [marker["config"] for marker in (outer, closer) if isinstance(marker.get("config"), Mapping)]
    return {**both, "config": {**configs[0], **configs[1]}} if len(configs) == 2 else both


def read_marker(markers: Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> MarkerOptions:
    """Merge the markers of a test, the closest one first.

    Raises:
        ConfigurationError: An argument is unknown, positional, or cannot be used.
    """
    merged: dict[str, Any] = {}
    for args, kwargs in markers:
        if args:
            raise ConfigurationError(
                f"@pytest.mark.taskharness takes keyword arguments only; given: {', '.join(map(repr, args))}"
            )
        merged = _merged(merged, kwargs)
    try:
        return marker_options(**merged)
    except TypeError as error:
        text = str(error).replace("marker_options()", "@pytest.mark.taskharness")
        raise ConfigurationError(f"{text}\nIt is {MARKER.partition(':')[0]}.") from None
