"""Prints scenario by mode: ``python tests/parity/matrix.py [--modes memory,redis] [-k words]``.

Every scenario is played with a real worker process first (``redis+process``): that trace is right.  ``same`` stands for
the same trace, ``row 3`` for a known difference (``differences.py``), ``OTHER`` for one that nobody has explained, and
``ERROR`` for a scenario that did not come to its end; diffs and errors follow.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import parity_log
import parity_scenario
from differences import known
from parity_trace import Trace, difference, play

#: What all the others are compared with: a real worker process.
ORACLE = "redis+process"
#: What is compared.
STEPPED = ("memory", "fakeredis", "redis")


@dataclass
class Cell:
    """One scenario in one mode."""

    verdict: str
    text: list[str] = field(default_factory=list)
    trace: Trace | None = None


def played(scenario: parity_scenario.Scenario, mode: str) -> Cell:
    """Play a scenario in a mode."""
    try:
        return Cell("played", trace=play(scenario, mode))
    except Exception as error:
        return Cell("ERROR", _told(error))


def judged(scenario: parity_scenario.Scenario, mode: str, expected: Trace) -> Cell:
    """Play a scenario in a mode, and say how it compares."""
    cell = played(scenario, mode)
    if cell.trace is None:
        return cell
    diff = difference(expected, cell.trace, names=(ORACLE, mode))
    row = known(scenario.name, mode)
    if row is None:
        return Cell("OTHER", diff) if diff else Cell("same")
    if row.shows(diff):
        return Cell(f"row {row.number}")
    return Cell("OTHER", [*diff, f"row {row.number} of differences.py says otherwise:", *row.lines])


def _told(error: Exception) -> list[str]:
    """An error, and how the scenario came to it; the frames below it are Celery's and ours."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "scenarios" in frame.filename]
    return "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)]).splitlines()


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    modes = [mode for mode in options.modes.split(",") if mode != ORACLE]
    chosen = [found for name, found in parity_scenario.load().items() if options.k in name]
    width = max(map(len, (scenario.name for scenario in chosen)))
    _print(f"{'':{width}}  {'  '.join(f'{mode:13}' for mode in [ORACLE, *modes])}")
    bad = 0
    for scenario in chosen:
        cells = _row(scenario, modes)
        _print(f"{scenario.name:{width}}  {'  '.join(f'{cell.verdict:13}' for cell in cells.values())}".rstrip())
        for mode, cell in cells.items():
            bad += bool(cell.text)
            _print(*(f"    {mode}: {line}" for line in cell.text))
        if options.traces:
            _print(*(f"    {line}" for line in cells[ORACLE].trace or ()))
    _print(f"{len(chosen)} scenarios in {len(modes) + 1} modes, {bad} cells that nobody has explained")
    return 1 if bad else 0


def _row(scenario: parity_scenario.Scenario, modes: list[str]) -> dict[str, Cell]:
    oracle = played(scenario, ORACLE)
    if oracle.trace is None:
        return {ORACLE: oracle}
    return {ORACLE: oracle, **{mode: judged(scenario, mode, oracle.trace) for mode in modes}}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", default=",".join(STEPPED), help="which modes to compare (default: %(default)s)")
    parser.add_argument("-k", default="", metavar="WORDS", help="only scenarios whose name contains this")
    parser.add_argument("--traces", action="store_true", help="print the oracle's traces")
    return parser.parse_args(arguments)


def _print(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="parity-") as directory:
        os.environ[parity_log.VARIABLE] = str(Path(directory) / "log")
        sys.exit(main())
