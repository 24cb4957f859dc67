"""The fixtures of ``celery.contrib.pytest``, and ``start_worker``, served by a stepped worker.

A plugin of its own, which is registered where ``taskharness_replace_celery_fixtures`` says so.  The fixtures are
Celery's own: what is replaced is the worker in a thread behind them.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from .config import MarkerOptions, Settings
from .errors import ConfigurationError, hide_frames
from .fixtures import OPENED, PASSING, SETTINGS, marked, place_of, said_of
from .owners import Asker, Entered, Lasting, Since, checked, not_apart, not_in_a_thread

if TYPE_CHECKING:
    from .harness import Harness

__all__ = ["DropIn"]

__tracebackhide__ = hide_frames

STOCK = "celery.contrib.pytest"
MARKER = "celery(**overrides): override celery configuration for a test case"


class DropIn:
    """Pytest's side of the drop-in."""

    def __init__(self) -> None:
        """Nothing of Celery is imported before the session starts."""
        self._stack = ExitStack()
        self._harnesses: list[Lasting] = []
        self._entered: list[Entered] = []
        #: The fixtures that have been torn down with the test.
        self._ended: list[Any] = []
        #: Workers that nobody left, and that the garbage collector has found, perhaps in the middle of a test.
        self._collected = ExitStack()
        #: The fixtures that are being set up, innermost last.
        self._setting_up: list[Asker] = []
        self._item: pytest.Item | None = None
        #: Whether the test has Celery's own workers, in threads.
        self._is_apart = False
        #: Their apps.
        self._in_threads: list[Any] = []
        self._settings: Settings
        self._plugins: pytest.PytestPluginManager
        self._fixtures: Mapping[str, Any] = {}
        #: The plugins that were there before ours, or that ours have come behind.
        self._known: set[int] = set()

    # -- getting in

    def pytest_configure(self, config: pytest.Config) -> None:
        """The other plugins are there, and no fixture of a conftest.py is: those of Celery come between."""
        if STOCK not in sys.modules:  # as if a conftest.py had named it: a test module may, too
            config.pluginmanager.import_plugin(STOCK)
        from .worker.borrowing.seams import fixtures_of_celery, seams_taken

        if not any(line.startswith("celery(") for line in config.getini("markers")):
            config.addinivalue_line("markers", MARKER)
        config.add_cleanup(self._stack.close)
        self._settings, self._root = config.stash[SETTINGS], config.rootpath
        self._plugins = config.pluginmanager
        self._fixtures = fixtures_of_celery()
        self._start_in_thread = self._stack.enter_context(seams_taken(start=self._worker, made=self._app))
        self._stack.callback(self._end_all)
        self._known = set(map(id, config.pluginmanager.get_plugins()))
        self._put_in(self._hidden(config))

    def _hidden(self, config: pytest.Config) -> list[str]:
        """Those of Celery's fixtures that are not there, or are another plugin's."""
        found: dict[str, Any] = {}
        plugins: list[Any] = [plugin for _, plugin in config.pluginmanager.list_name_plugin() if plugin is not None]
        for plugin in sorted(plugins, key=_is_conftest):  # of one name, pytest takes the last one
            if not _is_conftest(plugin) or Path(str(plugin.__file__)).parent == config.rootpath:
                found.update((name, value) for name, value in _names_of(plugin).items() if name in self._fixtures)
        return [name for name, ours in self._fixtures.items() if found.get(name) is not ours]

    def pytest_plugin_registered(self, plugin: object) -> None:
        """A test module may bring another plugin: come behind it, with those of Celery's fixtures that it replaces."""
        if id(plugin) in self._known or _is_conftest(plugin):
            return
        self._known.add(id(plugin))
        theirs = _names_of(plugin)
        replaced = [name for name, ours in self._fixtures.items() if theirs.get(name, ours) is not ours]
        if replaced:
            self._put_in(replaced)

    def _put_in(self, names: Iterable[str]) -> None:
        holder = ModuleType("pytest_taskharness_celery_fixtures")
        vars(holder).update({name: self._fixtures[name] for name in names})
        self._plugins.register(holder, f"taskharness-celery-fixtures-{id(holder)}")

    # -- serving

    @contextmanager
    def _app(self, app: Any) -> Iterator[None]:
        """A fixture of Celery's has made an app; at the broker of one that is served, it belongs to that one."""
        from .harness.served import is_reached_from

        with ExitStack() as stack:
            if self._marker().replace and not any(is_reached_from(each.harness, app) for each in self._harnesses):
                stack.enter_context(self._served(app))
            yield

    @contextmanager
    def _worker(self, app: Any, **options: Any) -> Iterator[Any]:
        """In the place of the worker in a thread: on the harness that is open on its app, or on one of its own."""
        from .harness.served import come_back, open_on, working
        from .recorder.callsite import call_site

        with ExitStack() as stack:
            if not self._marker().replace:
                yield stack.enter_context(self._thread(app, **options))
                return
            harness = open_on(app) or stack.enter_context(self._served(app))
            come_back(harness)
            worker = stack.enter_context(working(harness, options))
            entered = Entered(self._asker(), harness, str(call_site(f"{self._root}/")), stack)
            self._entered.append(entered)  # holds all but this generator, which alone may be collected
            try:
                yield worker
            except GeneratorExit:
                if entered.is_over:
                    self._collected.push(stack.pop_all())
                raise
            finally:
                self._entered.remove(entered)

    @contextmanager
    def _thread(self, app: Any, **options: Any) -> Iterator[Any]:
        """Celery's own worker, for a test that wants it."""
        from .harness.served import open_on

        if open_on(app) is not None:
            raise not_in_a_thread(app)
        with self._start_in_thread(app, **options) as worker:
            self._in_threads.append(app)
            try:
                yield worker
            finally:
                self._in_threads.remove(app)

    @contextmanager
    def _served(self, app: Any) -> Iterator[Harness]:
        from .harness.served import end, is_on

        harness = self._open(app)
        self._harnesses.append(Lasting(harness, self._asker()))
        self._show(harness, since=0)
        try:
            yield harness
        finally:
            end(harness, passed=self._item is None or self._item.stash.get(PASSING, True))
            self._harnesses = [each for each in self._harnesses if is_on(each.harness)]

    def _open(self, app: Any) -> Harness:
        from .harness.served import serve
        from .worker.ids import ids_for

        marker = checked(self._marker())
        with ids_for(place_of(self._item) if self._item is not None else ""):
            return serve(
                app,
                self._mode(marker),
                seed=(marker.seeds or (self._settings.seed.value,))[0],
                config=marker.config or {},
                **said_of(marker, self._settings),
            )

    def _asker(self) -> Asker | None:
        if self._setting_up:
            return self._setting_up[-1]
        return None if self._item is None else Asker(self._item)

    def _marker(self) -> MarkerOptions:
        """That of the test, or of the class or the module for what belongs to all its tests."""
        asker = self._asker()
        return MarkerOptions() if asker is None else marked(asker.node)

    def _mode(self, marker: MarkerOptions) -> str:
        """The first one with a stepped worker."""
        modes = marker.modes or self._settings.modes.value
        return next((mode for mode in modes if mode != "eager" and not mode.endswith("+process")), modes[0])

    def _show(self, harness: Harness, *, since: int) -> None:
        """In the report of this test, from here on."""
        if self._item is not None:
            self._item.stash.setdefault(OPENED, []).append(Since(harness, since) if since else harness)

    def _end_all(self) -> None:
        from .harness.served import end

        while self._harnesses:
            end(self._harnesses.pop().harness, passed=False)

    # -- the life of a test

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        """Know who asks for a worker, and for how long."""
        self._setting_up.append(Asker(request, fixturedef))
        try:
            return (yield)
        finally:
            self._setting_up.pop()
            if self._is_apart:
                self._stand_aside()  # what lasts longer than the test, which is the first one to use it

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Those that the test uses come back, with what other tests have left in them."""
        self._item, self._is_apart = item, _is_apart(item)
        if self._is_apart:
            self._stand_aside()
        else:
            self._bring_back(item)
        done = yield
        if self._is_apart:
            self._check_apart(item)
        return done

    def _bring_back(self, item: pytest.Item) -> None:
        from .harness.served import come_back

        for lasting in self._harnesses:
            if lasting.is_used_by(item):
                come_back(lasting.harness)
                self._show(lasting.harness, since=len(lasting.harness.timeline))

    def _stand_aside(self) -> None:
        from .harness.served import stand_aside

        for lasting in reversed(self._harnesses):
            stand_aside(lasting.harness)

    def _check_apart(self, item: pytest.Item) -> None:
        """Raise where there is no other worker for a test than the stepped one that others have, too."""
        from .harness.served import has_workers

        used = [each for each in self._harnesses if each.asker and each.asker.fixture and each.is_used_by(item)]
        with_workers = [lasting for lasting in used if has_workers(lasting.harness)]
        if with_workers and not self._in_threads:
            raise not_apart(with_workers[0])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """A worker in a thread works while the test runs, whether or not the test waits for it."""
        from .harness.served import catch_up

        try:
            return (yield)
        finally:
            for lasting in self._harnesses:
                catch_up(lasting.harness)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """The next test may know nothing of them."""
        from .harness.served import leave, stand_back

        try:
            return (yield)
        finally:
            for lasting in reversed(self._harnesses):
                leave(lasting.harness)
            for lasting in self._harnesses if self._is_apart else []:
                stand_back(lasting.harness)
            self._collected.close()
            item, self._item, self._is_apart = self._item, None, False
            self._never_left(item)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """A fixture that has entered ``start_worker`` has had its time to leave it."""
        self._ended.append(fixturedef)

    def _never_left(self, item: pytest.Item | None) -> None:
        """They go on, as a thread would, for those who need them."""
        from .harness.served import go_on, is_on

        askers, self._ended = [item, *self._ended], []
        new = [each for each in self._entered if not each.is_over and each.asker and each.asker.has_ended(askers)]
        for entered in new:
            entered.is_over = True
            go_on(entered.harness)
        passed = item is None or item.stash.get(PASSING, True)  # one that has failed may not have come to its end
        for entered in new if passed else []:
            warnings.warn(pytest.PytestWarning(entered.text(goes_on=is_on(entered.harness))), stacklevel=2)


def _is_apart(item: pytest.Item) -> bool:
    try:
        return not marked(item).replace
    except ConfigurationError:  # it is told where a worker, or a harness, is asked for
        return False


def _is_conftest(plugin: object) -> bool:
    return str(getattr(plugin, "__file__", "")).endswith("conftest.py")


def _names_of(plugin: object) -> Mapping[str, Any]:
    return getattr(plugin, "__dict__", {})
