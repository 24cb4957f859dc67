"""The documentation says what is true: complete names in the reference, real texts of failures."""

from __future__ import annotations

import ast
import inspect
import os
import re
import runpy
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from celery import VERSION

import pytest_taskharness
from pytest_taskharness import (
    Attempt,
    Broker,
    Clock,
    Harness,
    Message,
    Report,
    Run,
    Tally,
    Timeline,
    Worker,
    config,
    errors,
    fixtures,
)

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (?P<path>[\w/]+\.py)\n")
#: Ids are random; instants that a test does not fix are too.
VOLATILE = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-[0-9a-f]{12})?\b")

CLASSES = [Harness, Run, Message, Clock, Timeline, Tally, Report, Worker, Attempt, Broker]


# -- the reference is complete


def words_of_the_reference(section: str = "") -> set[str]:
    """The words in code font, of one section or of the whole page."""
    text = BLOCK.sub("", (ROOT / "docs/reference.md").read_text(encoding="utf-8"))
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    pages = [page for page in sections if page.startswith(f"{section}\n")] if section else [text]
    return {word for page in pages for code in re.findall(r"`([^`]+)`", page) for word in re.findall(r"\w[\w-]*", code)}


def public_members(cls: type) -> Iterator[str]:
    names = {name for base in cls.__mro__ if base is not object for name in vars(base)}
    names |= {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    if cls is Harness:
        names |= {"app", "mode", "seed", "timeline", "strict_leftovers"}
    if cls is Timeline:
        names |= {"start", "events"}
    return iter(sorted(name for name in names if not name.startswith("_")))


class OptionCollector:
    """Takes the place of pytest's parser."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def getgroup(self, *args: str) -> OptionCollector:
        return self

    def addoption(self, name: str, **kwargs: object) -> None:
        self.names.append(name)

    def addini(self, name: str, *args: object, **kwargs: object) -> None:
        self.names.append(name)


def options_and_ini_keys() -> list[str]:
    from pytest_taskharness.plugin import pytest_addoption

    collector = OptionCollector()
    pytest_addoption(collector)  # type: ignore[arg-type]
    return [name.lstrip("-") for name in collector.names]


def public_fixtures() -> list[str]:
    # What pytest makes of a fixture function differs between its versions; the source does not.
    functions = [node for node in ast.parse(inspect.getsource(fixtures)).body if isinstance(node, ast.FunctionDef)]
    decorated = [node.name for node in functions if any("fixture" in ast.dump(each) for each in node.decorator_list)]
    return [name for name in decorated if not name.startswith("_")]


def marker_arguments() -> list[str]:
    return list(inspect.signature(config.marker_options).parameters)


@pytest.mark.parametrize(
    "names",
    [
        options_and_ini_keys,
        public_fixtures,
        marker_arguments,
        lambda: pytest_taskharness.__all__,
        lambda: errors.__all__,
    ],
    ids=["options and ini keys", "fixtures", "marker arguments", "package", "errors"],
)
def test_reference_names_everything(names):
    found = names()
    assert found, "nothing was collected, so nothing was compared"
    assert [name for name in found if name not in words_of_the_reference()] == []


@pytest.mark.parametrize("cls", CLASSES)
def test_reference_names_everything_public_of(cls):
    found = list(public_members(cls))
    assert len(found) > 2
    assert [name for name in found if name not in words_of_the_reference(cls.__name__)] == []


# -- failure texts are the real ones


def blocks(document: str) -> list[tuple[str, str]]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [(block["language"], block["text"]) for block in BLOCK.finditer(text)]


def failing_examples(document: str) -> dict[str, str]:
    """The text that the document shows for each of its files named ``test_*_fails.py``."""
    shown = {}
    found = blocks(document)
    for (_, code), (language, text) in pairwise(found):
        named = NAMED.match(code)
        if named and named["path"].endswith("_fails.py"):
            assert language == "text", f"no text follows {named['path']}"
            shown[named["path"]] = text
    return shown


def write_project(document: str, folder: Path) -> None:
    for _, code in blocks(document):
        named = NAMED.match(code)
        if named:
            path = folder / named["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")


def errors_of(folder: Path, *files: str) -> dict[str, str]:
    """What pytest shows behind ``E`` for the one test of each file."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--taskharness-timeline=never", *files],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    failures = re.split(r"^_{3,} .* _{3,}$", done.stdout, flags=re.MULTILINE)[1:]
    assert len(failures) == len(files), done.stdout + done.stderr
    return dict(zip(files, failures, strict=True))


def error_text(text: str) -> str:
    """The lines that pytest marks with ``E``, without the mark."""
    return textwrap.dedent("\n".join(line[1:].rstrip() for line in text.splitlines() if re.match(r"E\s", line)))


def comparable(text: str) -> list[str]:
    return VOLATILE.sub("<id>", error_text(text)).splitlines()


#: Documents that show failures, and how many at the least.
SHOWING = {"README.md": 0, "docs/assertions.md": 15, "docs/idempotency.md": 4}


@pytest.mark.parametrize("document", SHOWING)
def test_shown_failures_are_the_real_ones(document, tmp_path):
    """To mend a page after a text has changed: ``python tests/unit/test_docs.py`` writes the real ones into it."""
    shown = failing_examples(document)
    assert len(shown) > SHOWING[document]
    write_project(document, tmp_path)
    real = errors_of(tmp_path, *shown)
    for name, text in shown.items():
        assert in_any_order(comparable(text)) == in_any_order(comparable(real[name])), name


def in_any_order(lines):
    """Before Celery 5.7 a lost task is acknowledged first and its failure stored then; the pages show the newest."""
    return lines if VERSION >= (5, 7) else sorted(lines)


def test_the_failure_in_the_readme_is_the_real_one(tmp_path):
    write_project("README.md", tmp_path)
    failing = tmp_path / "test_readme_fails.py"
    failing.write_text(
        "from shop.tasks import charge, send_receipt\n"
        "def test_fails(harness):\n"
        "    harness.perform(charge.s(42))\n"
        '    harness.assert_enqueued(send_receipt.s(42, "welcome").set(queue="email"))\n',
        encoding="utf-8",
    )
    real = errors_of(tmp_path, failing.name)[failing.name]
    shown = next(text for language, text in blocks("README.md") if language == "text")
    assert comparable(real) == comparable(shown)


# -- the table of differences is that of the parity suite


def test_design_names_the_scenario_that_shows_each_difference():
    rows = runpy.run_path(str(ROOT / "tests/parity/differences.py"))["DIFFERENCES"]
    assert rows, "nothing was collected, so nothing was compared"
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| (.+) \| `(\w+\.\w+)` \|$", page, re.MULTILINE)
    assert shown == [(row.title, row.scenario) for row in rows]


# -- the documents hang together


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = BLOCK.sub("", (ROOT / document).read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", file.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rewrite_failures(document: str) -> None:
    """Put the real texts into a document."""
    with tempfile.TemporaryDirectory() as folder:
        write_project(document, Path(folder))
        shown = failing_examples(document)
        real = errors_of(Path(folder), *shown)
    page = (ROOT / document).read_text(encoding="utf-8")
    for name, text in shown.items():
        before, code, after = page.partition(f"# {name}\n")
        page = before + code + after.replace(text, textwrap.indent(error_text(real[name]), "E   ") + "\n", 1)
    (ROOT / document).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    for showing in SHOWING:
        rewrite_failures(showing)
