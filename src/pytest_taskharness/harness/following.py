"""Which broker the memory broker follows: the one that the app is configured for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..broker.profiles import Profile, profile_for, visibility_timeout_in
from ..errors import FidelityError

if TYPE_CHECKING:
    from .staging import Stage

__all__ = ["profile_of"]


def profile_of(stage: Stage, app: Any) -> Profile:
    """How the broker behaves that the app is configured for.

    Raises:
        FidelityError: The test asks for something that this broker does not have.
    """
    from ..worker.supplies.supply import broker_url, options_for

    url = broker_url(app, stage.config)
    profile = profile_for(url)
    if stage.mode == "eager":
        return replace(profile, visibility_timeout=None, consumer_timeout=None)
    if stage.consumer_timeout is not None:
        profile = _with_consumer_timeout(stage, profile, url)
    if profile.visibility_timeout is not None:
        timeout = visibility_timeout_in(options_for(app, stage.config, stage.visibility_timeout))
        return replace(profile, visibility_timeout=timeout)
    if stage.visibility_timeout is not None:
        raise FidelityError(
            f"visibility_timeout={stage.visibility_timeout!r} belongs to Redis; mode 'memory' follows the app's "
            f"broker_url, which is {_scheme(url)}. Run this test with mode='fakeredis', 'redis' or "
            "'redis+process', or with config={'broker_url': 'redis://'}."
        )
    return profile


def _with_consumer_timeout(stage: Stage, profile: Profile, url: str | None) -> Profile:
    if profile.consumer_timeout is None:
        raise FidelityError(
            f"consumer_timeout={stage.consumer_timeout!r} belongs to RabbitMQ; mode 'memory' follows the app's "
            f"broker_url, which is {_scheme(url)}. Leave it out, or run this test with "
            "config={'broker_url': 'amqp://'}."
        )
    return replace(profile, consumer_timeout=stage.consumer_timeout)


def _scheme(url: str | None) -> str:
    """A URL may have a password."""
    return f"'{url.partition('://')[0]}://…'" if url else "not set"
