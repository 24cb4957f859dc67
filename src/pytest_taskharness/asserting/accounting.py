"""The assertion that no message got lost."""

from __future__ import annotations

from ..timeline import Run, Tally
from .evidence import Asserting, Evidence
from .texts import counted, indented, run_text, site

__all__ = ["Accounting"]

__tracebackhide__ = True

_FATES = {
    "ack": ("acknowledged", ", and yet it never ended; with acks_late=True the broker would still have it"),
    "expire": ("expired", " in its queue"),
    "reject": ("rejected", " without being requeued, so the broker dropped it"),
}


class Accounting(Asserting):
    """Jepsen's total-queue accounting as an assertion."""

    def assert_nothing_lost(self) -> Tally:
        """Every message that is gone from the broker came to an end.

        Returns:
            The whole account: what was lost, duplicated, unexpected or unknown.

        Raises:
            AssertionError: Some were lost; for each it says where it came from and what became of it.
        """
        tally = self._evidence.timeline.tally
        if tally.lost:
            verb = "was" if len(tally.lost) == 1 else "were"
            lines = [f"expected nothing to be lost, but {counted(len(tally.lost), 'message')} {verb}"]
            lines += [line for run in tally.lost for line in _fate(run, self._evidence)]
            raise AssertionError("\n".join(lines))
        return tally


def _fate(run: Run, evidence: Evidence) -> list[str]:
    message = run.messages[-1]
    gone = [event for event in run.timeline if event.kind in _FATES][-1]
    verb, rest = _FATES[gone.kind]
    by = f" by {gone.worker}" if gone.worker else ""
    origin = f"enqueued {site(message)}, {evidence.offset(message.at)}"
    return indented([run_text(run), f"    {origin}", f"    {verb}{by}{rest}, {evidence.offset(gone.at)}"])
