"""Lines: which there are, and a call before each of them runs."""

from __future__ import annotations

import contextlib
import cProfile
import functools
import sys
import threading
import types
from pathlib import Path

import pytest
from celery import VERSION, Celery

from pytest_taskharness.errors import TaskHarnessError
from pytest_taskharness.faults import lines as lines_module
from pytest_taskharness.faults.lines import (
    LineWatch,
    body_code,
    codes_of,
    in_package,
    lines_of,
    package_root,
    source_line,
)

BY_MONITORING = sys.version_info >= (3, 12)


class Dead(BaseException):
    """The body has died."""


def lines_seen(function, *args, watched=None):
    """The lines of a function that were announced, counted from its `def`."""
    first = body_code(function).co_firstlineno
    seen = []
    with LineWatch(watched or codes_of(function), lambda code, line: seen.append(line - first)):
        function(*args)
    return seen


def die_at(function, line, *, for_ever=True):
    """Run a function that dies before a line (counted from its `def`), and return what it has done."""
    first, done, dead = body_code(function).co_firstlineno, [], []

    def on_line(code, at):
        if at - first == line or (dead and for_ever):
            dead.append(at - first)
            raise Dead

    with pytest.raises(Dead), LineWatch(codes_of(function), on_line):
        function(done.append)
    return done, dead


def straight(do):
    do(1)
    do(2)
    return 3


def branching(do, flag):
    if flag:
        do(1)
    else:
        do(2)
    for number in (3, 4):
        do(number)


def with_nested(do):
    def inner(number):
        do(number)
        return number

    inner(1)
    do([each * 2 for each in (1, 2)])
    do(sum(
        each + 1
        for each in (1, 2)
    ))  # fmt: skip
    later = lambda: do(5)  # noqa: E731
    later()


def generating():
    yield 1
    yield 2


def with_finally(do):
    try:
        do("try")
        do("rest")
    except BaseException:
        do("except")
        raise
    finally:
        do("finally")
        do("more")
    do("after")


class Manager:
    def __init__(self, do):
        self.do = do

    def __enter__(self):
        self.do("enter")

    def __exit__(self, *exc_info):
        self.do("exit")


def with_manager(do):
    with Manager(do):
        do("inside")
        do("still")
    do("after")


def returning_with_manager(do):
    with Manager(do):
        return do("inside")


def with_two_managers(do):
    with Manager(do):  # noqa: SIM117 - each on a line of its own
        with Manager(do):
            if done := True:
                do(done)


class ReportingManager(Manager):
    def __exit__(self, error, *exc_info):
        self.do(error)


def with_reporting_manager(do):
    with ReportingManager(do):
        do("inside")


def failing_in_manager(do):
    with Manager(do):
        do("inside")
        raise ValueError


def failing_in_two_managers(do):
    try:
        with Manager(do):  # noqa: SIM117 - each on a line of its own
            with Manager(do):
                raise ValueError
    except BaseException as error:
        do(type(error))
        raise


class SuppressingManager(ReportingManager):
    def __exit__(self, error, *exc_info):
        super().__exit__(error, *exc_info)
        return True


def failing_in_suppressing_manager(do):
    with SuppressingManager(do):
        raise ValueError
    do("after")


class RaisingManager(ReportingManager):
    def __exit__(self, error, *exc_info):
        super().__exit__(error, *exc_info)
        raise KeyError


def failing_in_raising_manager(do):
    try:
        with RaisingManager(do):
            raise ValueError
    except Exception:
        do("except")


def failing_at_the_end_in_raising_manager(do):
    with RaisingManager(do):
        raise ValueError


@contextlib.contextmanager
def rolling_back(do):
    try:
        yield
    except ValueError as error:
        do("rollback")
        raise KeyError from error


def failing_in_generator_manager(do):
    try:
        with rolling_back(do):
            raise ValueError
    except Exception:
        do("except")


