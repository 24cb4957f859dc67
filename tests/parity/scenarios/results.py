"""What a task returns or raises, and what its caller gets."""

from __future__ import annotations

import datetime
import decimal
import uuid

from parity_app import add, app, boom, echo, task
from parity_scenario import outcome, scenario


class Declined(Exception):
    """An error with arguments of its own."""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code


class Unpicklable(Exception):
    """Cannot be made again from its arguments, nor pickled."""

    def __init__(self, one, two):
        super().__init__("only one argument is kept")
        self.hook = lambda: (one, two)


@scenario()
def a_value(harness):
    """What a task returns is what get() gives."""
    return add.delay(1, y=2).get(timeout=10)


@scenario()
def none(harness):
    """A task that returns nothing succeeds with None."""
    result = nothing.delay()
    return result.get(timeout=10), result.state


@task
def nothing():
    pass


@scenario()
def values_travel_as_json(harness):
    """Tuples become lists and integer keys become strings, in arguments and in results."""
    return repr(mirror.delay((1, (2, 3)), named={1: "one", "ü": None}).get(timeout=10))


@task
def mirror(*args, **kwargs):
    return {"args": args, "kwargs": kwargs, 7: [(1, 2), {"deep": (3,)}]}


@scenario()
def values_that_the_serializer_keeps(harness):
    """Dates, decimals and UUIDs arrive as what they were."""
    moment = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.timezone.utc)
    given = [moment, moment.date(), decimal.Decimal("1.10"), uuid.UUID(int=7), 1.5]
    return [repr(value) for value in echo.delay(*given).get(timeout=10)[0]]


@scenario()
def an_error(harness):
    """An error in a body is FAILURE, with type, text and traceback."""
    result = boom.delay()
    harness.settle()
    return outcome(result), 'raise ValueError("boom")' in result.traceback, result.get(propagate=False).args


@scenario()
def an_error_is_raised_by_get(harness):
    """get() raises what the body raised."""
    try:
        return boom.delay().get(timeout=10)
    except ValueError as error:
        return repr(error)


@scenario()
def an_error_of_the_app(harness):
    """An error of the app's own class comes back as that class, with its arguments."""
    result = decline.delay(402)
    harness.settle()
    return outcome(result), type(result.result) is Declined, result.result.args


@task
def decline(code):
    raise Declined(code, "no money")


@scenario()
def an_error_that_cannot_be_made_again(harness):
    """An error whose class does not take its arguments back is still FAILURE, and its text survives."""
    result = fail_unpicklably.delay()
    harness.settle()
    return outcome(result), type(result.result).__name__


@task
def fail_unpicklably():
    raise Unpicklable(1, two=2)


@scenario()
def an_error_with_a_cause(harness):
    """The traceback tells the cause too."""
    result = convert.delay("x")
    harness.settle()
    return outcome(result), "direct cause" in result.traceback


@task
def convert(text):
    try:
        return int(text)
    except ValueError as error:
        raise RuntimeError(f"cannot convert {text}") from error


@scenario()
def an_error_defined_in_the_body(harness):
    """A class that nobody can import comes back under the same name."""
    result = fail_locally.delay()
    harness.settle()
    return outcome(result)


@task
def fail_locally():
    class Local(Exception):
        pass

    raise Local("nobody can import me")


@scenario()
def an_expected_error(harness):
    """throws= changes how an error is logged, not what becomes of it."""
    result = fail_as_expected.delay()
    harness.settle()
    return outcome(result)


@task(throws=(KeyError,))
def fail_as_expected():
    raise KeyError("expected")


@scenario()
def a_result_that_json_refuses(harness):
    """A result that cannot be encoded is the failure of its task."""
    result = give_a_set.delay()
    harness.settle()
    return result.state, type(result.result).__name__, harness.run_of(result).states


@task
def give_a_set():
    return {"members": {1}}


@scenario(result_serializer="pickle", accept_content=["json", "pickle"])
def an_error_as_the_result(harness):
    """An exception that is returned, not raised, is no failure."""
    result = give_an_error.delay()
    harness.settle()
    return outcome(result)


@task
def give_an_error():
    return ValueError("only returned")


@scenario()
def wrong_arguments_are_refused_at_the_call(harness):
    """The caller of a task with typing hears of wrong arguments at once."""
    try:
        add.delay(1)
    except TypeError as error:
        return str(error)
    return "published"


@scenario()
def wrong_arguments_without_typing(harness):
    """Without typing the body is what fails."""
    result = untyped.delay(1)
    harness.settle()
    return outcome(result)


@task(typing=False)
def untyped(x, y):
    return x + y


@scenario()
def an_unknown_task(harness):
    """A task that the worker does not know is FAILURE with NotRegistered."""
    result = app.send_task("results.no_such_task", (1,))
    harness.settle()
    return outcome(result)


@scenario()
def a_task_by_its_name(harness):
    """send_task() needs the name only."""
    return app.send_task("parity_app.add", (1, 2)).get(timeout=10)


@scenario()
def an_ignored_result(harness):
    """ignore_result on the task: it runs, and nothing is kept."""
    result = forget_me.delay()
    harness.settle()
    return result.state, result.get(timeout=10)


@task(ignore_result=True)
def forget_me():
    return "unseen"


@scenario()
def a_result_ignored_at_the_call(harness):
    """ignore_result at the call does the same, for one call."""
    ignored, kept = add.apply_async((1, 2), ignore_result=True), add.apply_async((3, 4))
    harness.settle()
    return outcome(ignored, kept)


@scenario()
def an_ignored_result_asked_for_after_all(harness):
    """ignore_result=False at the call wins over the task, since Celery 5.6.3."""
    result = forget_me.apply_async(ignore_result=False)
    harness.settle()
    return outcome(result)


@scenario()
def an_ignored_error(harness):
    """An error of a task whose result is ignored is ignored too."""
    result = fail_unseen.delay()
    harness.settle()
    return outcome(result)


@task(ignore_result=True)
def fail_unseen():
    raise ValueError("unseen")


@scenario()
def an_ignored_result_with_stored_errors(harness):
    """store_errors_even_if_ignored keeps the error."""
    result = fail_seen.delay()
    harness.settle()
    return outcome(result)


@task(ignore_result=True, store_errors_even_if_ignored=True)
def fail_seen():
    raise ValueError("seen")


@scenario()
def a_forgotten_result(harness):
    """forget() deletes what is stored."""
    result = add.delay(1, 2)
    value = result.get(timeout=10)
    result.forget()
    return value, app.AsyncResult(result.id).state


@scenario(result_extended=True)
def an_extended_result(harness):
    """result_extended keeps the call beside its result."""
    result = add.apply_async((1,), {"y": 2}, queue="celery")
    result.get(timeout=10)
    return result.name, result.args, result.kwargs, result.retries, result.queue, "@" in result.worker


@scenario(result_extended=True)
def an_extended_error(harness):
    """result_extended keeps the call beside its error."""
    result = boom.delay("x")
    harness.settle()
    return outcome(result), result.name, result.args, result.kwargs, result.retries, result.queue
