"""Which tests one worker of xdist runs, one after the other."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

group_of = runpy.run_path(str(Path(__file__).parents[2] / "conftest.py"))["group_of"]
PARITY, VERSIONS = "tests/parity/test_parity.py", "tests/parity/test_versions.py"


@pytest.mark.parametrize(
    "one, other",
    [
        ("docs/beat.md::line:20,column:1", "docs/beat.md::line:47,column:1"),
        ("tests/real/test_redis_dies.py::test_one[a]", "tests/real/test_redis_dies.py::test_other"),
        (f"{PARITY}::test_same[chords.a_chord-redis]", f"{PARITY}::test_same[chords.a_chord-memory]"),
        (f"{PARITY}::test_same[versions.a-redis]", f"{VERSIONS}::test_real[versions.a-3]"),
        ("tests/corpus/test_corpus.py::test_row[mail.twice]", "tests/corpus/test_corpus.py::test_all[mail.twice]"),
        ("tests/contract/test_time.py::test_eta[redis-1]", "tests/contract/test_time.py::test_eta[memory-7]"),
    ],
)  # fmt: skip
def test_what_needs_one_another_is_together(one, other):
    assert group_of(one) == group_of(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("docs/beat.md::line:20,column:1", "docs/guide.md::line:20,column:1"),
        (f"{PARITY}::test_same[chords.a-redis]", f"{PARITY}::test_same[chords.b-redis]"),
        (f"{PARITY}::test_same[chords.a-redis]", f"{PARITY}::test_rows_are_numbered"),
        ("tests/contract/test_time.py::test_eta[redis-1]", "tests/contract/test_time.py::test_expiry[redis-1]"),
    ],
)  # fmt: skip
def test_what_does_not_is_apart(one, other):
    assert group_of(one) != group_of(other)
