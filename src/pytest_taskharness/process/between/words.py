"""Words that a worker's process and the test's have agreed on."""

from __future__ import annotations

__all__ = ["BEAT", "COMMANDS", "LEAVES_NO_TRACE", "LIFE"]

#: The named pipe, in a worker's directory, by which it is asked something.
COMMANDS = "commands"
#: What stands in the notes of a beat where those of a body have the name of its execution.
BEAT = "beat"
#: What the queue is called whose only message a worker holds as long as it is connected; its name follows.
LIFE = "taskharness-life-"
#: Commands of remote control that leave a worker as it was.
LEAVES_NO_TRACE = frozenset({
    "active", "active_queues", "clock", "conf", "hello", "memdump", "objgraph", "ping", "query_task", "registered",
    "report", "reserved", "revoke", "revoke_by_stamped_headers", "scheduled", "stats",
})  # fmt: skip
