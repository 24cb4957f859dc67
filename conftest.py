"""Runs the Python snippets of README.md and docs/*.md as tests.

A document is one small project.  A ``python`` block whose first line is a comment that names a file (``# conftest.py``,
``# shop/tasks.py``) is that file; a block that names a ``test_*.py`` file is also run, by pytest in a process of its
own, beside the files above it.  Any other ``python`` block is evaluated, in one namespace per document.  An ``ini``
block whose first line is ``# pytest.ini`` is the configuration of the blocks below it.  HTML comments
steer: ``<!-- skip: next -->`` leaves out the next block, ``<!-- skip: start -->`` … ``<!-- skip: end -->`` all between.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sybil import Example

FILE_NAME = re.compile(r"# (?P<path>[\w/]+\.py)\n")
#: In the name of a test: the scenario that it plays, as `retries.with_a_delay`.
PLAYED = re.compile(r"\[([a-z_]+\.\w+)")


def evaluate(example: Example) -> None:
    named = FILE_NAME.match(example.parsed)
    if named is None:
        evaluate_python(example)
        return
    path = project_of(example) / named["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(example.parsed, encoding="utf-8")
    if path.name.startswith("test_"):
        run_pytest(path, cwd=project_of(example))


def configure(example: Example) -> None:
    if example.parsed.startswith("# pytest.ini\n"):
        (project_of(example) / "pytest.ini").write_text(example.parsed, encoding="utf-8")


def project_of(example: Example) -> Path:
    """The directory of this document's project."""
    namespace = example.namespace
    if "_project" not in namespace:
        namespace["_project"] = tempfile.TemporaryDirectory(prefix="taskharness-docs-")
        (Path(namespace["_project"].name) / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return Path(namespace["_project"].name)


def run_pytest(path: Path, *, cwd: Path) -> None:
    # Hypothesis's plugin takes longer to load than all the rest.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)


def remove_project(namespace: dict[str, object]) -> None:
    project = namespace.get("_project")
    if isinstance(project, tempfile.TemporaryDirectory):
        project.cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under ``-n 2``, tests that need one another are run by one worker, in their order; largest groups first.

    The marker ``xdist_group`` would say the same, but xdist 3.8 does not see it under pytest 9.2.
    """
    if config.option.dist != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Grouped(config, log)


def group_of(nodeid: str) -> str:
    """The blocks of a document; what is played with the same real worker, or server; else the cases of one test."""
    path, _, name = nodeid.partition("::")
    if path.endswith(".md") or path.startswith("tests/real/"):
        return path
    played = PLAYED.search(name) if path.startswith(("tests/parity/", "tests/corpus/")) else None
    return f"{path.rpartition('/')[0]} {played[1]}" if played else nodeid.partition("[")[0]


# The extra `examples` has no Sybil, and its `pytest examples` loads this file too: no Sybil, no snippets.
try:
    from sybil import Sybil
    from sybil.evaluators.python import PythonEvaluator
    from sybil.parsers.markdown import CodeBlockParser, SkipParser
except ModuleNotFoundError:
    pass
else:
    evaluate_python = PythonEvaluator()
    pytest_collect_file = Sybil(
        parsers=[CodeBlockParser("python", evaluate), CodeBlockParser("ini", configure), SkipParser()],
        patterns=["README.md", "docs/*.md"],
        teardown=remove_project,
    ).pytest()
