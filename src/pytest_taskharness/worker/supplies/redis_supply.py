"""Redis as a mode's supply: kombu's transport and Celery's backend, over a real server or over fakeredis."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ...broker.redis_access import RedisAccess, fake_access, real_access
from ...broker.redis_broker import RedisBroker
from ...broker.redis_transport import connect
from ...clock.virtual import VirtualTime
from ...servers.given import KEY_PREFIX, GivenURL
from ...servers.redis import RedisServer
from ..bodies.forked import Ferry
from .awaiting import Waiting
from .redbeat import lead_redbeat_home, redbeat_settings
from .redis_backend import SteppedRedisBackend
from .supply import Supply, broker_at

__all__ = ["fakeredis_supply", "redis_supply"]

#: How long to wait for the end of a server that has closed a connection, in real seconds.
DYING = 1.0
#: By URL.
_servers: dict[str, RedisAccess] = {}
_lock = threading.Lock()


def fakeredis_supply(app: Any, options: Mapping[str, Any], *, time: VirtualTime) -> Supply:
    """A fake server in this process, of this harness alone."""
    return _supply(app, RedisBroker(fake_access(), lambda: time.now, options=options))


def redis_supply(
    app: Any, options: Mapping[str, Any], *, time: VirtualTime, url: str, server: RedisServer | None = None
) -> Supply:
    """A real server; everything that this harness writes there has a prefix of its own.

    Args:
        app: The app.
        options: kombu's transport options.
        time: The clock.
        url: The server, as Celery takes it.
        server: Who knows what became of it, when a connection breaks.
    """
    with _lock:
        if url not in _servers:
            _servers[url] = real_access(url, GivenURL(url, source="").for_redis_py(), partial(_explain, server))
    broker = RedisBroker(_servers[url], lambda: time.now, options=options, key_prefix=KEY_PREFIX)
    return replace(_supply(app, broker), ferry=lambda backend: Ferry(broker, backend, land=broker.remember))


def _explain(server: RedisServer | None) -> str | None:
    """Why a connection broke, where the server is dead."""
    if server is None:
        return None
    if server.process is not None:
        server.process.wait(DYING)  # its sockets close a moment before it has ended
    explanation = server.explain_death()
    if explanation is not None:
        _servers.pop(server.url, None)
    return explanation


def _supply(app: Any, broker: RedisBroker) -> Supply:
    url = broker.access.url
    settings = {
        **broker_at(url),
        "broker_transport_options": broker.options,
        "broker_use_ssl": None,
        "result_backend": url,
        "redis_backend_use_ssl": None,
        "result_backend_transport_options": _backend_options(app, broker.own_prefix),
        **redbeat_settings(app, broker),
    }

    def make_backend(waits: Waiting) -> Any:
        lead_redbeat_home(app, broker)
        return SteppedRedisBackend(app, broker=broker, waits=waits)

    return Supply(broker, settings, lambda: connect(broker), make_backend)


def _backend_options(app: Any, prefix: str) -> dict[str, Any]:
    options = dict(app.conf.get("result_backend_transport_options") or {})
    return {**options, "global_keyprefix": f"{prefix}{options.get('global_keyprefix', '')}"}