class AsyncManager(Manager):
    async def __aenter__(self):
        self.do("enter")

    async def __aexit__(self, error, *exc_info):
        await once()
        self.do(error)


class AsyncRaisingManager(AsyncManager):
    async def __aexit__(self, error, *exc_info):
        await super().__aexit__(error, *exc_info)
        raise KeyError


@types.coroutine
def once():
    yield


async def failing_in_async_manager(do):
    async with AsyncManager(do):
        raise ValueError


async def failing_in_async_raising_manager(do):
    try:
        async with AsyncRaisingManager(do):
            raise ValueError
    except Exception:
        do("except")


def going_on_after_an_error(do):
    for number in (1, 2):
        try:
            raise ValueError
        except ValueError:  # noqa: PERF203
            continue
        finally:
            do(number)


def returning_after_an_error(do):
    try:
        raise ValueError
    except ValueError:
        return 1
    finally:
        do("finally")


def with_lock(lock):
    with lock:
        pass


def calling(do):
    try:
        straight_in_try(do)
        do("rest of the caller")
    finally:
        done = True
        do(done)


def straight_in_try(do):
    try:
        do("inner")
        do("rest")
    finally:
        do("inner finally")


def swallowing(do):
    for number in range(3):
        try:  # noqa: SIM105 - what it does in other words is in other files
            do(number)
        except Dead:  # noqa: PERF203
            pass


async def coroutine(do):
    do(1)
    await nothing()
    do(2)


async def nothing():
    pass


# -- the lines that are announced


def test_each_line_is_announced_before_it_runs():
    order = []
    first = straight.__code__.co_firstlineno
    with LineWatch(codes_of(straight), lambda code, line: order.append(f"line {line - first}")):
        straight(order.append)

    assert order == ["line 1", 1, "line 2", 2, "line 3"]


@pytest.mark.parametrize("flag, lines", [(True, [1, 2, 5, 6, 5, 6, 5]), (False, [1, 4, 5, 6, 5, 6, 5])])
def test_only_the_lines_that_run_are_announced_and_those_of_a_loop_each_time(flag, lines):
    assert lines_seen(branching, print_nothing, flag) == lines


def print_nothing(*args):
    """Take anything."""


def test_nested_functions_comprehensions_generators_and_lambdas_have_lines_too():
    seen = lines_seen(with_nested, print_nothing)

    assert {1, 2, 3, 5, 6, 8, 9, 11, 12} <= set(seen)
    assert seen.index(5) < seen.index(2) < seen.index(3) < seen.index(6)


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_function_on_one_line_has_that_line_each_time(is_asked):
    """Python 3.13 tells nothing of it by itself."""
    one_line = lambda do: do(1)  # noqa: E731
    code, seen = one_line.__code__, []
    watched = (lambda found: found is code) if is_asked else frozenset({code})
    with LineWatch(watched, lambda code, line: seen.append(line - code.co_firstlineno)):
        one_line(print_nothing)
        one_line(print_nothing)
    one_line(print_nothing)

    assert seen == [0, 0]


def test_a_generator_has_lines_when_it_is_resumed():
    first, seen = generating.__code__.co_firstlineno, []
    with LineWatch(codes_of(generating), lambda code, line: seen.append(line - first)):
        assert list(generating()) == [1, 2]

    assert seen == [1, 2]


def test_a_coroutine_has_lines():
    first, seen = coroutine.__code__.co_firstlineno, []
    with LineWatch(codes_of(coroutine), lambda code, line: seen.append(line - first)), pytest.raises(StopIteration):
        coroutine(print_nothing).send(None)

    assert seen == [1, 2, 3]


def test_code_that_is_not_watched_has_none():
    assert lines_seen(lambda: straight(print_nothing), watched=codes_of(branching)) == []


