"""Runs the Python snippets of README.md and docs/*.md as tests.

A document is one small project.  A ``python`` block whose first line is a comment that names a file (``# conftest.py``,
``# shop/tasks.py``) is that file; a block that names a ``test_*.py`` file is also run, by pytest in a process of its
own, beside the files above it.  Any other ``python`` block is evaluated, in one namespace per document.  HTML comments
steer: ``<!-- skip: next -->`` leaves out the next block, ``<!-- skip: start -->`` … ``<!-- skip: end -->`` all between.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sybil import Example

FILE_NAME = re.compile(r"# (?P<path>[\w/]+\.py)\n")


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


def project_of(example: Example) -> Path:
    """The directory of this document's project."""
    namespace = example.namespace
    if "_project" not in namespace:
        namespace["_project"] = tempfile.TemporaryDirectory(prefix="taskharness-docs-")
        (Path(namespace["_project"].name) / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return Path(namespace["_project"].name)


def run_pytest(path: Path, *, cwd: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)


def remove_project(namespace: dict[str, object]) -> None:
    project = namespace.get("_project")
    if isinstance(project, tempfile.TemporaryDirectory):
        project.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    # The blocks of one document build on each other: xdist must not spread them.
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "loadgroup"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix == ".md":
            item.add_marker(pytest.mark.xdist_group(item.path.name))


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
        parsers=[CodeBlockParser("python", evaluate), SkipParser()],
        patterns=["README.md", "docs/*.md"],
        teardown=remove_project,
    ).pytest()
