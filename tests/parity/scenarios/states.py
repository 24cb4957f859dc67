"""States that a task passes through, built in and its own."""

from __future__ import annotations

from celery import current_task, states
from celery.exceptions import Ignore
from parity_app import app, task
from parity_scenario import outcome, scenario


@scenario()
def progress(harness):
    """update_state() with meta is part of the history; the result comes after it."""
    result = work.delay(3)
    harness.settle()
    return outcome(result), [state.meta for state in harness.run_of(result).states]


@task(bind=True)
def work(self, steps):
    for step in range(steps):
        self.update_state(state="PROGRESS", meta={"done": step, "of": steps})
    return steps


@scenario()
def what_the_backend_says_meanwhile(harness):
    """A body that asks the backend about itself reads what it has written."""
    return look_at_myself.delay().get(timeout=10)


@task(bind=True)
def look_at_myself(self):
    before = app.AsyncResult(self.request.id).state
    self.update_state(state="HALF", meta=[1, 2])
    mine = app.AsyncResult(self.request.id)
    return [before, mine.state, mine.info]


@scenario()
def progress_by_current_task(harness):
    """current_task is the task that runs."""
    result = work_indirectly.delay()
    harness.settle()
    return outcome(result)


@task
def work_indirectly():
    current_task.update_state(state="DEEP", meta={"name": current_task.name})


@scenario()
def a_state_for_another_task(harness):
    """update_state(task_id=...) writes under any id."""
    other = app.AsyncResult("00000000-0000-0000-0000-000000000001")
    mark.delay(other.id).get(timeout=10)
    return outcome(other)


@task(bind=True)
def mark(self, task_id):
    self.update_state(task_id=task_id, state="MARKED", meta="by another")


@scenario()
def a_final_state_by_hand(harness):
    """Ignore after update_state() leaves the state that the body has set."""
    result = decide_myself.delay()
    harness.settle()
    return outcome(result)


@task(bind=True)
def decide_myself(self):
    self.update_state(state="DECLINED", meta="out of stock")
    raise Ignore


@scenario()
def a_failure_by_hand(harness):
    """FAILURE that a body sets itself, with the meta that Celery wants of it."""
    result = fail_by_hand.delay()
    harness.settle()
    return outcome(result)


@task(bind=True)
def fail_by_hand(self):
    self.update_state(state=states.FAILURE, meta={"exc_type": "ValueError", "exc_message": ["by hand"]})
    raise Ignore


@scenario()
def a_state_after_success(harness):
    """SUCCESS is final: what is stored later does not replace it."""
    result = too_late.delay()
    harness.settle()
    mark_as(result.id, "LATE")
    return outcome(result), app.AsyncResult(result.id).state


@task
def too_late():
    return "done"


def mark_as(task_id, state):
    app.backend.store_result(task_id, {"late": True}, state)


@scenario(task_track_started=True)
def started_is_tracked(harness):
    """task_track_started: a body can see that it has started."""
    result = look_whether_started.delay()
    return result.get(timeout=10), harness.run_of(result).states


@task(bind=True)
def look_whether_started(self):
    mine = app.AsyncResult(self.request.id)
    return [mine.state, sorted(mine.info)]


@scenario()
def started_is_not_tracked(harness):
    """Without it the backend knows nothing of STARTED; the history does."""
    result = look_only_at_the_state.delay()
    return result.get(timeout=10), harness.run_of(result).states


@task(bind=True)
def look_only_at_the_state(self):
    return app.AsyncResult(self.request.id).state


@scenario()
def nobody_knows_it(harness):
    """A result that nobody has published is PENDING."""
    return outcome(app.AsyncResult("00000000-0000-0000-0000-000000000002"))
