"""Prints what the harness makes of each task of the corpus: ``python tests/corpus/table.py [-k words] [--markdown]``.

A wrong task that no plan of the kind on its label catches is ``MISSED``, a right one that any plan accuses is
``FALSE``.  With ``--markdown`` it prints the tables that stand in the documentation; ``--write`` puts them there.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from corpus_case import KINDS, TOPICS, Case, app, load

from pytest_taskharness import Harness

ROOT = Path(__file__).parents[2]
#: Where in a document the tables stand.
PLACE = re.compile(r"(<!-- corpus: (?P<which>\w+) -->\n).*?(<!-- corpus: end -->)", re.DOTALL)
DOCUMENTS = ("docs/idempotency.md", "docs/corpus.md")


@cache
def accusation(name: str, plans: str) -> str:
    """Why the harness takes a task for wrong; empty where it does not."""
    case = load()[name]
    with Harness.open(app, "memory") as harness:
        try:
            harness.assert_idempotent(case.sig, observe=case.observe, reset=case.reset, plans=plans, lines=case.lines)
        except AssertionError as error:
            return str(error)
    return ""


def catching(case: Case) -> tuple[str, ...]:
    """The kinds of plan that take a task for wrong."""
    if not case.wrong and not accusation(case.name, "all"):
        return ()
    return tuple(kind for kind, plans in KINDS.items() if accusation(case.name, plans))


def verdict(case: Case) -> str:
    """One word: ``caught``, ``MISSED``, ``passed`` or ``FALSE``."""
    if case.wrong:
        return "caught" if case.caught_by in catching(case) else "MISSED"
    return "FALSE" if catching(case) else "passed"


# -- for a terminal


def rows(cases: Iterable[Case]) -> Iterable[str]:
    """A line for each task, and the sums."""
    counts: Counter[str] = Counter()
    for case in cases:
        counts[verdict(case)] += 1
        found = ", ".join(catching(case))
        yield f"{verdict(case):7} {case.name:40} {case.caught_by or 'right':9} {found}".rstrip()
    yield ", ".join(f"{counts[word]} {word}" for word in ("caught", "MISSED", "passed", "FALSE"))


# -- for the documentation


def summary(cases: Iterable[Case], *, judge: Callable[[Case], str] = verdict) -> str:
    """How many tasks of each label there are, and what becomes of them."""
    cases = list(cases)
    lines = ["| label | tasks | found | missed | accused wrongly |", "|---|---|---|---|---|"]
    for kind in KINDS:
        words = Counter(judge(case) for case in cases if case.caught_by == kind)
        lines.append(f"| wrong: `{kind}` finds it | {words.total()} | {words['caught']} | {words['MISSED']} | |")
    words = Counter(judge(case) for case in cases if not case.wrong)
    lines.append(f"| right | {words.total()} | | | {words['FALSE']} |")
    return "\n".join(lines)


def by_topic(cases: Iterable[Case]) -> str:
    """A table for each topic."""
    cases = list(cases)
    parts = []
    for topic in TOPICS:
        parts += [
            f"\n## {topic.capitalize()}\n",
            f"| task | | {' | '.join(KINDS)} |",
            f"|---|---|{'---|' * len(KINDS)}",
        ]
        parts += [row(case) for case in cases if case.name.startswith(f"{topic}.")]
    return "\n".join(parts)


def row(case: Case) -> str:
    """One row of its table."""
    name = case.name.partition(".")[2]
    marks = (
        f"{'**found**' if kind == case.caught_by else 'found'}" if kind in catching(case) else "" for kind in KINDS
    )
    thread = f" [{_thread_name(case.thread)}]({case.thread})" if case.thread else ""
    label = "wrong" if case.wrong else "right"
    tells = case.tells.replace("``", "`") + (f' (`lines="{case.lines}"`)' if case.lines != "body" else "")
    return f"| `{name}` | {label} | {tells}{thread} | {' | '.join(marks)} |"


def _thread_name(url: str) -> str:
    owner, repository, _, number = url.split("/")[3:7]
    return f"{owner}/{repository}#{number}"


TABLES = {"summary": summary, "tasks": by_topic}


def filled(page: str) -> str:
    """The page with the tables as they are now."""

    def fill(place: re.Match[str]) -> str:
        return f"{place[1]}\n{TABLES[place['which']](load().values()).strip()}\n\n{place[3]}"

    return PLACE.sub(fill, page)


def main() -> int:
    """Print, or write; 1 where the harness is wrong about a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", default="", metavar="WORDS", help="only tasks whose name contains this")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the documentation")
    parser.add_argument("--write", action="store_true", help="put them into the documentation")
    options = parser.parse_args()
    cases = [case for case in load().values() if options.k in case.name]
    if options.write:
        for path in map(ROOT.joinpath, DOCUMENTS):
            path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    for line in [summary(cases), by_topic(cases)] if options.markdown else rows(cases):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return any(verdict(case).isupper() for case in cases)


if __name__ == "__main__":
    sys.exit(main())