def test_a_watch_that_asks_is_asked_once_for_each_function():
    asked, seen = [], []

    def is_watched(code):
        asked.append(code.co_name)
        return code is straight.__code__

    with LineWatch(is_watched, lambda code, line: seen.append(code.co_name)):
        straight(print_nothing)
        straight(print_nothing)

    assert seen == ["straight"] * 6
    assert asked.count("straight") == asked.count("print_nothing") == 1


def test_a_later_watch_that_asks_gets_what_an_earlier_one_did_not_want():
    with LineWatch(lambda code: False, print_nothing):
        straight(print_nothing)

    assert lines_seen(straight, print_nothing, watched=lambda code: code is straight.__code__) == [1, 2, 3]


def test_equal_code_of_another_file_is_other_code():
    text = "def same():\n    return 1\n"
    here, there = {}, {}
    exec(compile(text, "here.py", "exec"), here)
    exec(compile(text, "there.py", "exec"), there)

    assert lines_seen(there["same"], watched=codes_of(here["same"])) == []
    assert lines_seen(here["same"]) == [1]


def test_nothing_is_announced_after_the_watch():
    seen = []
    with LineWatch(codes_of(straight), lambda code, line: seen.append(line)):
        pass
    straight(print_nothing)

    assert seen == []


def test_a_generator_that_outlives_the_watch_is_left_alone():
    seen = []
    with LineWatch(codes_of(generating), lambda code, line: seen.append(line)):
        generator = generating()
        next(generator)
    next(generator)

    assert len(seen) == 1


def test_only_the_thread_that_watches_is_watched():
    seen = []
    with LineWatch(codes_of(straight), lambda code, line: seen.append(threading.get_ident())):
        thread = threading.Thread(target=straight, args=(print_nothing,))
        thread.start()
        thread.join()
        assert seen == []
        straight(print_nothing)

    assert seen == [threading.get_ident()] * 3


def test_two_threads_watch_at_once():
    seen, both = {}, threading.Barrier(2)

    def work(name):
        mine = seen.setdefault(name, [])
        with LineWatch(codes_of(straight), lambda code, line: mine.append(line)):
            both.wait(10)
            straight(print_nothing)
            both.wait(10)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(lines) for lines in seen.values()] == [3, 3]


# -- watches in watches


def test_both_of_two_nested_watches_get_each_line_the_outer_one_first():
    order = []
    with LineWatch(codes_of(straight), lambda code, line: order.append("outer")):
        with LineWatch(codes_of(straight), lambda code, line: order.append("inner")):
            straight(print_nothing)
        straight(print_nothing)

    assert order == ["outer", "inner"] * 3 + ["outer"] * 3


def test_nested_watches_of_different_code_get_their_own():
    order = []

    def body():
        with LineWatch(lambda code: code is straight.__code__, lambda code, line: order.append(code.co_name)):
            straight(print_nothing)
        branching(print_nothing, True)

    with LineWatch(codes_of(branching), lambda code, line: order.append(code.co_name)):
        body()

    assert order == ["straight"] * 3 + ["branching"] * 7


def test_where_the_outer_watch_raises_the_inner_one_is_not_asked():
    asked = []

    def die(code, line):
        raise Dead

    inner = LineWatch(codes_of(straight), lambda code, line: asked.append(line))
    with pytest.raises(Dead), LineWatch(codes_of(straight), die), inner:
        straight(print_nothing)

    assert asked == []


# -- dying


def test_the_line_before_which_it_dies_does_not_run():
    assert die_at(straight, 2) == ([1], [2])


def test_a_dead_body_does_nothing_in_its_except_and_finally():
    done, dead = die_at(with_finally, 3)

    assert done == ["try"]
    assert len(dead) >= 2


def test_a_dead_body_does_not_leave_its_with_block_in_order():
    done, dead = die_at(with_manager, 2)

    assert done == ["enter"]
    assert dead[0] == 2


