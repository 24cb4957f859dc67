"""What a report shows of a harness."""

from __future__ import annotations

import pytest

HEADING = "*--- taskharness timeline (memory, seed 0) ---*"

FAILING = """
from shop import add

def test_fails(harness):
    add.delay(1, 2)
    harness.drain()
    assert add is None

def test_passes(harness):
    add.delay(3, 4)
    harness.drain()
"""


def shown(result):
    return [line for line in result.outlines if "taskharness timeline" in line]


def test_a_failing_test_shows_its_timeline_once(project):
    result = project.test(FAILING)

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            HEADING,
            "t+0.000s is 20*",
            "t+0.000s  publish  shop.add *  (1, 2) queue='celery' at test_shop.py:4 in test_fails",
            "t+0.000s  deliver  shop.add *  on worker from 'celery'",
            "t+0.000s  finish   shop.add *  on worker SUCCESS",
        ]
    )
    assert len(shown(result)) == 1
    result.stdout.no_fnmatch_line("*(3, 4)*")


def test_a_failing_test_shows_its_timeline_once_under_xdist(project):
    result = project.test(FAILING, "-n", "2")

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([HEADING, "*publish  shop.add *  (1, 2) queue='celery' *"])
    assert len(shown(result)) == 1


def test_never_means_never(project):
    result = project.test(FAILING, "--taskharness-timeline=never")

    result.assert_outcomes(failed=1, passed=1)
    assert shown(result) == []


@pytest.mark.parametrize("arguments", [[], ["-rP"], ["-n", "1"]])
def test_always_shows_that_of_a_passing_test_too_and_each_once(project, arguments):
    result = project.test(FAILING, "--taskharness-timeline=always", *arguments)

    assert len(shown(result)) == 2
    result.stdout.fnmatch_lines(["*(3, 4)*"])


def test_the_configuration_file_may_choose(project):
    project.ini("taskharness_app = shop:app", "taskharness_timeline = never")

    assert shown(project.test(FAILING)) == []


def test_an_error_in_the_setup_after_the_harness_shows_it(project):
    result = project.test("""
        import pytest
        from shop import add

        @pytest.fixture
        def order(harness):
            add.delay(1, 2)
            raise RuntimeError("no order")

        def test_order(order):
            pass
    """)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([HEADING, "*publish  shop.add*"])


def test_an_error_in_the_teardown_shows_it(project):
    result = project.test("""
        import pytest
        from shop import add

        @pytest.fixture
        def order(harness):
            yield
            add.delay(1, 2)
            raise RuntimeError("still there")

        def test_order(order):
            pass
    """)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([HEADING, "*publish  shop.add*"])


def test_a_test_that_fails_in_call_and_teardown_shows_it_once(project):
    result = project.test("""
        import pytest

        @pytest.fixture
        def order(harness):
            yield
            raise RuntimeError("also")

        def test_order(order):
            assert False
    """)

    result.assert_outcomes(failed=1, errors=1)
    assert len(shown(result)) == 1


def test_each_harness_of_a_test_has_its_section(project):
    result = project.test("def test_both(memory_harness, eager_harness):\n    assert False")

    assert [line.strip("- ") for line in shown(result)] == [
        "taskharness timeline (memory, seed 0)",
        "taskharness timeline (eager, seed 0)",
    ]


def test_a_test_without_a_harness_has_no_section(project):
    assert shown(project.test("def test_one():\n    assert False")) == []


@pytest.mark.parametrize("arguments", [[], ["-n", "1"]])
def test_what_a_user_hid_stays_hidden(project, arguments):
    result = project.test(
        """
        from shop import charge

        def test_charge(harness):
            card = "4111" * 4
            charge.apply_async((card, 5), argsrepr="(<card>, 5)")
            charge.apply_async(kwargs={"card": card, "amount": 5}, kwargsrepr="{<card>}")
            harness.perform(charge.s(card, 5).set(argsrepr="(<card>, 5)"))
            harness.drain()
            assert card not in str(harness.timeline)
            assert card not in harness.timeline.to_json()
            del card
            assert False, "at the end"
        """,
        *arguments,
    )

    result.stdout.fnmatch_lines(["E * at the end*", "*publish*(<card>, 5)*", "*publish*({<card>})*"])
    assert "4111411141114111" not in result.stdout.str()


