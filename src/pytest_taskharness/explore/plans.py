"""What is done to one message, and the names of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigurationError
from ..faults import CrashWindow
from ..wording import did_you_mean

__all__ = ["AGAIN", "GROUPS", "ONCE", "Plan", "Selection", "ordinal", "together"]

#: What ``plans=`` may say beside the names of plans, and the kinds of plan that it means.
GROUPS: Final = {
    "all": ("once", "again", "crash", "together"),
    "sequence": ("once", "again"),
    "crashes": ("crash",),
    "together": ("together",),
}

_FORMS = "once, again, crash:node@before_ack, crash:child@in_body:24, together:2,3"
_SCHEDULE = re.compile(r"[1-9]\d*(,[1-9]\d*)*\Z", re.ASCII)


@dataclass(frozen=True)
class Plan:
    """One way in which a message may come to its end.

    Attributes:
        kind: ``once``, ``again``, ``crash`` or ``together``.
        window: Of ``crash``: where what dies.
        schedule: Of ``together``: how many lines the first copy runs, then the second, then the first again, …
    """

    kind: str
    window: CrashWindow | None = None
    schedule: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str, *, origin: str) -> Plan:
        """Read back what ``str()`` has written.

        Raises:
            ConfigurationError: It is no plan; the text names the nearest.
        """
        kind, _, rest = text.partition(":")
        if kind == "crash" and rest:
            return cls("crash", CrashWindow.parse(rest))
        if kind == "together" and _SCHEDULE.match(rest):
            return together(tuple(map(int, rest.split(","))))
        if kind in {"once", "again"} and not rest:
            return cls(kind)
        raise ConfigurationError(_no_plan(text, origin))

    def __str__(self) -> str:
        """As ``crash:node@in_body:24``."""
        rest = str(self.window) if self.window else ",".join(map(str, self.schedule))
        return f"{self.kind}:{rest}" if rest else self.kind


ONCE: Final = Plan("once")
AGAIN: Final = Plan("again")


def together(schedule: tuple[int, ...]) -> Plan:
    """Two copies at once."""
    return Plan("together", schedule=schedule)


@dataclass(frozen=True)
class Selection:
    """Which plans were asked for.

    Attributes:
        kinds: All plans of these kinds.
        named: And these.
        origin: Who has asked.
    """

    kinds: frozenset[str]
    named: tuple[Plan, ...] = ()
    origin: str = "plans="

    @classmethod
    def of(cls, plans: str | Iterable[str]) -> Selection:
        """Read ``plans=``.

        Raises:
            ConfigurationError: A name is neither a plan nor a group of plans.
        """
        names = [plans] if isinstance(plans, str) else list(_texts(plans))
        if not names:
            raise ConfigurationError(f"plans= names no plan. Groups: {_listed(GROUPS)}; plans: {_FORMS}, …")
        kinds = frozenset(kind for name in names for kind in GROUPS.get(name, ()))
        named = (Plan.parse(name, origin="plans=") for name in names if name not in GROUPS)
        return cls(kinds, tuple(dict.fromkeys(named)))

    @classmethod
    def only(cls, plan: str, *, origin: str) -> Selection:
        """One plan, by its name."""
        return cls(frozenset(), (Plan.parse(plan, origin=origin),), origin)

    def wants(self, kind: str) -> bool:
        """Whether all plans of a kind are asked for."""
        return kind in self.kinds

    def named_of(self, kind: str) -> list[Plan]:
        """The plans of a kind that were named one by one."""
        return [plan for plan in self.named if plan.kind == kind]

    @property
    def all_kinds(self) -> frozenset[str]:
        """The kinds of all plans that were asked for, one by one or together."""
        return self.kinds | {plan.kind for plan in self.named}


def _texts(plans: object) -> Sequence[str]:
    names: list[Any] = list(plans) if isinstance(plans, Iterable) else [plans]
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"plans= takes names, such as 'all' or ['again', 'together']; given: {plans!r}")
    return names


def _no_plan(text: str, origin: str) -> str:
    meant = did_you_mean(text, [*GROUPS, "once", "again"])
    return f"{text!r} (from {origin}) is no plan.{meant} Groups: {_listed(GROUPS)}; plans: {_FORMS}, …"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def ordinal(number: int) -> str:
    """As ``2nd``."""
    tens, ones = divmod(number % 100, 10)
    return f"{number}{'th' if tens == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(ones, 'th')}"