def test_a_dead_function_does_nothing_in_its_callers_finally():
    first, done = straight_in_try.__code__.co_firstlineno, []
    dead = []

    def on_line(code, line):
        if dead or (code is straight_in_try.__code__ and line == first + 3):
            dead.append(code.co_name)
            raise Dead

    with pytest.raises(Dead), LineWatch(codes_of(calling) | codes_of(straight_in_try), on_line):
        calling(done.append)

    assert done == ["inner"]
    assert dead[0] == "straight_in_try"
    assert dead[-1] == "calling"


@pytest.mark.skipif(not BY_MONITORING, reason="the gap before Python 3.12, see LineWatch")
def test_what_calls_nothing_in_a_finally_does_not_run_either():
    def body(do):
        nonlocal touched
        try:
            do(1)
        finally:
            touched = True

    touched = False
    die_at(body, 3)

    assert not touched


def test_a_body_that_catches_everything_dies_again_at_each_line():
    done, dead = die_at(swallowing, 3)

    assert done == []
    assert len(dead) >= 2


def test_an_on_line_that_raises_once_lets_the_handlers_run():
    done, dead = die_at(with_finally, 3, for_ever=False)

    assert done == ["try", "except", "finally", "more"]
    assert dead == [3]


def test_what_runs_after_a_handled_error_is_announced_again():
    first, seen = swallowing.__code__.co_firstlineno, []

    def on_line(code, line):
        seen.append(line - first)
        if seen.count(3) == 1 and line - first == 3:
            raise Dead

    done = []
    with LineWatch(codes_of(swallowing), on_line):
        swallowing(done.append)
        straight(done.append)

    assert done == [1, 2, 1, 2]
    # Before Python 3.12 the gap: what follows until the next call.
    assert seen == ([1, 2, 3, 4, 5, 1, 2, 3, 1, 2, 3, 1] if BY_MONITORING else [1, 2, 3, 3, 1, 2, 3, 1])


# -- what was there before


@pytest.fixture
def no_tracer():
    """Whoever measures the coverage of these tests is put aside meanwhile."""
    before = sys.gettrace(), sys.getprofile()
    sys.settrace(None)
    sys.setprofile(None)
    yield
    sys.settrace(before[0])
    sys.setprofile(before[1])


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.parametrize("dies", [False, True])
def test_the_tracer_and_the_profiler_of_others_are_put_back(dies):
    def tracer(frame, event, arg):
        return None

    def profiler(frame, event, arg):
        return None

    sys.settrace(tracer)
    sys.setprofile(profiler)
    if dies:
        die_at(with_finally, 3)
    else:
        lines_seen(straight, print_nothing)

    assert sys.gettrace() is tracer
    assert sys.getprofile() is profiler


@pytest.mark.usefixtures("no_tracer")
def test_a_c_profiler_is_put_back():
    profiler = cProfile.Profile()
    profiler.enable()
    die_at(with_finally, 3)
    straight(print_nothing)
    profiler.disable()

    assert any(getattr(entry.code, "co_name", "") == "straight" for entry in profiler.getstats())


@pytest.mark.usefixtures("no_tracer")
def test_the_frames_around_the_watch_keep_their_trace_functions():
    def tracer(frame, event, arg):
        return tracer

    sys.settrace(tracer)
    frame = sys._getframe()
    frame.f_trace = tracer
    die_at(with_finally, 3)

    assert frame.f_trace is tracer


@contextlib.contextmanager
def in_a_generator(function, on_line):
    with LineWatch(codes_of(function), on_line):
        yield


@pytest.mark.usefixtures("no_tracer")
def test_a_watch_that_a_generator_has_entered_leaves_the_frames_around_it_alone():
    """Its frame is not on the stack while the body runs."""

    def tracer(frame, event, arg):
        return tracer

    def die(code, line):
        raise Dead

    def around(do):
        frame = sys._getframe()
        frame.f_trace = tracer
        with pytest.raises(Dead), in_a_generator(with_finally, die):
            with_finally(do)
        assert frame.f_trace is tracer
        return "unharmed"

    sys.settrace(tracer)
    assert around(print_nothing) == "unharmed"
    assert sys.gettrace() is tracer


