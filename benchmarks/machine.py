"""Where the numbers come from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pytest_taskharness.servers.binary import find_binary

__all__ = ["described"]

PACKAGES = (
    "pytest-taskharness", "celery", "kombu", "redis", "fakeredis", "pytest", "time-machine", "freezegun", "django",
)  # fmt: skip


def described() -> str:
    """The machine and the versions, as one Markdown paragraph."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    machine = f"{_processor()}, {os.cpu_count()} cores, load {_load()}; {platform.system()}"
    return f"{machine}; {python}; {packages}; server: {find_binary() or 'none'}."


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
