"""``python -m benchmarks.foreign CHECKOUT``: a suite of somebody else, without the drop-in and with it.

It runs the suite's tests as they are, in an environment in which they already pass, and compares test by test.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from .measure import now

__all__ = ["WAYS", "Run", "Verdict", "compared", "main", "outcomes_of", "report"]

DROPIN = "taskharness_replace_celery_fixtures=true"
#: What pytest is told in addition, for each way to run a suite.
WAYS: Mapping[str, tuple[str, ...]] = {
    "stock": ("-p", "no:taskharness"),
    "idle": (),
    "drop-in": ("-o", DROPIN),
}
#: A test that has several of them (a failure and an error in its tear-down) has the worst.
WORST = ("error", "failure", "skipped")


@dataclass(frozen=True)
class Run:
    """One run of a suite.

    Attributes:
        seconds: How long pytest took, from outside.
        busy: How long it computed, which is what it takes at best on a machine that has nothing else to do.
        outcomes: What became of each test: ``passed``, ``failure``, ``error`` or ``skipped``.
        messages: The first line of what a test said that did not pass.
    """

    seconds: float
    busy: float
    outcomes: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """One way beside the stock one.

    Attributes:
        way: Its name.
        seconds: The median of its runs.
        busy: The median of what they computed.
        ratio: How many times faster than the stock one it is.
        counts: How many tests had which outcome, in its last run.
        differing: The tests whose outcomes are others than with the stock fixtures, in each of the runs.
    """

    way: str
    seconds: float
    busy: float
    ratio: float
    counts: Mapping[str, int]
    differing: Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, print; 1 where an outcome differs."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    runs: dict[str, list[Run]] = {way: [] for way in options.way or WAYS}
    for number in range(options.rounds):
        for way, taken in runs.items():
            taken.append(_run(options, way))
            print(f"round {number + 1}, {way}: {_counted(taken[-1].outcomes)}", file=sys.stderr, flush=True)
    verdicts = compared(runs)
    print(report(Path(options.checkout).resolve().name, verdicts))
    return int(any(verdict.differing for verdict in verdicts))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    ours, theirs = list(arguments), []
    if "--" in ours:
        ours, theirs = ours[: ours.index("--")], ours[ours.index("--") + 1 :]
    return _parser().parse_args(ours, argparse.Namespace(pytest_arguments=theirs))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.foreign",
        description="A suite of somebody else, without the drop-in and with it. What follows `--` goes to pytest.",
    )
    parser.add_argument("checkout", help="the directory in which its tests are run")
    parser.add_argument("--python", default=sys.executable, help="that of an environment in which the tests pass")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default: 3)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one run (default: 900)")
    parser.add_argument(
        "--way", action="append", choices=list(WAYS), help="only this one (repeatable; the first is compared with)"
    )
    return parser


def _run(options: argparse.Namespace, way: str) -> Run:
    with TemporaryDirectory() as directory:
        written = Path(directory) / "junit.xml"
        command = [options.python, "-m", "pytest", *options.pytest_arguments, *WAYS[way], f"--junitxml={written}"]
        start, computed = now(), _computed()
        ended = subprocess.run(
            command, cwd=options.checkout, timeout=options.timeout, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        seconds, busy = now() - start, _computed() - computed
        if not written.exists():
            raise SystemExit(f"{' '.join(command)} has written no report; it said:\n{ended.stdout[-3000:]}")
        outcomes, messages = outcomes_of(written.read_text(encoding="utf-8"))
    return Run(seconds, busy, outcomes, messages)


def _computed() -> float:
    """The processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def outcomes_of(junit: str) -> tuple[dict[str, str], dict[str, str]]:
    """The outcomes in a JUnit report, and the first line of what each test said that did not pass."""
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        said = {part.tag: part for part in case if part.tag in WORST}
        worst = next((tag for tag in WORST if tag in said), "passed")
        if name in outcomes and worst == "passed":
            continue  # pytest writes a case twice where its tear-down has failed
        outcomes[name] = worst
        if worst != "passed":
            messages[name] = (said[worst].get("message") or "").partition("\n")[0]
    return outcomes, messages


def compared(runs: Mapping[str, Sequence[Run]]) -> list[Verdict]:
    """Each way beside the first one."""
    base = next(iter(runs.values()))
    return [_verdict(way, taken, base=base) for way, taken in runs.items()]


def _verdict(way: str, runs: Sequence[Run], *, base: Sequence[Run]) -> Verdict:
    last = runs[-1].outcomes
    return Verdict(
        way,
        median([run.seconds for run in runs]),
        median([run.busy for run in runs]),
        median([theirs.seconds / ours.seconds for theirs, ours in zip(base, runs, strict=True)]),
        {outcome: list(last.values()).count(outcome) for outcome in ("passed", *reversed(WORST))},
        _differing(runs, base),
    )


def _differing(runs: Sequence[Run], base: Sequence[Run]) -> dict[str, str]:
    """A test that is flaky with the stock fixtures may be so with others: what differs is what never was the same.

    A test that some run of the same way has not, is named anew in each run (by a random value, say): nobody can tell.
    """
    names = {name: None for run in (*base, *runs) for name in run.outcomes}
    differing = {}
    for name in names:
        if any(len({name in run.outcomes for run in some}) == 2 for some in (base, runs)):
            continue
        theirs, ours = ({run.outcomes.get(name, "missing") for run in some} for some in (base, runs))
        if not ours <= theirs:
            said = next((run.messages[name] for run in runs if run.messages.get(name)), "")
            differing[name] = f"{_listed(theirs)}, now {_listed(ours)}{': ' if said else ''}{said}"
    return differing


def _listed(outcomes: set[str]) -> str:
    return " or ".join(sorted(outcomes))


def report(name: str, verdicts: Sequence[Verdict]) -> str:
    """A Markdown table, and below it what differs."""
    lines = ["| suite | way | tests | seconds | of them busy | times as fast |", "|---|---|---|---|---|---|"]
    for verdict in verdicts:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in verdict.counts.items() if number)
        times = f"{verdict.seconds:.1f} | {verdict.busy:.1f} | {verdict.ratio:.1f}"
        lines.append(f"| {name} | {verdict.way} | {counts} | {times} |")
    for verdict in verdicts:
        lines += [f"\n{verdict.way}: {test}: {what}" for test, what in verdict.differing.items()]
    return "\n".join(lines)


def _counted(outcomes: Mapping[str, str]) -> str:
    found = list(outcomes.values())
    return ", ".join(f"{found.count(outcome)} {outcome}" for outcome in sorted(set(found))) or "no tests"


if __name__ == "__main__":
    sys.exit(main())
