"""Runs real pytest processes over generated test files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["collect", "imported", "phases", "run_pytest"]

ROOT = Path(__file__).resolve().parent.parent
COLLECT = ("--collect-only", "-q", "-p", "no:cacheprovider")


def run_pytest(folder: Path, *options: str, plugins: Sequence[str] = (), **env: str) -> None:
    """Run pytest in a folder with these plugins and no others.

    Raises:
        RuntimeError: It did not succeed; its output is the text.
    """
    chosen = [option for plugin in plugins for option in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", *chosen, *options]
    done = subprocess.run(command, cwd=folder, env=_environment(env), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} in a benchmark:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COVERAGE"))}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **extra}


def written(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files into a folder of a test project; the folder."""
    for name, text in {"pytest.ini": "[pytest]\n", **files}.items():
        (folder / name).write_text(text)
    return folder


def phases(files: Mapping[str, str], *, plugins: Sequence[str]) -> list[list[float]]:
    """Setup, call and teardown of each test but the first and the last, which pay for the session."""
    watched: list[list[float]] = _reported(
        files, "-q", "-p", "no:cacheprovider", plugins=["benchmarks.stopwatch", *plugins], to="BENCHMARKS_STOPWATCH"
    )
    return watched[1:-1]


def imported(files: Mapping[str, str], *, plugins: Sequence[str]) -> list[str]:
    """The heavy modules that collecting these files with these plugins has imported."""
    found: list[str] = _reported(files, *COLLECT, plugins=["benchmarks.imports", *plugins], to="BENCHMARKS_IMPORTS")
    return found


def _reported(files: Mapping[str, str], *options: str, plugins: Sequence[str], to: str) -> Any:
    with TemporaryDirectory() as name:
        folder = written(Path(name), files)
        answer = folder / "answer.json"
        run_pytest(folder, *options, plugins=plugins, **{to: str(answer), "PYTHONPATH": str(ROOT)})
        return json.loads(answer.read_text())


def collect(folder: Path, *, plugins: Sequence[str]) -> None:
    """``pytest --collect-only -q`` in a folder, without a cache."""
    run_pytest(folder, *COLLECT, plugins=plugins)