def test_a_watched_caller_outside_of_the_watch_is_not_inside_of_it():
    """A body that runs inside of another run of itself: the outer one does not die with it."""
    done = []

    def die(code, line):
        if done.count("begins") > 1:
            raise Dead

    def body(do, depth):
        do("begins")
        if depth:
            with contextlib.suppress(Dead), in_a_generator(body, die):
                body(do, depth - 1)
        do("ends")

    body(done.append, 1)

    assert done == ["begins", "begins", "ends"]


@pytest.mark.skipif(not BY_MONITORING, reason="sys.monitoring")
def test_the_tool_id_is_free_again():
    before = [sys.monitoring.get_tool(tool) for tool in range(6)]
    die_at(with_finally, 3)
    lines_seen(straight, print_nothing, watched=lambda code: True)

    assert [sys.monitoring.get_tool(tool) for tool in range(6)] == before


@pytest.mark.skipif(not BY_MONITORING, reason="sys.monitoring")
def test_where_no_tool_id_is_free_the_text_names_who_has_them():
    free = [tool for tool in range(6) if sys.monitoring.get_tool(tool) is None]
    for tool in free:
        sys.monitoring.use_tool_id(tool, f"tool {tool}")
    try:
        with pytest.raises(TaskHarnessError, match="all tool ids of sys.monitoring are taken .*tool 4"):
            lines_seen(straight, print_nothing)
    finally:
        for tool in free:
            sys.monitoring.free_tool_id(tool)
    assert lines_seen(straight, print_nothing) == [1, 2, 3]


# -- which lines there are


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("function", [straight, with_nested, with_finally, with_manager, generating, coroutine])
def test_the_lines_of_a_function_are_those_that_can_be_announced(function):
    first = function.__code__.co_firstlineno
    lines = [line - first for line in lines_of(function)]

    assert lines == sorted(set(lines))
    assert 0 not in lines
    if function in {straight, with_nested, with_manager}:
        assert set(lines_seen(function, print_nothing)) == set(lines)


def test_the_lines_of_a_function_on_one_line():
    one_line = lambda: 1  # noqa: E731

    assert lines_of(one_line) == [one_line.__code__.co_firstlineno]


@pytest.mark.parametrize(
    "wrapped",
    [
        decorated(straight),
        functools.partial(straight, 1),
        functools.partial(decorated(straight), 1),
        straight.__code__,
    ],
)
def test_wrappers_are_seen_through(wrapped):
    assert body_code(wrapped) is straight.__code__
    assert lines_of(wrapped) == lines_of(straight)


@pytest.mark.parametrize("options", [{}, {"bind": True}, {"autoretry_for": (OSError,)}, {"pydantic": True}], ids=str)
def test_the_body_of_a_task_is_below_what_celery_puts_around_it(options):
    if "pydantic" in options and VERSION < (5, 5):
        pytest.skip("pydantic tasks are new in Celery 5.5")
    app = Celery("shop", set_as_current=False)
    task = app.task(name="shop.straight", shared=False, **options)(decorated(straight))

    assert body_code(task) is straight.__code__


def test_the_body_of_a_task_class_is_its_run():
    app = Celery("shop", set_as_current=False)

    class Charge(app.Task):
        name = "shop.charge"

        def run(self):
            return 1

    assert body_code(app.register_task(Charge())) is Charge.run.__code__
    assert body_code(Charge) is Charge.run.__code__


@pytest.mark.parametrize("function", [print, len, functools.partial(print), 7])
def test_what_is_not_written_in_python_has_no_lines(function):
    assert body_code(function) is None
    assert lines_of(function) == []
    assert codes_of(function) == frozenset()


def test_the_text_of_a_line():
    first = straight.__code__.co_firstlineno

    assert source_line(straight.__code__, first + 1) == "do(1)"
    assert source_line(straight.__code__, 10_000) == ""
    assert source_line(compile("1", "<nowhere>", "exec"), 1) == ""


