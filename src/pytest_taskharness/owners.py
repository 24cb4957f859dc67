"""Who asks the drop-in for a worker, how long that lasts, and what is said where it cannot be so."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError, FidelityError, hide_frames

if TYPE_CHECKING:
    import pytest

    from .config import MarkerOptions
    from .harness import Harness

__all__ = ["Asker", "Entered", "Lasting", "Since", "checked", "not_apart", "not_in_a_thread"]

__tracebackhide__ = hide_frames

#: Where the marker has to be, for a fixture that lasts so long.
_MARKED = {
    "class": "put the marker on the class, for all its tests",
    "module": "put it into the pytestmark of the module, for all its tests",
}


@dataclass(frozen=True)
class Asker:
    """A fixture, or a test itself.

    Attributes:
        owner: The test, or the request of the fixture.
        fixture: None where the test itself has called ``start_worker``.
    """

    owner: Any
    fixture: pytest.FixtureDef[Any] | None = None

    @property
    def node(self) -> Any:
        """What has the markers: the test, its class, its module, the session."""
        return self.owner if self.fixture is None else self.owner.node

    def is_used_by(self, item: pytest.Item) -> bool:
        """Whether it is this test, or a fixture that this test asks for, itself or by another fixture."""
        if self.fixture is None:
            return self.owner is item
        return self.fixture.argname in getattr(item, "fixturenames", ())

    def has_ended(self, ended: list[Any]) -> bool:
        """Whether it is one of these, tests and fixtures."""
        mine = self.owner if self.fixture is None else self.fixture
        return any(each is mine for each in ended)


@dataclass
class Lasting:
    """A harness that may outlive a test.

    Attributes:
        harness: It is here while a test runs that uses it, and away between them.
        asker: Who has opened it; None where that was no test and no fixture, so that every test uses it.
    """

    harness: Harness
    asker: Asker | None

    def is_used_by(self, item: pytest.Item) -> bool:
        """Whether the test asks for it."""
        return self.asker is None or self.asker.is_used_by(item)


@dataclass(eq=False)
class Entered:
    """A call of ``start_worker`` that has been entered, and not left yet.

    Attributes:
        asker: Who has called.
        harness: What steps the worker.
        place: The line of the call.
        stack: Ends it.
        is_over: Whether the one who has called has ended without leaving it.
    """

    asker: Asker | None
    harness: Harness
    place: str
    stack: ExitStack
    is_over: bool = False

    def text(self, *, goes_on: bool) -> str:
        """What the user is told, once."""
        now = "This one goes on for tests that send to its app or wait for its tasks; all others have the real clock."
        return (
            f"expected start_worker() to be left where it was entered; the call at {self.place} never was. Celery's "
            "worker would go on in its thread to the end of the process, and take messages of other tests. "
            f"{now if goes_on else 'This one has ended with its app.'} Use it in a `with`, or let the tear-down call "
            "its __exit__(None, None, None)."
        )


def checked(marker: MarkerOptions) -> MarkerOptions:
    """What the drop-in can do with it.

    Raises:
        ConfigurationError: How many workers there are, Celery's fixtures say.
    """
    if marker.workers != 1:
        raise ConfigurationError(
            f"expected as many workers as celery_worker and start_worker() start; found workers={marker.workers!r} in "
            "@pytest.mark.taskharness, which is for the fixture `harness`. Start one more with "
            "`with start_worker(celery_app, hostname='second@here'):`, or with celery_worker.harness.worker('second')."
        )
    return marker


def not_apart(lasting: Lasting) -> FidelityError:
    """A test that must have a worker in a thread relies on one that is stepped."""
    fixture = lasting.asker.fixture if lasting.asker else None
    name, scope = (fixture.argname, fixture.scope) if fixture else ("", "session")
    return FidelityError(
        "expected a worker in a thread, as @pytest.mark.taskharness(replace=False) says; found none but the stepped "
        f"one that the fixture {name!r} is there for. What belongs to a {scope} is one or the other for all its tests: "
        f"{_MARKED.get(scope, 'leave out the marker')}; or let this test use celery_worker, which is its own."
    )


def not_in_a_thread(app: Any) -> FidelityError:
    """``start_worker`` on an app that publishes to a broker of ours."""
    return FidelityError(
        "expected an app of the test's own for a worker in a thread, as @pytest.mark.taskharness(replace=False) says; "
        f"found {app.main or app!r}, whose messages go to a stepped worker as long as another fixture, or the harness, "
        "is there. Call start_worker() on another app, such as that of celery_app, or leave out the marker."
    )


class Since:
    """A harness, as the report of one of its tests shows it."""

    def __init__(self, harness: Harness, since: int) -> None:
        """Its events from this one on."""
        self._harness = harness
        self._since = since
        self.mode, self.seed, self.worker_logs = harness.mode, harness.seed, harness.worker_logs

    @property
    def timeline(self) -> Any:
        """The part that belongs to the test."""
        timeline = self._harness.timeline
        return SimpleNamespace(start=timeline.start, events=timeline.events[self._since :])
