"""What the READMEs of the examples say of duplicates and crashes is true: the failures shown, and the table."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from test_docs import error_text

EXAMPLES = Path(__file__).parents[2] / "examples"

BILLING = """
from hashing import billing

def test_fails(harness, bills):
    harness.assert_idempotent(billing.mark_then_charge.s("a job"), observe=bills.look, reset=bills.clear)
"""
INVOICE = """
from reports.delivery import invoice
from test_report_delivery import look, reset

def test_fails(harness):
    harness.assert_idempotent(invoice.s(42, "2030-01"), observe=look, reset=reset)
"""
SHOWN = {"hashing": BILLING, "reports": INVOICE}
TABLE = """
import re
from pathlib import Path
from test_billing import PLANS, SURVIVES

ROW = re.compile(r"^[|] `(\\w+)` [|].*?[|] (.+?) [|] (.+?) [|] (.+?) [|]$", re.MULTILINE)

def test_table():
    rows = ROW.findall(Path("README.md").read_text())
    shown = {name: {plan for plan, cell in zip(PLANS, cells) if cell == "survives"} for name, *cells in rows}
    assert shown == {task.__name__: plans for task, plans in SURVIVES.items()}
"""


def run_in(example: str, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one more test in a copy of an example."""
    project = folder / example
    shutil.copytree(EXAMPLES / example, project)
    (project / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (project / "tests/test_shown.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--show-capture=no", "tests/test_shown.py"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("example", SHOWN)
def test_the_failure_in_the_readme_is_the_real_one(example, tmp_path):
    """To mend the READMEs after a text has changed: ``python tests/unit/test_docs_examples.py``."""
    done = run_in(example, SHOWN[example], tmp_path)
    real = error_text(done.stdout).splitlines()
    shown = error_text((EXAMPLES / example / "README.md").read_text(encoding="utf-8")).splitlines()
    assert len(shown) > 5
    assert shown == real[: len(shown)]


def test_the_table_of_ways_is_the_one_that_is_tested(tmp_path):
    done = run_in("hashing", TABLE, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def rewrite_failure(example: str) -> None:
    """Put the real text into a README, without its timeline."""
    readme = EXAMPLES / example / "README.md"
    with tempfile.TemporaryDirectory() as folder:
        real = error_text(run_in(example, SHOWN[example], Path(folder)).stdout).partition("\n    The timeline")[0]
    page = readme.read_text(encoding="utf-8")
    text = textwrap.indent(real, "E   ") + "\n"
    readme.write_text(re.sub(r"(?:^E .*\n)+", lambda _: text, page, count=1, flags=re.MULTILINE), encoding="utf-8")


if __name__ == "__main__":
    for name in SHOWN:
        rewrite_failure(name)
