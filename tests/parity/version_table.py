"""What Celery's releases do differently, as far as a test can see it: the table, asserted on the installed release.

``docs/celery-versions.md`` has the same rows.  A step says what holds from that release on, and how it shows: lines
of the trace of a scenario, or what a function of ``version_probes.py`` returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["BEHAVIOURS", "SETTINGS", "Behaviour", "Step", "markdown", "number"]

#: The oldest release that is supported.
OLDEST = "5.3.6"


def number(release: str) -> tuple[int, ...]:
    """``5.6.3`` as numbers; ``5.6`` is its first release."""
    return tuple(map(int, (*release.split("."), "0")[:3]))


@dataclass(frozen=True)
class Step:
    """From which release on what holds.

    Attributes:
        since: The release.
        says: The cell of the page.
        shows: Lines of the trace, or the value of a probe.
    """

    since: str
    says: str
    shows: Any


@dataclass(frozen=True)
class Behaviour:
    """One thing that has changed, at least once.

    Attributes:
        what: The first cell of its rows.
        seen: The name of a scenario, or of a probe.
        steps: What holds since when, oldest first.
    """

    what: str
    seen: str
    steps: tuple[Step, ...]

    @property
    def is_probe(self) -> bool:
        """Whether it is a function of ``version_probes.py``."""
        return "." not in self.seen

    def step(self, version: tuple[int, ...]) -> Step:
        """What holds in this release."""
        return [step for step in self.steps if number(step.since) <= version][-1]


def answers(seen: str, what: str, *steps: tuple[str, str, Any]) -> Behaviour:
    """A scenario that shows by what its user saw."""
    return Behaviour(
        what, seen, tuple(Step(since, says, (f"the user saw {value}",)) for since, says, value in steps)
    )  # fmt: skip


def lines(seen: str, what: str, *steps: tuple[str, str, str]) -> Behaviour:
    """A scenario that shows by a line of its trace; an empty one stands for that there is none."""
    return Behaviour(what, seen, tuple(Step(since, says, (line,) if line else ()) for since, says, line in steps))


def probe(seen: str, what: str, *steps: tuple[str, str, Any]) -> Behaviour:
    """A function of ``version_probes.py``."""
    return Behaviour(what, seen, tuple(Step(*step) for step in steps))


PENDING = ["PENDING", None]
REVOKED = ["REVOKED", "TaskRevokedError: revoked"]
REVOKED_CHARGE = "run charge 1: moments.charge, PENDING, RECEIVED"
BOOM = ["FAILURE", "ValueError: boom"]
CHORD_ERROR = ["FAILURE", "ChordError: Dependency <boom 1.1> raised ValueError('boom')"]
BROKEN_HOOK = "run with_broken_hook 1: result fine, error"
OVER = "on_failure error='TimeLimitExceeded: TimeLimitExceeded(0.5,)'"
BROKEN_ERRBACK = ["FAILURE", "RuntimeError: the errback is broken"]
NO_TASK_ID = "task_id must not be empty. Got None instead."
IN_A_CHAIN = "publish task='parity_app.add' routing_key='celery' argsrepr='(1, 1)' kwargsrepr='{}' root_id='<add 1>'"

BEHAVIOURS: tuple[Behaviour, ...] = (
    # -- results and states
    answers(
        "versions.the_zone_of_date_done",
        "`result.date_done`",
        (OLDEST, "naive, in UTC", None),
        ("5.4", "aware, in UTC", 0.0),
        ("5.5", "aware, in the zone of the app", 9.0),
    ),
    answers(
        "results.an_ignored_result_asked_for_after_all",
        "`ignore_result=False` at the call of a task with `ignore_result=True`",
        (OLDEST, "nothing is stored", PENDING),
        ("5.6.3", "the result is stored", ["SUCCESS", "unseen"]),
    ),
    answers(
        "versions.a_result_asked_for_after_a_retry",
        "the same after a retry",
        (OLDEST, "nothing is stored", PENDING),
        ("5.6.3", "`RETRY` is stored, and nothing after it", ["RETRY", None]),
        ("5.7", "the result is stored", ["SUCCESS", "seen"]),
    ),
    answers(
        "versions.a_result_that_exists",
        "`result.exists()`",
        (OLDEST, "there is no such method", ["no such method", "no such method"]),
        ("5.7", "whether anything is stored", [False, True]),
    ),
    answers(
        "versions.revoked_before_its_eta",
        "the state of what is revoked while it is held for its eta",
        (OLDEST, "`PENDING` until the eta", ["PENDING", REVOKED]),
        ("5.6.2", "`REVOKED` at once", ["REVOKED", REVOKED]),
    ),
    lines(
        "moments.revoked_while_it_runs",
        "the state of what is revoked, without `terminate`, while it runs",
        (OLDEST, "`STARTED` until it ends", f"{REVOKED_CHARGE}, STARTED, SUCCESS"),
        ("5.6.2", "`REVOKED` until it ends", f"{REVOKED_CHARGE}, STARTED, REVOKED, SUCCESS"),
        ("5.7", "`STARTED` until it ends", f"{REVOKED_CHARGE}, STARTED, SUCCESS"),
    ),
    probe(
        "the_errors_of_what_is_terminated",
        "the error that is stored for what is terminated while it runs",
        (OLDEST, "`terminated`", ["terminated"]),
        ("5.6.2", "`revoked`, and `terminated` after it", ["revoked", "terminated"]),
        ("5.7", "`terminated`", ["terminated"]),
    ),
    answers(
        "delivery.rejected_for_good",
        "`Reject(requeue=False)`",
        (OLDEST, "no state is stored", [PENDING, False]),
        ("5.7", "`FAILURE`, and `task_failure` is sent", [["FAILURE", "Reject: ('never', False)"], False]),
    ),
    answers(
        "versions.asked_about_what_is_held",
        "`inspect().query_task()` of what is held for its eta",
        (OLDEST, "it is not known", []),
        ("5.7", "`scheduled`", ["scheduled"]),
    ),
    # -- calls
    answers(
        "versions.a_soft_limit_above_the_hard_one",
        "a call of a task whose `soft_time_limit` is above its `time_limit`",
        (OLDEST, "runs", ["SUCCESS", "ran"]),
        ("5.5", "`ValueError`", "ValueError"),
    ),
    answers(
        "versions.sent_by_its_name",
        "`app.send_task()` of a task that is registered",
        (OLDEST, "the options of the task (`expires`, `queue`, limits, …) are not used", False),
        ("5.7", "they are, as by `delay()`", True),
    ),
    answers(
        "versions.applied_inside_a_body",
        "`request.parent_id` and `root_id` of what a body calls with `apply()`",
        (OLDEST, "not the body's", ["SUCCESS", [False, False]]),
        ("5.6", "the body's", ["SUCCESS", [True, True]]),
    ),
    answers(
        "versions.limits_of_the_configuration",
        "`request.timelimit` where `task_time_limit` is set",
        (OLDEST, "empty: a message carries only limits of its call and its task", ["SUCCESS", [None, None]]),
        ("5.7", "the limit: the message carries it", ["SUCCESS", [30, None]]),
    ),
    answers(
        "versions.a_changed_clone",
        "a change of `signature.clone().kwargs`",
        (OLDEST, "changes the signature too", ["SUCCESS", 51]),
        ("5.7", "changes the clone", ["SUCCESS", 3]),
    ),
    probe(
        "a_model_for_an_annotation",
        "`@app.task(pydantic=True)`: what the body gets",
        (OLDEST, "a dictionary", "dict"),
        ("5.5", "a model", "Order"),
    ),
    probe(
        "a_model_for_an_annotation_as_text",
        "the same under `from __future__ import annotations`",
        (OLDEST, "a dictionary", "dict"),
        ("5.6", "a model", "Order"),
    ),
    probe(
        "a_model_as_an_argument",
        "`delay(Order(number=1))` of such a task",
        (OLDEST, "an error: it cannot be encoded", "UnserializableEncodeError"),
        ("5.7", "is sent as `model_dump()`", "Order"),
    ),
    # -- retries
    answers(
        "versions.a_retry_by_position_of_a_keyword",
        "`retry(args=…)` of a call that gave the same argument by keyword",
        (OLDEST, "cannot be sent, and the message is rejected: `PENDING` for ever", PENDING),
        ("5.7", "the new argument wins", ["SUCCESS", [2, 5]]),
    ),
    answers(
        "versions.a_retry_by_keyword_of_a_position",
        "`retry(kwargs=…)` of a call that gave the same argument by position",
        (OLDEST, "cannot be sent, and the message is rejected: `PENDING` for ever", PENDING),
        ("5.7", "the new argument wins", ["SUCCESS", [2, 5]]),
    ),
    # -- canvas
    answers(
        "versions.a_chord_with_a_countdown",
        "`chord.apply_async(countdown=…)` delays",
        (OLDEST, "the body, after the header", [["SUCCESS", "SUCCESS"], ["SUCCESS", 6]]),
        ("5.7", "the header", [["RECEIVED", "RECEIVED"], ["SUCCESS", 6]]),
    ),
    lines(
        "duplicates.a_part_of_a_chord_that_returns_something_else",
        "a part of a chord that is delivered twice and returns something else the second time",
        (OLDEST, "counts twice: the body starts too early", "run total_of_firsts 1.1: result [0, 0, 1], error None"),
        ("5.7", "counts once, with its first result", "run total_of_firsts 3.1: result [0, 1, 2], error None"),
    ),
    answers(
        "versions.the_group_of_a_chord_body",
        "`request.group` of the body of a chord",
        (OLDEST, "`None`", ["SUCCESS", False]),
        ("5.6", "the group of the header", ["SUCCESS", True]),
    ),
    probe(
        "the_states_of_a_group_behind_a_chord_that_fails",
        "the results of a group behind a chord whose header fails",
        (OLDEST, "`PENDING` for ever", ["PENDING", "PENDING"]),
        ("5.6", "`FAILURE`, with the error of the header", ["FAILURE", "FAILURE"]),
        (
            "5.6.2",
            "`REVOKED`; with a real worker each is that or `FAILURE`: two processes store at once",
            ["REVOKED", "REVOKED"],
        ),
        ("5.7", "`FAILURE`, with the error of the header", ["FAILURE", "FAILURE"]),
    ),
    answers(
        "chords.a_header_that_fails_in_a_chain",
        "the result of a chain in which the header of a chord fails",
        (OLDEST, "`PENDING` for ever", [PENDING, PENDING]),
        ("5.7", "`FAILURE` with the `ChordError`", [CHORD_ERROR, CHORD_ERROR]),
    ),
    lines(
        "chords.a_header_that_fails_in_a_chain",
        "the last part of such a header, which did not fail itself",
        (
            OLDEST,
            f"`FAILURE` after `SUCCESS`: `{NO_TASK_ID}`",
            f"run add 1.2: result 22, error ValueError: {NO_TASK_ID}",
        ),
        ("5.4", "`SUCCESS`", "run add 1.2: result 22, error None"),
    ),
    answers(
        "versions.a_part_that_is_rejected",
        "a chord of which a part rejects its message for good",
        (OLDEST, "`PENDING` for ever", PENDING),
        (
            "5.7",
            "`FAILURE` with a `ChordError`",
            ["FAILURE", "ChordError: Dependency <reject_for_good 1> raised reject requeue=False: never"],
        ),
    ),
    lines(
        "versions.the_cause_of_a_chord_error",
        "`__cause__` of a `ChordError`",
        (OLDEST, "`None`", "<id 2>, attempt 1: errback cause='None'"),
        ("5.6", "the error of the part", "<id 2>, attempt 1: errback cause=\"ValueError('boom')\""),
    ),
    answers(
        "versions.an_errback_of_a_chord_in_a_chord",
        "errbacks of a chord when a chord in its header fails",
        (OLDEST, "none runs", 0),
        ("5.5", "each runs once", 1),
    ),
    answers(
        "versions.a_link_of_a_chord",
        "`chord.apply_async(link=…)`",
        (OLDEST, "`TypeError`", "TypeError"),
        ("5.7", "is linked to the body, beside its own", ["given", "own"]),
    ),
    probe(
        "three_groups_in_a_row",
        "three groups in a row in a chain",
        (OLDEST, "the results of the second are lost: `ChordError`, and tasks run twice", ["FAILURE", 6]),
        ("5.4", "each waits for the one before it", ["SUCCESS", 5]),
    ),
    answers(
        "versions.an_empty_group_in_a_chain",
        "an empty group inside a chain",
        (OLDEST, "is a chord that gives `[]`", ["FAILURE", 'TypeError: can only concatenate list (not "int") to list']),
        ("5.7", "is left out", ["SUCCESS", 12]),
    ),
    answers(
        "versions.an_empty_group_first",
        "an empty group at the head of a chain",
        (OLDEST, "`TypeError` at the call", "TypeError"),
        ("5.7", "is left out", ["SUCCESS", 2]),
    ),
    answers(
        "versions.an_empty_chain_in_a_group",
        "an empty chain inside a group",
        (OLDEST, "`IndexError` at the call", "IndexError"),
        ("5.7", "is left out", ["SUCCESS", 2]),
    ),
    answers(
        "stamps.map_and_chunks",
        "stamps, links and options of `task.map()`",
        (OLDEST, "are lost", [[[3, 3], [[2], [4]]], [{}, {}, {}]]),
        ("5.7", "are kept", [[[3, 3], [[2], [4]]], [{"colour": "red"}, {}, {}]]),
    ),
    answers(
        "versions.a_link_of_what_is_replaced",
        "the link of a task that is replaced by a chain",
        (OLDEST, "runs twice", [[12], [12]]),
        ("5.7", "runs once", [[12]]),
    ),
    answers(
        "versions.replaced_by_a_chain_that_ends_in_a_group",
        "the result of a task that is replaced by a chain which ends in a group",
        (OLDEST, "`PENDING` for ever", PENDING),
        ("5.7", "the results of the group", ["SUCCESS", [12, 22]]),
    ),
    lines(
        "chords.in_a_chain",
        "the message of a chain that holds a chord",
        (OLDEST, "what follows the chord is in its body", f"add 1, attempt 1: {IN_A_CHAIN} chain=['celery.chord']"),
        (
            "5.7",
            "what follows the chord is in the chain",
            f"add 1, attempt 1: {IN_A_CHAIN} chain=['parity_app.add', 'celery.chord']",
        ),
    ),
    # -- hooks, signals, errbacks
    lines(
        "timing.a_hard_limit",
        "`on_failure` and `after_return` after a hard time limit",
        (OLDEST, "are not called", ""),
        ("5.7", "are called, in the worker's main process", f"sleep_deeply 1, attempt 1: {OVER}"),
    ),
    lines(
        "hooks.on_success_fails",
        "a task whose `on_success` raises",
        (OLDEST, "`FAILURE` after `SUCCESS`, and errbacks run", f"{BROKEN_HOOK} RuntimeError: on_success is broken"),
        ("5.7", "`SUCCESS`; the error is logged", f"{BROKEN_HOOK} None"),
    ),
    lines(
        "hooks.after_return_fails",
        "a task whose `after_return` raises",
        (OLDEST, "`FAILURE` after `SUCCESS`, and errbacks run", f"{BROKEN_HOOK} RuntimeError: after_return is broken"),
        ("5.7", "`SUCCESS`; the error is logged", f"{BROKEN_HOOK} None"),
    ),
    answers(
        "links.an_errback_that_fails",
        "a task that fails and whose errback raises",
        (OLDEST, "ends with the error of the errback; other errbacks do not run", BROKEN_ERRBACK),
        ("5.7", "keeps its own error; the others run", BOOM),
    ),
    lines(
        "versions.the_runtime_of_a_success",
        "`runtime` for receivers of `task_success`",
        (OLDEST, "is not told", "timed 1, attempt 1: told runtime=False"),
        ("5.7", "is told", "timed 1, attempt 1: told runtime=True"),
    ),
    # -- acknowledgement
    answers(
        "delivery.killed_and_run_again",
        "a late task with `acks_on_failure_or_timeout=False` over its hard time limit",
        (OLDEST, "is neither acknowledged nor rejected", ["FAILURE", "TimeLimitExceeded: TimeLimitExceeded(0.5,)"]),
        ("5.5", "goes back to its queue and runs again", ["SUCCESS", "in time"]),
    ),
    probe(
        "over_its_limit_with_acks_on_timeout",
        "`acks_on_timeout=False` and `acks_on_failure=False` of a late task",
        (OLDEST, "have no effect: `acks_on_failure_or_timeout` decides", False),
        ("5.7", "decide, each in its case", True),
    ),
    probe(
        "a_process_that_ends_with_retry_on_worker_lost",
        "`retry_on_worker_lost=True` of a task whose process ends",
        (OLDEST, "has no effect", "FAILURE"),
        ("5.7", "the task is retried", "SUCCESS"),
    ),
    probe(
        "held_for_its_eta_across_an_outage",
        "what is held for its eta when the connection is lost",
        (OLDEST, "is forgotten, delivered again, and runs once", 1),
        ("5.6.1", "stays, is delivered again, and runs twice", 2),
        ("5.6.3", "is forgotten, delivered again, and runs once", 1),
    ),
    # -- time
    probe(
        "a_countdown_into_summer_time",
        "a countdown of two hours across the beginning of summer time in the zone of the app",
        (OLDEST, "takes one hour", 1.0),
        ("5.7", "takes two hours", 2.0),
    ),
    probe(
        "a_beat_interval_into_summer_time",
        "an interval of two hours of beat across it",
        (OLDEST, "takes one hour", 1.0),
        ("5.7", "takes two hours", 2.0),
    ),
    probe(
        "a_day_of_beat_into_summer_time",
        "an interval of a day of beat across it",
        (OLDEST, "takes 23 hours", 23.0),
        ("5.7", "takes 24 hours", 24.0),
    ),
    probe(
        "a_crontab_in_the_hour_that_is_left_out",
        "`crontab(hour=2, minute=30)` on the day on which 03:00 follows 01:59",
        (OLDEST, "is due at 03:00", 0.5),
        ("5.5.2", "is due at 03:30", 1.0),
    ),
    probe(
        "the_local_zone",
        "`app.timezone` with `enable_utc=False` and no `timezone`",
        (OLDEST, "Celery's `LocalTimezone`, with the offset of today", "LocalTimezone"),
        ("5.6", "the zone of the system", "ZoneInfo"),
    ),
    probe(
        "a_crontab_with_the_name_of_a_month",
        '`crontab(month_of_year="jan")`',
        (OLDEST, "`ValueError`", "ValueError"),
        ("5.5", "January", {1}),
    ),
    probe(
        "a_crontab_of_a_day_that_never_comes",
        "`crontab(day_of_month=30, month_of_year=2)`",
        (OLDEST, "is never due", {2}),
        ("5.7", "`ValueError`", "ValueError"),
    ),
    probe(
        "the_header_of_beat",
        "`request.headers` of what beat has sent",
        (OLDEST, "say nothing of beat", False),
        ("5.7", "have `celery_beat_task`", True),
    ),
    # -- tests without a worker
    probe(
        "a_request_that_is_pushed_twice",
        "a second `task.push_request(…)`",
        (OLDEST, "begins with an empty request", (None, 3)),
        ("5.5", "begins with the one before", ("one", 3)),
    ),
    probe(
        "a_revoked_eager_result",
        "`get()` of a result of `apply()` that was revoked",
        (OLDEST, "raises `Exception`", "Exception"),
        ("5.7", "raises `TaskRevokedError`", "TaskRevokedError"),
    ),
    probe(
        "two_tasks_of_one_name",
        "two functions registered under one name",
        (OLDEST, "no warning; the first one wins", []),
        ("5.7", "`DuplicateTaskNameWarning`; the first one wins", ["DuplicateTaskNameWarning"]),
    ),
    probe(
        "a_queue_as_an_attribute",
        "`@app.task(queue=…)`, or `priority`, `exchange`, `routing_key`, `delivery_mode`",
        (OLDEST, "no warning", []),
        ("5.7", "`CDeprecationWarning`", ["CDeprecationWarning"]),
    ),
)

#: Settings that a test may set, and the first release that knows them.
SETTINGS: dict[str, str] = {
    "worker_enable_prefetch_count_reduction": "5.4",
    "broker_native_delayed_delivery_queue_type": "5.5",
    "task_default_queue_type": "5.5",
    "worker_detect_quorum_queues": "5.5",
    "worker_enable_soft_shutdown_on_idle": "5.5",
    "worker_soft_shutdown_timeout": "5.5",
    "task_create_missing_queue_exchange_type": "5.6",
    "task_create_missing_queue_type": "5.6",
    "worker_disable_prefetch": "5.6",
    "worker_eta_task_limit": "5.6",
    "beat_enable_remote_control": "5.7",
    "broker_pool_acquire_timeout": "5.7",
    "result_chord_expires": "5.7",
    "result_failure_expires": "5.7",
    "task_acks_on_failure": "5.7",
    "task_acks_on_timeout": "5.7",
    "task_repr_maxlevels": "5.7",
    "task_retry_on_worker_lost": "5.7",
    "worker_pool_start_method": "5.7",
}


def markdown() -> Iterator[str]:
    """The rows of the page."""
    for behaviour in BEHAVIOURS:
        for before, after in zip(behaviour.steps, behaviour.steps[1:], strict=False):
            yield f"| {behaviour.what} | {before.says} | {after.since} | {after.says} |"
    yield from (f"| `{name}` | {since} |" for name, since in SETTINGS.items())