# -- the user's package


def test_a_package_is_what_lies_below_its_outermost_directory(tmp_path):
    inner = tmp_path / "shop" / "mail"
    inner.mkdir(parents=True)
    for directory in (tmp_path / "shop", inner):
        (directory / "__init__.py").touch()
    body = compile("1", str(inner / "tasks.py"), "exec")
    root = package_root(body)

    assert root == str(tmp_path / "shop")
    assert in_package(compile("1", str(tmp_path / "shop" / "helpers.py"), "exec"), root)
    assert not in_package(compile("1", str(tmp_path / "other.py"), "exec"), root)
    assert not in_package(compile("1", "<string>", "exec"), root)


def test_a_plain_module_has_the_directory_beside_it_without_what_is_installed_there(tmp_path):
    root = package_root(compile("1", str(tmp_path / "tasks.py"), "exec"))

    assert root == str(tmp_path)
    assert in_package(compile("1", str(tmp_path / "helpers.py"), "exec"), root)
    assert not in_package(compile("1", str(tmp_path / ".venv/lib/site-packages/celery/app.py"), "exec"), root)
    assert not in_package(straight.__code__, root)
    assert Path(straight.__code__.co_filename).name == "test_faults_lines.py"


@pytest.mark.parametrize(
    "function, line, expected",
    [
        (with_manager, 1, ["enter", "inside", "still", "exit"]),
        (returning_with_manager, 1, ["enter", "inside", "exit"]),
        (with_two_managers, 2, ["enter", "enter", True, "exit", "exit"]),
        (with_two_managers, 1, ["enter", "enter", True, "exit", "exit"]),
        (with_reporting_manager, 1, ["enter", "inside", Dead]),
    ],
)
def test_who_dies_on_the_way_out_of_a_with_leaves_it_by_that_error(function, line, expected):
    first, done, times = function.__code__.co_firstlineno, [], []

    def on_line(code, at):
        if at - first == line:
            times.append(at)
            if len(times) == 2:
                raise Dead

    with pytest.raises(Dead), LineWatch(codes_of(function), on_line):
        function(done.append)
    assert done == expected


def test_who_dies_on_the_way_out_of_a_with_gives_a_lock_back():
    lock, first, times = threading.Lock(), with_lock.__code__.co_firstlineno, []

    def on_line(code, at):
        times.append(at - first)
        if times == [1, 2, 1]:
            raise Dead

    with pytest.raises(Dead), LineWatch(codes_of(with_lock), on_line):
        with_lock(lock)
    assert times == [1, 2, 1]
    assert not lock.locked()
    assert sys.getprofile() is None
    assert sys.gettrace() is None or not BY_MONITORING


def test_a_manager_whose_lines_are_watched_is_as_dead_as_the_body():
    first, done, times = with_manager.__code__.co_firstlineno, [], []

    def on_line(code, at):
        times.append(at - first)
        if times.count(1) == 2:
            raise Dead

    with pytest.raises(Dead), LineWatch(codes_of(with_manager) | codes_of(Manager.__exit__), on_line):
        with_manager(done.append)
    assert done == ["enter", "inside", "still"]


# -- dying at a `with` that an error leaves


def end_of(function, do):
    """Run it; a coroutine to its end."""
    result = function(do)
    if isinstance(result, types.CoroutineType):
        with contextlib.suppress(StopIteration):
            while True:
                result.send(None)


def die_where_it_is_left(function, line, *, watched=frozenset(), line_after=False):
    """Run a function that dies when it comes to a line for the second time, and return what it has done."""
    first, done, times = body_code(function).co_firstlineno, [], []

    def on_line(code, at):
        if code is body_code(function) and at - first == line:
            times.append(at)
        if len(times) == 2 and (len(dead) == 0 or line_after):
            dead.append(at)
            raise Dead

    dead = []
    with pytest.raises(Dead), LineWatch(codes_of(function) | watched, on_line):
        end_of(function, done.append)
    return done


