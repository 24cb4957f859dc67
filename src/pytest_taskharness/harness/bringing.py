"""``harness.bring_to()``: one run, at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, hide_frames
from ..timeline import Run
from ..wording import did_you_mean
from ..worker.bringing import MOMENTS

if TYPE_CHECKING:
    from .harness import Harness

__all__ = ["bring_to"]

__tracebackhide__ = hide_frames


def bring_to(harness: Harness, x: Any, moment: str) -> Run:
    """Drive until the run of ``x`` is at a moment; see :meth:`Harness.bring_to`."""
    if moment not in MOMENTS:
        listed = ", ".join(map(repr, MOMENTS))
        raise ConfigurationError(
            f"bring_to() takes a moment: {listed}; given: {moment!r}.{did_you_mean(str(moment), MOMENTS)}"
        )
    task_id = _id_of(harness, x)
    harness._open().bring_to(task_id, moment)  # noqa: SLF001 - one of our own
    return harness.run_of(task_id)


def _id_of(harness: Harness, x: Any) -> str:
    """The id that is meant; of a result also where nothing was published under it yet, as of the end of a chain."""
    results = getattr(x, "results", None)
    if isinstance(results, list):
        raise ConfigurationError(
            f"bring_to() takes one run; given: the result of a group of {len(results)}. Say which one: "
            f"result.results[0], for instance."
        )
    is_task = hasattr(x, "apply_async") or isinstance(x, str)
    found = None if is_task else getattr(x, "id", None)
    return found if isinstance(found, str) else harness.run_of(x).id
