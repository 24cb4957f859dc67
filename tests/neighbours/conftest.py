"""Tests beside plugins that must not be in the environment of the others: ``tox -e neighbours``."""

from __future__ import annotations

import sys
from pathlib import Path

# Suites that do not use the harness.
sys.path.append(str(Path(__file__).parents[1] / "plugin"))
