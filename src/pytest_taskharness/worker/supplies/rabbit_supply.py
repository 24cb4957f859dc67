"""RabbitMQ as a mode's supply: kombu's transport over a real server, and results in this process."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from ...broker.profiles import Profile
from ...broker.rabbit_access import RabbitAccess
from ...broker.rabbit_broker import RabbitBroker
from ...broker.rabbit_transport import connect
from ...clock.virtual import VirtualTime
from ...servers.rabbitmq import RabbitServer
from ..bodies.forked import Ferry
from ..borrowing.takeover import connect_anew
from .backend import MemoryBackend
from .rpc_backend import SteppedRPCBackend, wants_rpc
from .supply import Supply, broker_at, options_for, record_deaths

__all__ = ["rabbit_supply"]

#: By URL, and whether it is ours alone.
_servers: dict[tuple[str, bool], RabbitAccess] = {}
_lock = threading.Lock()


def rabbit_supply(
    app: Any, config: Mapping[str, Any], *, time: VirtualTime, server: RabbitServer, profile: Profile
) -> Supply:
    """A real server; everything that this harness declares there has a name of its own.

    Args:
        app: The app.
        config: The settings of this test.
        time: The clock.
        server: Where, and who knows what became of it when a connection breaks.
        profile: For how long a consumer may hold a delivery.
    """
    with _lock:
        if (server.url, server.owned) not in _servers:
            access = RabbitAccess(server.url, partial(_explain, server), is_shared=not server.owned)
            _servers[server.url, server.owned] = access
            atexit.register(access.close)
    options = options_for(app, config, None)
    broker = RabbitBroker(_servers[server.url, server.owned], lambda: time.now, profile=profile, options=options)
    url = broker.access.url
    rpc = wants_rpc(config.get("result_backend") or app.conf.result_backend)
    settings = {
        **broker_at(url),
        "broker_transport_options": broker.options,
        "broker_use_ssl": None,
        "result_backend": "rpc://" if rpc else "cache+memory://",
    }
    backend = SteppedRPCBackend if rpc else MemoryBackend
    return Supply(
        broker,
        settings,
        lambda: connect(broker),
        lambda waits: backend(app, waits=waits),
        partial(record_deaths, broker),
        lambda backend: ServerFerry(app, broker, backend),
    )


def _explain(server: RabbitServer) -> str | None:
    """Why a connection broke, where the server is dead."""
    explanation = server.explain_death()
    if explanation is not None:
        access = _servers.pop((server.url, server.owned), None)
        if access is not None:
            access.drop()
    return explanation


class ServerFerry(Ferry):
    """Carries back what a child has stored; what it has published, the server has."""

    def __init__(self, app: Any, broker: RabbitBroker, backend: Any) -> None:
        """As for a broker of this process, but for the messages."""
        super().__init__(broker, backend, land=broker.landed)
        self._app = app

    def cast_off(self) -> None:
        """In the child: its parent's connections are not its own."""
        super().cast_off()
        with self._broker.reached():
            self._app.pool._resource.queue.clear()
            connect_anew(self._app)
