"""``python -m benchmarks [--quick] [--only NAME]``: measure, and print a Markdown table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from . import machine
from .measure import in_child, now
from .report import Row, markdown

__all__ = ["main"]

#: In the order of the table.
MEASUREMENTS = (
    "one_test", "on_redis", "throughput", "flatness", "startup", "servers", "waiting", "opening", "canvas",
    "plans", "beat",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for; progress goes to stderr, the table to stdout."""
    options = _parser().parse_args(arguments)
    before = machine.described()
    rows = [row for name in options.only or MEASUREMENTS for row in _measured(name, quick=options.quick)]
    print(before, end="\n\n")
    print(markdown(rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What the project promises, measured.")
    parser.add_argument("--quick", action="store_true", help="fewer samples, and no test of 100,000 tasks")
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, metavar="NAME",
        help=f"one of {', '.join(MEASUREMENTS)} (repeatable)",
    )  # fmt: skip
    return parser


def _measured(name: str, *, quick: bool) -> list[Row]:
    print(f"{name} …", end=" ", file=sys.stderr, flush=True)
    start = now()
    measure: Callable[[bool], list[Row]] = import_module(f"{__package__}.{name}").measure
    rows = in_child(measure, quick)
    print(f"{now() - start:.0f} s", file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
