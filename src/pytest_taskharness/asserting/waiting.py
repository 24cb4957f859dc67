"""What may publish the message that is missing, and has not had its turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..timeline import Run
from .evidence import Evidence
from .texts import counted

__all__ = ["applied", "uncommitted", "undriven"]

__tracebackhide__ = True


def applied(x: Any) -> list[str]:
    """The result of ``apply()``, which publishes nothing."""
    text = "apply() has run the body at once, without a message and a worker: use harness.perform(task.s(…))"
    return [text] if type(x).__name__ == "EagerResult" else []


def undriven(evidence: Evidence, runs: Sequence[Run]) -> list[str]:
    """Runs that the test has published, and not driven."""
    if evidence.world is None or any(run.attempts for run in runs):
        return []
    pending = [run for run in runs if run.state == "PENDING" and evidence.stuck(run) is None]
    return ["nothing has been driven yet: call harness.drain() or harness.settle()"] if pending else []


def uncommitted(evidence: Evidence) -> list[str]:
    """Django calls nothing at the commit of a transaction that a test rolls back."""
    waiting = 0 if evidence.world is None else evidence.world.uncommitted
    text = (
        f"waiting for a commit, which this test's own transaction never makes: {counted(waiting, 'call')} of "
        "transaction.on_commit() or delay_on_commit(). Use captureOnCommitCallbacks(execute=True), or the fixture "
        "django_capture_on_commit_callbacks"
    )
    return [text] if waiting else []
