"""Keys that expire: a real server counts real seconds, and the test moves the clock of its workers alone."""

from __future__ import annotations

from datetime import timedelta

from ..broker.redis_broker import RedisBroker, _escaped

__all__ = ["shift_expiry"]

#: In one round trip; the keys of one harness are few.
_SHIFT = """
local cursor = '0'
repeat
    local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
    cursor = found[1]
    for _, key in ipairs(found[2]) do
        local left = redis.call('PTTL', key)
        if left >= 0 and left <= tonumber(ARGV[2]) then
            redis.call('UNLINK', key)
        elseif left >= 0 then
            redis.call('PEXPIRE', key, left - tonumber(ARGV[2]))
        end
    end
until cursor == '0'
"""


def shift_expiry(broker: RedisBroker, step: timedelta) -> None:
    """Let so much time pass for the keys of this harness; no other key is touched."""
    broker.client.eval(_SHIFT, 0, f"{_escaped(broker.own_prefix)}*", step // timedelta(milliseconds=1))
