"""The log of all scenarios of a session, and what a real worker makes of each, played once."""

from __future__ import annotations

import os

import parity_log
import pytest
from matrix import ORACLE, played
from parity_app import app
from parity_scenario import load

from pytest_taskharness import Harness
from pytest_taskharness.errors import ConfigurationError, ServerError


@pytest.fixture(scope="session")
def log_file(tmp_path_factory):
    """One file for the whole session: a worker process that is used again goes on writing where it began."""
    return tmp_path_factory.mktemp("parity") / "log"


@pytest.fixture
def log(log_file, monkeypatch):
    """While a scenario is played, its hooks and signals are written down."""
    monkeypatch.setenv(parity_log.VARIABLE, str(log_file))
    return log_file


@pytest.fixture(scope="session")
def missing():
    """Why a mode cannot be had here, by mode; empty where it can."""
    return {}


@pytest.fixture
def needs(log, missing):
    """``needs(mode)``: skip the test where the mode cannot be had, but fail it in CI."""

    def need(mode):
        if mode not in missing:
            missing[mode] = _why_not(mode)
        if missing[mode] and os.environ.get("CI"):
            pytest.fail(f"CI must have mode {mode!r}: {missing[mode]}")
        if missing[mode]:
            pytest.skip(f"mode {mode!r}: {missing[mode]}")

    return need


def _why_not(mode):
    try:
        Harness.open(app, mode).close()
    except (ConfigurationError, ServerError) as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def oracles():
    """What came of each scenario that was played with a real worker, by name."""
    return {}


@pytest.fixture
def expected(needs, oracles):
    """``expected(name)``: the trace that a scenario has with a real worker."""

    def trace(name):
        needs(ORACLE)
        if name not in oracles:
            oracles[name] = played(load()[name], ORACLE)
        cell = oracles[name]
        if cell.trace is None:
            pytest.fail("\n".join([f"{name} does not come to its end in {ORACLE}:", *cell.text]), pytrace=False)
        return cell.trace

    return trace