def test_what_a_user_hid_stays_hidden_through_retries_chains_and_chords(project):
    result = project.test("""
        from celery import chain, chord
        from shop import app

        @app.task(bind=True, max_retries=1)
        def charge(self, card):
            raise self.retry(countdown=1, exc=RuntimeError("declined"))

        @app.task
        def step(*args):
            return None

        def test_charge(harness):
            card = "4111" * 4
            hidden = {"argsrepr": "(<card>)"}
            charge.apply_async((card,), **hidden)
            chain(step.si(), charge.si(card).set(**hidden)).delay()
            chord([step.si()], charge.si(card).set(**hidden)).delay()
            step.apply_async(link=charge.si(card).set(**hidden))
            harness.settle()
            assert card not in str(harness.timeline)
            assert card not in harness.timeline.to_json()
    """)

    result.assert_outcomes(passed=1)


def test_strict_leftovers_complains_in_a_test_that_passed(project):
    result = project.test("""
        import pytest
        from shop import add

        @pytest.mark.taskharness(strict_leftovers=True)
        def test_leaves(harness):
            add.delay(1, 2)

        @pytest.mark.taskharness(strict_leftovers=True)
        def test_leaves_later(harness):
            add.apply_async((1, 2), countdown=60)
            harness.drain()

        @pytest.mark.taskharness(strict_leftovers=True)
        def test_finishes(harness):
            add.delay(1, 2)
            harness.drain()
    """)

    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines_random(
        [
            "*pytest_taskharness.errors.LeftoverWork: the test ended with work still pending:",
            "*  in queue 'celery': shop.add",
            "*  held, not acknowledged: shop.add*",
        ]
    )


def test_strict_leftovers_is_silent_where_the_test_has_failed_or_was_skipped(project):
    result = project.test("""
        import pytest
        from shop import add

        @pytest.mark.taskharness(strict_leftovers=True)
        def test_fails(harness):
            add.delay(1, 2)
            assert False

        @pytest.mark.taskharness(strict_leftovers=True)
        def test_skips(harness):
            add.delay(1, 2)
            pytest.skip("enough")
    """)

    result.assert_outcomes(failed=1, skipped=1)


def test_junitxml_has_the_results(project):
    result = project.test(FAILING, "--junitxml=report.xml")

    report = project.pytester.path.joinpath("report.xml").read_text(encoding="utf-8")
    assert result.ret == 1
    assert report.count("<testcase ") == 2
    assert report.count("<failure ") == 1


@pytest.mark.parametrize("library", ["freezegun", "time-machine"])
def test_durations_are_real_while_time_stands_still(project, library):
    project.file(
        conftest=f"""
        from pytest_taskharness.clock import freezer

        freezer.default_library = lambda: {library!r}
    """
    )
    result = project.test(
        """
        from pytest_taskharness.clock.real import Real

        def test_slow(harness):
            harness.clock.advance(days=365)
            until = Real.monotonic() + 0.05
            while Real.monotonic() < until:
                pass
        """,
        "--durations=5",
        "--junitxml=report.xml",
    )

    result.assert_outcomes(passed=1)
    [line] = [line for line in result.outlines if " call " in line]
    assert 0.05 <= float(line.partition("s ")[0]) < 30
    [summary] = [line for line in result.outlines if "1 passed" in line]
    assert 0.05 <= float(summary.partition(" in ")[2].partition("s")[0]) < 60
    report = project.pytester.path.joinpath("report.xml").read_text(encoding="utf-8")
    assert 0.05 <= float(report.partition('test_slow" time="')[2].partition('"')[0]) < 30