@pytest.mark.parametrize("line_after", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize(
    "function, line, expected",
    [
        (failing_in_manager, 1, ["enter", "inside", "exit"]),
        (failing_in_two_managers, 3, ["enter", "enter", "exit", "exit", Dead]),
        (failing_in_two_managers, 2, ["enter", "enter", "exit", "exit", Dead]),
        (failing_in_suppressing_manager, 1, ["enter", ValueError]),
        (failing_in_raising_manager, 2, ["enter", ValueError]),
        (failing_at_the_end_in_raising_manager, 1, ["enter", ValueError]),
        (failing_in_generator_manager, 2, ["rollback"]),
        (failing_in_async_manager, 1, ["enter", ValueError]),
        (failing_in_async_raising_manager, 2, ["enter", ValueError]),
    ],
)
def test_who_dies_where_an_error_leaves_a_with_has_left_it(function, line, expected, line_after):
    if line_after:
        expected = [each for each in expected if each is not Dead]
        if function is failing_in_two_managers and line == 3:
            expected.remove("exit")  # the dead body leaves the outer one, and dies once more before
    assert die_where_it_is_left(function, line, line_after=line_after) == expected
    assert sys.exc_info() == (None, None, None)


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.parametrize("function", [failing_in_manager, failing_in_raising_manager, failing_in_async_manager])
def test_where_an_error_leaves_a_with_all_is_switched_off_again(function):
    line = 2 if function is failing_in_raising_manager else 1
    die_where_it_is_left(function, line)

    assert (sys.gettrace(), sys.getprofile()) == (None, None)
    assert not lines_module._ENGINE._put_off
    if BY_MONITORING:
        assert set(events_of(function.__code__)) == {0}


def events_of(code):
    """What is switched on for a code, by all tool ids that are free."""
    for tool in range(6):
        if sys.monitoring.get_tool(tool) is None:
            sys.monitoring.use_tool_id(tool, "a test")
            yield sys.monitoring.get_local_events(tool, code)
            sys.monitoring.free_tool_id(tool)


def test_a_watched_manager_that_an_error_leaves_is_as_dead_as_the_body():
    watched = codes_of(Manager.__exit__)

    assert die_where_it_is_left(failing_in_manager, 1, watched=watched, line_after=True) == ["enter", "inside"]
    assert sys.exc_info() == (None, None, None)


def test_a_coroutine_that_is_given_up_in_its_aexit_leaves_nothing_behind():
    times, first = [], failing_in_async_manager.__code__.co_firstlineno

    def on_line(code, at):
        times.append(at - first)
        if times.count(1) == 2:
            raise Dead

    with LineWatch(codes_of(failing_in_async_manager), on_line):
        body = failing_in_async_manager(print_nothing)
        body.send(None)
        assert body.cr_frame in lines_module._ENGINE._put_off
        assert BY_MONITORING or body.cr_frame.f_trace_opcodes
    assert not lines_module._ENGINE._put_off
    assert not body.cr_frame.f_trace_opcodes
    body.close()


def test_what_runs_after_a_death_where_an_error_left_a_with_is_announced_as_before():
    die_where_it_is_left(failing_in_manager, 1)
    done, seen, first = [], [], failing_in_manager.__code__.co_firstlineno
    with pytest.raises(ValueError), LineWatch(codes_of(failing_in_manager), lambda code, at: seen.append(at - first)):  # noqa: PT011
        failing_in_manager(done.append)

    assert (done, seen) == (["enter", "inside", "exit"], [1, 2, 3, 1])


@pytest.mark.parametrize("function, line", [(going_on_after_an_error, 5), (returning_after_an_error, 4)])
def test_who_dies_where_an_except_ends_leaves_no_error_behind(function, line):
    done, _ = die_at(function, line)

    assert done == []
    assert sys.exc_info() == (None, None, None)
