"""Keys that go: by the clock of the test, which the server does not know, and when the test is over."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from ...broker.redis_broker import RedisBroker, escaped

__all__ = ["clean_between_tests", "shift_expiry"]

#: All but the bindings of the queues that a worker consumes from the start: it believes that they are there.
_CLEAN = """
local kept = {}
for each = 3, #ARGV do kept[ARGV[each]] = true end
local cursor = '0'
repeat
    local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
    cursor = found[1]
    for _, key in ipairs(found[2]) do
        if string.find(key, '_kombu.binding.', 1, true) then
            for _, binding in ipairs(redis.call('SMEMBERS', key)) do
                local queue = string.match(binding, ARGV[2] .. '([^' .. ARGV[2] .. ']*)$')
                if not (kept[queue] or string.find(queue or '', '@taskharness.celery.pidbox', 1, true)) then
                    redis.call('SREM', key, binding)
                end
            end
        else
            redis.call('UNLINK', key)
        end
    end
until cursor == '0'
"""
#: The last character of what stands between the three parts of a binding; the queue comes last.
_SEPARATOR = "\x16"

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


def clean_between_tests(broker: RedisBroker, kept: Iterable[str]) -> None:
    """Delete what the next test must not see; kept are the bindings of these queues."""
    broker.client.eval(_CLEAN, 0, f"{escaped(broker.own_prefix)}*", _SEPARATOR, *kept)
