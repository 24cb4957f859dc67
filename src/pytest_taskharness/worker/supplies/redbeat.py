"""RedBeat keeps its schedule on a Redis: here on the harness's own, under the harness's own prefix."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from ...broker.redis_broker import RedisBroker
from ...servers.given import GivenURL

__all__ = ["lead_redbeat_home", "redbeat_settings"]

#: RedBeat's own default.
PREFIX = "redbeat:"


@cache
def _is_installed() -> bool:
    return find_spec("redbeat") is not None


def redbeat_settings(app: Any, broker: RedisBroker) -> dict[str, Any]:
    """What leads RedBeat there, whatever URL, sentinels or cluster the app names."""
    if not _is_installed():
        return {}
    return {
        "redbeat_redis_url": GivenURL(broker.access.url, source="").for_redis_py(),
        "redbeat_redis_use_ssl": None,
        "redbeat_redis_options": {},
        "redbeat_key_prefix": f"{broker.own_prefix}{app.conf.get('redbeat_key_prefix') or PREFIX}",
    }


def lead_redbeat_home(app: Any, broker: RedisBroker) -> None:
    """In the test process the client is ours: it has a patience, and fakeredis has no URL."""
    if _is_installed():
        app.redbeat_redis = broker.access.decoding
