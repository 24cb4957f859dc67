"""Keys that go: by the clock of the test, which the server does not know, and when the test is over."""

from __future__ import annotations

from datetime import timedelta

from ..broker.redis_broker import RedisBroker, escaped

__all__ = ["clean_between_tests", "shift_expiry"]

#: All but the bindings of queues, which a worker that goes on believes to be there; those of replies are the test's.
_CLEAN = """
local cursor = '0'
repeat
    local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
    cursor = found[1]
    for _, key in ipairs(found[2]) do
        if not string.find(key, '_kombu.binding', 1, true) or string.find(key, 'reply', 1, true) then
            redis.call('UNLINK', key)
        end
    end
until cursor == '0'
"""

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
    broker.client.eval(_SHIFT, 0, f"{escaped(broker.own_prefix)}*", step // timedelta(milliseconds=1))


def clean_between_tests(broker: RedisBroker) -> None:
    """Delete what the next test must not see."""
    broker.client.eval(_CLEAN, 0, f"{escaped(broker.own_prefix)}*")
