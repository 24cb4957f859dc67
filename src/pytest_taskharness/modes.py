"""The names of the modes, and what is to be said about each."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import ConfigurationError
from .wording import did_you_mean

__all__ = ["DEFAULT", "MODES", "PLANNED", "parse"]

DEFAULT = "memory"

#: What works in this version.
MODES = {
    "eager": "no broker: the body runs at the call",
    "memory": "a broker of our own in this process, a stepped worker",
    "fakeredis": "kombu's redis transport over fakeredis, a stepped worker",
    "redis": "a real Redis, a stepped worker",
    "redis+process": "a real Redis and a real worker process",
    "rabbitmq": "a real RabbitMQ, a stepped worker",
    "rabbitmq+process": "a real RabbitMQ and a real worker process; results are on a Redis",
}

#: What the names of later versions will mean.
PLANNED = {
    "external": "a broker and workers that already run",
}


def parse(values: Iterable[str], *, origin: str) -> tuple[str, ...]:
    """The modes that a list of comma-separated names asks for; ``all`` is every mode of this version.

    Raises:
        ConfigurationError: A name is not a mode, or not one of this version.
    """
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    chosen = [mode for name in names for mode in (MODES if name == "all" else [check(name, origin=origin)])]
    if not chosen:
        raise ConfigurationError(f"{origin} names no mode. Modes: {', '.join(MODES)}, or all.")
    return tuple(dict.fromkeys(chosen))


def check(name: str, *, origin: str) -> str:
    """One mode's name."""
    if not isinstance(name, str):
        raise ConfigurationError(f"{origin} takes the name of a mode ({', '.join(MODES)}); given: {name!r}")
    if name in MODES:
        return name
    if name in PLANNED:
        raise ConfigurationError(
            f"mode {name!r} (from {origin}) is planned and not in this version. Modes that work: {', '.join(MODES)}."
        )

    meant = did_you_mean(name, MODES)
    raise ConfigurationError(f"unknown mode {name!r} (from {origin}).{meant} Modes: {', '.join(MODES)}, or all.")
