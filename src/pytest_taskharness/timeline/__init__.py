"""What happened: events, and the messages, runs and tally that are read off them.

Nothing in this room knows Celery, pytest or a clock, so a timeline loaded from a file can do all that a live one
can.
"""

from .events import KINDS, CallSite, Event, State, TaskName, short_id
from .message import Message
from .runs import Attempt, Run
from .tally import Tally
from .timeline import Timeline

__all__ = [
    "KINDS", "Attempt", "CallSite", "Event", "Message", "Run", "State", "Tally", "TaskName", "Timeline", "short_id",
]  # fmt: skip
