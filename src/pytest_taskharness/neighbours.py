"""Plugins beside ours: names that are theirs, and an error of theirs that does not say what happened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from inspect import signature
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["arguments_of", "explained", "is_installed", "without_theirs"]

TITLE = "taskharness: this celery_worker is pytest-celery's"
WAYS_OUT = """\
expected: the fixture of celery.contrib.pytest, a worker in a thread of this process
instead:  that of pytest-celery, which is installed: a worker in a container; and no Docker engine answers
Three ways out:
  - give the tests Celery's own fixture back:  pytest -p no:celery -p celery.contrib.pytest
  - let the stepped worker serve it:           taskharness_replace_celery_fixtures = true  (in the ini file)
  - if they are written for pytest-celery:     start a Docker engine, or say with DOCKER_HOST where it is"""


def without_theirs(ours: ModuleType, plugins: Iterable[Any]) -> ModuleType:
    """Our fixtures but for the names that other plugins have, for pytest would take those of the last to be registered.

    A conftest.py is no such plugin: for its directory, pytest takes what it says in any case.
    """
    wanted = vars(ours)
    kind = type(wanted["harness"])
    theirs = {name for plugin in plugins if _may_take(plugin) for name, _ in _fixtures(plugin, kind)}
    taken = [attribute for name, attribute in _fixtures(ours, kind) if name in theirs]
    if not taken:
        return ours
    left = ModuleType(ours.__name__, ours.__doc__)
    vars(left).update((attribute, value) for attribute, value in wanted.items() if attribute not in taken)
    return left


def _may_take(plugin: Any) -> bool:
    """No conftest.py, and none of pytest's own, whose many names are not ours: looking costs start-up time."""
    file, module = getattr(plugin, "__file__", ""), getattr(plugin, "__name__", type(plugin).__module__)
    return not (str(file).endswith("conftest.py") or str(module).startswith("_pytest."))


def _fixtures(plugin: Any, kind: type) -> Iterator[tuple[str, str]]:
    """The name of each fixture of a plugin, and that of its attribute."""
    holders = [plugin] if isinstance(plugin, ModuleType) else type(plugin).__mro__
    for holder in holders:
        for attribute, value in list(vars(holder).items()):
            fixture = _fixture(value) if isinstance(value, kind) else None
            if fixture is not None:
                yield fixture.name or attribute, attribute


def _fixture(value: Any) -> Any:
    """What holds the name of a fixture; before pytest 8.4, where a fixture is a function, something that it carries."""
    return vars(value).get("_pytestfixturefunction") if isinstance(value, FunctionType) else value


def is_installed(function: Any, plugins: Iterable[tuple[Any, Any]]) -> bool:
    """Whether a fixture is of pytest, of ours or of another plugin that was installed, and not of the suite."""
    package = _package(getattr(function, "__module__", ""))
    return package == "_pytest" or any(package == _package(getattr(each, "__name__", "")) for each, _ in plugins)


def _package(module: Any) -> str:
    return str(module).partition(".")[0]


def arguments_of(test: Any) -> set[str]:
    """What a test function asks for by itself."""
    return set(signature(test).parameters) if callable(test) else set()


def explained(error: BaseException, names: Collection[str], plugins: Iterable[Any]) -> list[tuple[str, str]]:
    """A section for the report of a test whose fixtures have these names, where pytest-celery has found no Docker."""
    if "celery_worker" not in names or "celery_setup" in names or not _is_no_docker(error):
        return []
    replaced = any(getattr(plugin, "__name__", "") == "pytest_celery.plugin" for plugin in plugins)
    return [(TITLE, WAYS_OUT)] if replaced else []


def _is_no_docker(error: BaseException) -> bool:
    """The base class itself: its subclasses are answers of an engine."""
    return (type(error).__module__, type(error).__name__) == ("docker.errors", "DockerException")
