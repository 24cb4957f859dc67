"""A pytest plugin for the measured child: which heavy modules had been imported by the end of the run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

__all__ = ["HEAVY"]

HEAVY = ("celery", "kombu", "billiard", "vine", "redis", "freezegun", "time_machine", "hypothesis", "django", "asyncio")


def pytest_unconfigure() -> None:
    """Leave their names where the parent looks for them."""
    found = [name for name in HEAVY if name in sys.modules]
    Path(os.environ["BENCHMARKS_IMPORTS"]).write_text(json.dumps(found))
