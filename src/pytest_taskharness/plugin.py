"""Pytest's side: options, marker, header, modes, reports.  Imports nothing heavy, and nothing of Celery."""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec
from typing import Any

import pytest

from . import fixtures, neighbours
from .config import MARKER, TIMELINE_CHOICES, Settings, read_marker, read_settings
from .errors import ConfigurationError, ForeignMessage
from .fixtures import ASKED, OPENED, PASSING, SETTINGS
from .modes import MODES

__all__: list[str] = []


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Our fixtures come at once, so that a plugin which a conftest.py names may override or extend them."""
    found = neighbours.without_theirs(fixtures, pluginmanager.get_plugins())
    pluginmanager.register(found, "taskharness-fixtures")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, each with its ini twin."""
    group = parser.getgroup("taskharness", "pytest-taskharness: Celery's own worker, stepped under a virtual clock")
    group.addoption(
        "--taskharness-mode", action="append", metavar="MODE,…",
        help=f"run tests that use the harness in these modes: {', '.join(MODES)}, or all (repeatable)",
    )  # fmt: skip
    group.addoption("--taskharness-app", metavar="PATH", help="the Celery app, as `celery -A` takes it: shop.tasks:app")
    group.addoption("--taskharness-seed", metavar="N", help="makes what is random repeatable (default: 0)")
    group.addoption(
        "--taskharness-timeline", metavar="WHEN",
        help=f"when a report shows the timeline of a test: {', '.join(TIMELINE_CHOICES)} (default: failed)",
    )  # fmt: skip
    group.addoption(
        "--taskharness-redis-url", metavar="URL",
        help="a Redis that runs: redis://, rediss:// or redis+socket://, with an empty database (default: start one)",
    )  # fmt: skip
    group.addoption(
        "--taskharness-rabbitmq-url", metavar="URL",
        help="a RabbitMQ that runs: amqp:// or amqps:// (default: start one)",
    )  # fmt: skip
    group.addoption(
        "--taskharness-allow-nonempty", action="store_true", default=None,
        help="take the database of that URL though it holds keys that are not the harness's; they are left alone",
    )  # fmt: skip
    group.addoption(
        "--taskharness-allow-remote", action="store_true", default=None,
        help="take the server of such a URL though it is on another machine, as a service container of CI is",
    )  # fmt: skip
    group.addoption(
        "--taskharness-plan", metavar="PLAN",
        help="the only plan that assert_idempotent() runs, as a failure names it: crash:node@in_body:24, together:2,3",
    )  # fmt: skip
    group.addoption(
        "--taskharness-fresh-workers", action="store_true", default=None,
        help="start new worker processes in each test of mode redis+process, also where those of another could go on",
    )  # fmt: skip
    parser.addini("taskharness_mode", "modes, as --taskharness-mode", type="args", default=[])
    parser.addini("taskharness_app", "the Celery app, as --taskharness-app", default="")
    parser.addini("taskharness_seed", "as --taskharness-seed", default="")
    parser.addini("taskharness_timeline", "as --taskharness-timeline", default="")
    parser.addini("taskharness_redis_url", "as --taskharness-redis-url", default="")
    parser.addini("taskharness_rabbitmq_url", "as --taskharness-rabbitmq-url", default="")
    parser.addini("taskharness_allow_nonempty", "as --taskharness-allow-nonempty", type="bool", default=False)
    parser.addini("taskharness_allow_remote", "as --taskharness-allow-remote", type="bool", default=False)
    parser.addini("taskharness_fresh_workers", "as --taskharness-fresh-workers", type="bool", default=False)
    parser.addini(
        "taskharness_replace_celery_fixtures", "serve celery_worker and its like from a stepped worker", type="bool",
        default=False,
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the settings once; a wrong one ends the run before it begins."""
    config.addinivalue_line("markers", MARKER)
    try:
        config.stash[SETTINGS] = read_settings(config.getoption, config.getini)
        if config.getoption("taskharness_plan") is not None:
            _choose_plan(config)
    except ConfigurationError as error:
        raise pytest.UsageError(f"taskharness: {error}") from None
    if config.stash[SETTINGS].replace_celery_fixtures.value:
        from .dropin import DropIn

        config.pluginmanager.register(DropIn(), "taskharness-drop-in")


def _choose_plan(config: pytest.Config) -> None:
    from .explore.plans import Plan
    from .explore.session import chosen

    chosen.plan = str(Plan.parse(config.getoption("taskharness_plan"), origin="--taskharness-plan"))
    config.add_cleanup(chosen.forget)


def pytest_report_header(config: pytest.Config) -> str:
    """What is in force, and where each value came from."""
    settings: Settings = config.stash[SETTINGS]
    chosen = f"{','.join(settings.modes.value)} ({settings.modes.source})"
    app = settings.app if settings.app.value else "from the taskharness_app fixture"
    if settings.app.source.startswith("ini"):
        app = f"{settings.app}, unless a taskharness_app fixture says otherwise"
    clock = "time-machine (installed)" if find_spec("time_machine") else "freezegun (default)"
    found = f"taskharness: mode {chosen}, app {app}, server {_server(settings)}, clock {clock}, seed {settings.seed}"
    replaced = settings.replace_celery_fixtures
    return f"{found}, celery_worker: stepped ({replaced.source})" if replaced.value else found


def _server(settings: Settings) -> str:
    """Which servers the chosen modes would use; nothing is started or connected to, and no password is shown."""
    needed = [mode.replace("+", "+redis+") if mode == "rabbitmq+process" else mode for mode in settings.modes.value]
    kinds = [kind for kind in ("redis", "rabbitmq") if any(kind in mode.split("+") for mode in needed)]
    return " and ".join(_server_of(kind, settings) for kind in kinds) or "none"


def _server_of(kind: str, settings: Settings) -> str:
    url = settings.redis_url if kind == "redis" else settings.rabbitmq_url
    if url.value:
        from .servers.somebodys import masked

        return f"{masked(url.value)} ({url.source})"
    from .servers.binary import find_binary
    from .servers.rabbitmq_binary import find_rabbitmq

    found = find_binary() if kind == "redis" else find_rabbitmq()
    return str(found or f"none (no {kind}-server found)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat a test for each mode and each seed, where there is more than one."""
    wanted = {"_taskharness_mode", "_taskharness_seed"}.intersection(metafunc.fixturenames)
    if not wanted:
        return
    try:
        marker = read_marker((mark.args, mark.kwargs) for mark in metafunc.definition.iter_markers("taskharness"))
    except ConfigurationError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from None
    settings = metafunc.config.stash[SETTINGS]
    cases = {
        "_taskharness_mode": marker.modes or settings.modes.value,
        "_taskharness_seed": marker.seeds or (settings.seed.value,),
    }
    for name in sorted(wanted):
        if len(cases[name]) > 1:
            metafunc.parametrize(name, cases[name], indirect=True, ids=str)


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Remember what the suite asks for; what other plugins ask for (pytest-django for monkeypatch) is not its doing."""
    plugins = request.config.pluginmanager
    if fixturedef.argnames and not neighbours.is_installed(fixturedef.func, plugins.list_plugin_distinfo()):
        request.node.stash.setdefault(ASKED, set()).update(fixturedef.argnames)


def _asked_for(item: pytest.Item) -> set[str]:
    own = neighbours.arguments_of(getattr(item, "function", None))
    return own.union(*(node.stash.get(ASKED, set()) for node in item.listchain()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Put the timeline of a harness into a report, where xdist carries it along: once, in the first that shows it."""
    report = yield
    item.stash[PASSING] = item.stash.get(PASSING, True) and report.passed
    when = item.config.stash[SETTINGS].timeline.value
    if report.failed and call.excinfo is not None:
        from .report.attaching import attached

        report.sections.extend(attached(call.excinfo.value, timelines=when != "never"))
        if report.when == "setup":
            names, plugins = getattr(item, "fixturenames", ()), item.config.pluginmanager.get_plugins()
            report.sections.extend(neighbours.explained(call.excinfo.value, names, plugins))
    if (report.failed and when != "never") or (report.when == "call" and when == "always"):
        from .report.hints import hints
        from .report.patches import patches
        from .report.section import sections

        opened = item.stash.get(OPENED, [])
        report.sections.extend(part for harness in opened for part in sections(harness))
        if report.failed:
            report.sections.extend(patches(_asked_for(item), [harness.mode for harness in opened]))
        if report.failed and call.excinfo is not None:
            report.sections.extend(hints(call.excinfo.value, opened))
        item.stash[OPENED] = []
    if report.when == "teardown":
        item.stash[OPENED] = []
        del item.stash[PASSING]
        if ForeignMessage.seen:  # whoever has caught it: the verdict of no test can be trusted any more
            item.session.shouldfail = f"taskharness: {ForeignMessage.seen[0]}"
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Where timelines are always wanted, show those of passed tests too; pytest itself does with ``-rP`` only."""
    if config.stash[SETTINGS].timeline.value != "always" or terminalreporter.hasopt("P"):
        return
    for report in terminalreporter.getreports("passed"):
        for title, text in report.sections:
            if title.startswith("taskharness timeline"):
                terminalreporter.section(f"{report.nodeid}: {title}", sep="-")
                terminalreporter.line(text)
