"""Assertions about a timeline: what was enqueued, how it went, when it ran, and whether anything was lost.

Nothing in this room knows Celery, pytest or a clock.  An expectation is whatever looks like a Celery signature.
"""

from __future__ import annotations

from .accounting import Accounting
from .enqueued import EnqueuedAssertions
from .evidence import Registry, World
from .lookup import Lookup
from .matchers import exactly, including
from .outcomes import OutcomeAssertions
from .timing import TimingAssertions

__all__ = ["Assertions", "Registry", "World", "exactly", "including"]

__tracebackhide__ = True


class Assertions(EnqueuedAssertions, OutcomeAssertions, TimingAssertions, Accounting, Lookup):
    """All assertions that need nothing but a timeline; the harness is one of these.

    Example:
        ``Assertions(Timeline.from_json(text)).assert_enqueued(send_email.s(user_id=7))``
    """
