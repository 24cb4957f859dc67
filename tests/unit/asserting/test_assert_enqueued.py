"""`assert_enqueued`: a signature against what was published."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from textwrap import dedent
from unittest.mock import ANY

import pytest
from asserting_scenes import Scene, alert, at, charge, failure, log, mocked, report, send_email, sync_crm
from dirty_equals import IsPositiveInt
from kombu import Queue

from pytest_taskharness.asserting import exactly, including


def test_returns_the_first_message_that_matches(scene):
    scene.publish(sync_crm, 7, id="a").publish(send_email, 7, "hi", id="b").publish(send_email, 7, "hi", id="c")

    assert scene.harness.assert_enqueued(send_email.s(7)).id == "b"


@pytest.mark.parametrize(
    "sig",
    [
        send_email.s(),
        send_email.s(7),
        send_email.s(7, "welcome"),
        send_email.s(user_id=7),
        send_email.s(template="welcome", user_id=7),
        send_email.s(7, template=ANY),
        send_email.s(IsPositiveInt),
        send_email.s(pytest.approx(7.0000000001)),
        send_email.s(locale="en"),
        send_email.s().set(queue="mail"),
        send_email.s().set(queue=Queue("mail")),
        send_email.s().set(priority=9),
        send_email.s().set(expires=None),
        send_email.s().set(task_id="1f3c9a7e-0001"),
        send_email.s().set(countdown=60),
        send_email.s().set(eta=at(60)),
        exactly(send_email.s(7, "welcome").set(priority=9, countdown=60)),
        exactly(send_email.s(template="welcome", user_id=7).set(priority=9, eta=at(60), queue="mail")),
    ],
    ids=repr,
)
def test_what_is_written_must_hold_and_the_rest_is_not_asked(scene, sig):
    scene.publish(send_email, 7, kwargs={"template": "welcome"}, queue="mail", options={"priority": 9}, eta=at(60))

    scene.harness.assert_enqueued(sig, times=1)


@pytest.mark.parametrize(
    "sig",
    [
        send_email.s(8),
        send_email.s("7"),
        send_email.s(template="bye"),
        send_email.s(locale="de"),
        send_email.s().set(queue="celery"),
        send_email.s().set(priority=None),
        send_email.s().set(expires=60),
        send_email.s().set(countdown=61),
        send_email.s().set(countdown=0),
        exactly(send_email.s(7).set(priority=9, countdown=60)),
        exactly(send_email.s(7, "welcome").set(countdown=60)),
        exactly(send_email.s(7, "welcome").set(priority=9)),
        exactly(send_email.s(7, "welcome", "en").set(priority=9, countdown=60)),
        sync_crm.s(7),
    ],
    ids=repr,
)
def test_one_thing_that_does_not_hold_is_enough(scene, sig):
    scene.publish(send_email, 7, "welcome", queue="mail", options={"priority": 9}, eta=at(60))

    assert scene.harness.assert_enqueued(sig, times=0) == []


def test_a_countdown_of_zero_is_no_countdown(scene):
    scene.publish(sync_crm, 7)

    scene.harness.assert_enqueued(sync_crm.s().set(countdown=0))


def test_expires_may_be_an_instant_where_the_message_has_seconds(scene):
    scene.publish(sync_crm, 7, after=10, options={"expires": 60.0})

    scene.harness.assert_enqueued(sync_crm.s().set(expires=at(70)))
    scene.harness.assert_enqueued(sync_crm.s().set(expires=60))


def test_lists_equal_tuples_at_any_depth(scene):
    scene.publish(charge, [(1, 2), {"x": [3]}], {"lines": [(1,)]})

    scene.harness.assert_enqueued(charge.s(((1, 2), {"x": (3,)}), {"lines": ([1],)}))


def test_including_asks_for_a_nested_part(scene):
    scene.publish(charge, 42, {"address": {"country": "DE", "city": "Bonn"}, "lines": [{"sku": 1, "n": 2}]})

    scene.harness.assert_enqueued(charge.s(amount=including({"address": {"country": "DE"}, "lines": [{"sku": 1}]})))
    assert scene.harness.assert_enqueued(charge.s(amount=including({"lines": []})), times=0) == []


def test_extra_positional_arguments_compare_as_a_prefix_and_extra_keywords_as_a_part(scene):
    scene.publish(log, "info", "a", "b", kwargs={"user": 7, "host": "x"})

    scene.harness.assert_enqueued(log.s("info", "a", host="x"))
    assert scene.harness.assert_enqueued(log.s("info", "b"), times=0) == []


def test_without_a_registry_arguments_compare_as_they_were_written(scene):
    scene.publish(send_email, 7, kwargs={"template": "hi"})

    scene.bare.assert_enqueued(send_email.s(7, template="hi"))
    assert scene.bare.assert_enqueued(send_email.s(user_id=7), times=0) == []


def test_a_message_whose_arguments_do_not_fit_its_task_can_still_be_found_by_position(scene):
    scene.publish(sync_crm, 7, 8)

    assert "<not given>" in failure(scene.harness.assert_enqueued, sync_crm.s(7))


def test_callbacks_and_errbacks_can_be_asked_for(scene):
    scene.publish(sync_crm, 7, embed={"callbacks": [send_email.s("hi"), log.s("x")], "errbacks": [alert.s()]})

    scene.harness.assert_enqueued(sync_crm.s(7).set(link=log.s("x")))
    scene.harness.assert_enqueued(sync_crm.s(7).set(link=[log.s("x"), send_email.s("hi")], link_error=alert.s()))
    assert scene.harness.assert_enqueued(sync_crm.s(7).set(link=[log.s("y")]), times=0) == []
    assert scene.harness.assert_enqueued(exactly(sync_crm.s(7)), times=0) == []
    assert scene.harness.assert_enqueued(exactly(sync_crm.s(7).set(link=log.s("x"))), times=0) == []


def test_a_retry_does_not_count_as_enqueued_again(scene):
    scene.publish(sync_crm, 7).publish(sync_crm, 7, retries=1)

    scene.harness.assert_enqueued(sync_crm.s(7), times=1)


# -- how many


def test_counts_give_lists(scene):
    scene.publish(sync_crm, 1, id="a").publish(sync_crm, 2, id="b")
    harness = scene.harness

    assert [message.id for message in harness.assert_enqueued(sync_crm.s(), times=2)] == ["a", "b"]
    assert [message.id for message in harness.assert_enqueued(sync_crm.s(), at_least=1)] == ["a", "b"]
    assert [message.id for message in harness.assert_enqueued(sync_crm.s(1), at_least=1, at_most=1)] == ["a"]
    assert harness.assert_enqueued(report.s(), at_most=1) == []
    assert harness.assert_enqueued(sync_crm.s(1), times=1).id == "a"


@pytest.mark.parametrize(
    "counts, text",
    [
        ({"times": -1}, "times, at_least and at_most are counts: 0 or more; got [-1]"),
        ({"times": 1, "at_least": 1}, "give times, or at_least and at_most, not both"),
        ({"at_least": 3, "at_most": 2}, "at_least=3 is more than at_most=2"),
    ],
)
def test_counts_that_contradict_each_other_are_refused(scene, counts, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        scene.harness.assert_enqueued(sync_crm.s(), **counts)


@pytest.mark.parametrize(
    "counts, wanted",
    [
        ({"times": 3}, "3 messages"),
        ({"times": 1}, "1 message"),
        ({"at_least": 3}, "at least 3 messages"),
        ({"at_most": 1}, "at most 1 message"),
        ({"at_least": 0, "at_most": 1}, "at most 1 message"),
        ({"at_least": 3, "at_most": 4}, "3 to 4 messages"),
        ({"at_least": 3, "at_most": 3}, "3 messages"),
    ],
)
def test_the_text_says_how_many_were_wanted(scene, counts, wanted):
    scene.publish(sync_crm, 1).publish(sync_crm, 2, after=1)

    assert failure(scene.harness.assert_enqueued, sync_crm.s(), **counts) == dedent(f"""\
        expected {wanted} matching
            shop.tasks.sync_crm(...)
        but 2 match:
            shop.tasks.sync_crm(1)  queue='celery'  t+0.000s  at shop/signup.py:31 in sign_up
            shop.tasks.sync_crm(2)  queue='celery'  t+1.000s  at shop/signup.py:31 in sign_up""")


def test_too_few_shows_the_nearest_of_the_rest(scene):
    scene.publish(send_email, 7, "hi").publish(send_email, 8, "hi", after=1)

    assert failure(scene.harness.assert_enqueued, send_email.s(user_id=7), times=2) == dedent("""\
        expected 2 messages matching
            shop.tasks.send_email(user_id=7)
        but 1 matches:
            shop.tasks.send_email(7, 'hi')  queue='celery'  t+0.000s  at shop/signup.py:31 in sign_up
        nearest of the rest (1 of 2 conditions):
            shop.tasks.send_email(user_id=8, template='hi')
                                  ^ expected 7
            enqueued at shop/signup.py:31 in sign_up, t+1.000s""")


# -- texts


def test_the_text_of_the_specification(scene):
    scene.publish(send_email, 7, "welcome").publish(sync_crm, 7)

    text = failure(scene.harness.assert_enqueued, send_email.s(user_id=ANY, template="welcome").set(queue="mail"))

    assert text == dedent("""\
        expected 1 message matching
            shop.tasks.send_email(user_id=ANY, template='welcome')  queue='mail'
        but 2 messages were enqueued and none matches. Nearest (3 of 4 conditions):
            shop.tasks.send_email(user_id=7, template='welcome')    queue='celery'
                                                                    ^ expected 'mail'
            enqueued at shop/signup.py:31 in sign_up, t+0.000s
        hint: no route sends shop.tasks.send_email to 'mail' (task_routes has 1 entry)
        other: shop.tasks.sync_crm(7)  queue='celery'""")


def test_each_thing_that_differs_has_its_caret(scene):
    scene.publish(send_email, 7, kwargs={"template": "welcome"}, after=0.5, eta=at(60.5))

    text = failure(scene.harness.assert_enqueued, send_email.s(8, locale="de").set(countdown=30, priority=3))

    assert text == dedent("""\
        expected 1 message matching
            shop.tasks.send_email(user_id=8, locale='de')                      countdown=30 priority=3
        but 1 message was enqueued and it does not match (1 of 5 conditions):
            shop.tasks.send_email(user_id=7, template='welcome', locale='en')  countdown=60 priority=None
                                  ^ expected 8
                                                                 ^ expected 'de' (left to its default)
                                                                               ^ expected 30
                                                                                            ^ expected 3
            enqueued at shop/signup.py:31 in sign_up, t+0.500s, due t+60.500s""")


def test_nothing_enqueued_at_all(scene):
    assert failure(scene.harness.assert_enqueued, report.s()) == dedent("""\
        expected 1 message matching
            shop.tasks.report()
        but nothing was enqueued""")


def test_the_nearest_may_be_another_task(scene):
    scene.publish(sync_crm, 7, call_site=None, parent_id="9a0e1b2c-0001").publish(report, call_site=None)

    assert failure(scene.harness.assert_enqueued, send_email.s(7, "hi")) == dedent("""\
        expected 1 message matching
            shop.tasks.send_email(user_id=7, template='hi')
        but 2 messages were enqueued and none matches. Nearest (1 of 3 conditions, another task):
            shop.tasks.sync_crm(user_id=7)
            ^ expected shop.tasks.send_email
            enqueued by Celery, after 9a0e1b2c, t+0.000s
        other: shop.tasks.report()  queue='celery'""")


def test_an_argument_that_is_missing_is_shown_as_missing(scene):
    scene.publish(log, "info").publish(log, "info", call_site=None)

    assert failure(scene.harness.assert_enqueued, log.s("info", "a", user=7)) == dedent("""\
        expected 1 message matching
            shop.tasks.log(level='info', 'a', user=7)
        but 2 messages were enqueued and none matches. Nearest (2 of 4 conditions):
            shop.tasks.log(level='info', <not given>, user=<not given>)
                                         ^ expected 'a'
                                                      ^ expected 7
            enqueued at shop/signup.py:31 in sign_up, t+0.000s
        other: shop.tasks.log('info')  queue='celery'""")


def test_exactly_points_at_what_is_too_much(scene):
    scene.publish(send_email, 7, "hi", options={"priority": 3, "headers": {}, "serializer": "json"}, eta=at(60))

    assert failure(scene.harness.assert_enqueued, exactly(send_email.s(7))) == dedent("""\
        expected 1 message matching exactly
            shop.tasks.send_email(user_id=7)
        but 1 message was enqueued and it does not match (2 of 5 conditions):
            shop.tasks.send_email(user_id=7, template='hi')  priority=3 countdown=60
                                             ^ not expected
                                                             ^ not expected
                                                                        ^ not expected
            enqueued at shop/signup.py:31 in sign_up, t+0.000s, due t+60.000s""")


def test_exactly_without_arguments_says_so(scene):
    assert failure(scene.harness.assert_enqueued, exactly(send_email.s())) == dedent("""\
        expected 1 message matching exactly
            shop.tasks.send_email()
        but nothing was enqueued""")


def test_values_that_look_alike_are_told_apart(scene):
    scene.publish(sync_crm, "7")

    assert "^ expected 7 (int, found str)" in failure(scene.harness.assert_enqueued, sync_crm.s(7))


def test_a_nested_difference_is_located(scene):
    scene.publish(sync_crm, {"lines": [{"n": 1}, {"n": 2}]})

    text = failure(scene.harness.assert_enqueued, sync_crm.s({"lines": [{"n": 1}, {"n": 3}]}))
    part = failure(scene.harness.assert_enqueued, sync_crm.s(including({"lines": [ANY, including({"m": 3})]})))
    length = failure(scene.harness.assert_enqueued, sync_crm.s({"lines": [{"n": 1}, {"n": 2}, 4]}))

    assert "(first difference at ['lines'][1]['n'])" in text
    assert "(first difference at ['lines'][1]['m'], which is missing)" in part
    assert "(first difference at ['lines'][2], which is missing)" in length


class Angry:
    def __eq__(self, other):
        raise RuntimeError("not today")

    def __hash__(self):
        return 0

    def __repr__(self):
        return "Angry()"


def test_a_matcher_that_raises_does_not_match_and_says_so(scene):
    scene.publish(sync_crm, 7)

    assert failure(scene.harness.assert_enqueued, sync_crm.s(Angry())) == dedent("""\
        expected 1 message matching
            shop.tasks.sync_crm(user_id=Angry())
        but 1 message was enqueued and it does not match (1 of 2 conditions):
            shop.tasks.sync_crm(user_id=7)
                                ^ expected Angry() (comparing raised RuntimeError: not today)
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


def test_values_without_a_repr_and_very_long_ones_do_not_spoil_the_text(scene):
    scene.publish(charge, Unshowable(), "x" * 200)

    text = failure(scene.harness.assert_enqueued, charge.s(1, "a\nb"))

    assert "order_id=<Unshowable, whose repr raised RuntimeError>, amount='xxxx" in text
    assert max(map(len, text.splitlines())) < 200


def test_at_most_ten_others_are_listed(scene):
    for number in range(13):
        scene.publish(sync_crm, number)

    lines = failure(scene.harness.assert_enqueued, sync_crm.s(99)).splitlines()

    assert lines[-2:] == ["other: shop.tasks.sync_crm(10)  queue='celery'", "other: … and 2 more"]
    assert sum(line.startswith("other: shop") for line in lines) == 10


def test_the_nearest_is_the_one_with_most_conditions_of_the_same_task(scene):
    scene.publish(send_email, 1, "x").publish(send_email, 7, "welcome", queue="mail").publish(sync_crm, 7, queue="mail")

    text = failure(scene.harness.assert_enqueued, send_email.s(7, "bye").set(queue="mail"))

    assert "shop.tasks.send_email(user_id=7, template='welcome')  queue='mail'" in text
    assert "Nearest (3 of 4 conditions)" in text


# -- hints


def test_a_retry_that_would_match_is_mentioned(scene):
    scene.publish(sync_crm, 8).publish(sync_crm, 7, retries=1)

    assert failure(scene.harness.assert_enqueued, sync_crm.s(7)).splitlines()[-1] == (
        "hint: one that matches was published as a retry, under the id of its first attempt; that does not count"
    )


def test_a_method_that_a_test_has_patched_is_mentioned(scene):
    scene.publish(sync_crm, 7)

    assert failure(scene.harness.assert_enqueued, mocked.s()).splitlines()[-1] == (
        "hint: shop.tasks.mocked.delay is a MagicMock: what is called there is not published"
    )


def test_an_eta_without_a_timezone_is_mentioned(scene):
    scene.publish(sync_crm, 7, eta=at(60))

    text = failure(scene.harness.assert_enqueued, sync_crm.s(7).set(eta=datetime(2030, 1, 1, 0, 1)))

    assert text.splitlines()[-1] == "hint: the expected eta has no timezone, and one without never equals one with"


def test_a_task_that_is_a_later_link_is_mentioned(scene):
    scene.publish(charge, 42, 999, embed={"chain": [sync_crm.s(), send_email.si(7, "hi")], "callbacks": None})

    assert failure(scene.harness.assert_enqueued, sync_crm.s(7)).splitlines()[-1] == (
        "hint: shop.tasks.sync_crm has not started: a link before it, shop.tasks.charge(42, 999) 1f3c9a7e, has not "
        "ended yet (PENDING): call harness.settle()"
    )


def test_a_route_is_explained_only_for_the_same_task_and_another_queue(scene):
    scene.publish(sync_crm, 7, queue="mail")
    harness = scene.harness

    assert "no route" not in failure(harness.assert_enqueued, send_email.s(7).set(queue="mail"))
    assert "no route" not in failure(harness.assert_enqueued, sync_crm.s(8).set(queue="mail"))
    assert "no route" not in failure(harness.assert_enqueued, sync_crm.s(7).set(queue="celery"))
    assert "no route" not in failure(scene.bare.assert_enqueued, sync_crm.s(7).set(queue="celery"))


# -- what the publisher hid


def hidden_scene():
    scene = Scene()
    scene.publish(send_email, 7, "s3cret", argsrepr="(7, '***')", hidden=True)
    return scene


def test_hidden_values_match_but_are_never_shown():
    scene = hidden_scene()

    assert scene.harness.assert_enqueued(send_email.s(7, "s3cret"))
    text = failure(scene.harness.assert_enqueued, send_email.s(8, "s3cret").set(queue="mail"))

    assert text == dedent("""\
        expected 1 message matching
            shop.tasks.send_email(user_id=8, template=<hidden>)  queue='mail'
        but 1 message was enqueued and it does not match (2 of 4 conditions):
            shop.tasks.send_email(7, '***')                      queue='celery'
                                  ^ expected user_id=8
                                                                 ^ expected 'mail'
            enqueued at shop/signup.py:31 in sign_up, t+0.000s
        hint: no route sends shop.tasks.send_email to 'mail' (task_routes has 1 entry)""")


def test_hidden_values_are_not_shown_in_lists_either():
    scene = hidden_scene()
    scene.publish(send_email, 8, "other", kwargs={})

    assert "s3cret" not in failure(scene.harness.assert_enqueued, send_email.s(template="s3cret"), times=2)
    assert "s3cret" not in failure(scene.harness.assert_enqueued, send_email.s(8, "s3cret"))
    assert "s3cret" not in failure(scene.harness.assert_enqueued, exactly(send_email.s(7)))
    assert "s3cret" not in failure(scene.harness.assert_enqueued, sync_crm.s(7))


class Gossip:
    def __eq__(self, other):
        raise RuntimeError(f"{other!r} is not me")

    __hash__ = None


def test_a_matcher_that_raises_cannot_tell_a_hidden_value():
    text = failure(hidden_scene().harness.assert_enqueued, send_email.s(7, Gossip()))

    assert "(comparing raised RuntimeError)" in text
    assert "s3cret" not in text


def test_exactly_says_of_hidden_arguments_only_that_there_are_more():
    text = failure(hidden_scene().harness.assert_enqueued, exactly(send_email.s(7)))

    assert "^ expected nothing more" in text


def test_an_expectation_that_hides_its_arguments_is_shown_as_it_wants(scene):
    hidden = send_email.s(7, "s3cret").set(argsrepr="(7, '***')")

    text = failure(scene.harness.assert_enqueued, hidden)

    assert "shop.tasks.send_email(7, '***')" in text
    assert "s3cret" not in text


# -- mistakes of the test


NO_SIGNATURE = "expected a Celery signature, got the task {}; write {}, with the arguments that matter"


@pytest.mark.parametrize(
    "sig, text",
    [
        (sync_crm, NO_SIGNATURE.format("shop.tasks.sync_crm", "sync_crm.s()")),
        ("shop.x", NO_SIGNATURE.format("shop.x", "celery.signature('shop.x')")),
        (42, "expected a Celery signature, such as send_email.s(user_id=7); got 42"),
        (
            sync_crm.s(1, 2),
            "shop.tasks.sync_crm(1, 2) cannot be expected: too many positional arguments; the task takes (user_id)",
        ),
        (
            send_email.s(usr_id=1),
            ("shop.tasks.send_email(usr_id=1) cannot be expected: got an unexpected keyword argument 'usr_id'; "
            "the task takes (user_id, template, locale='en')"),
        ),
        (
            sync_crm.s("s3cret", 2).set(argsrepr="('***', 2)"),
            "shop.tasks.sync_crm('***', 2) cannot be expected: too many positional arguments; the task takes (user_id)",
        ),
    ],
    ids=["task", "name", "number", "too many", "misspelt", "hidden"],
)  # fmt: skip
def test_an_expectation_that_nothing_could_meet_is_refused(scene, sig, text):
    with pytest.raises(TypeError) as caught:
        scene.harness.assert_enqueued(sig)

    assert str(caught.value) == text


def test_delays_are_compared_to_the_millisecond(scene):
    scene.publish(sync_crm, 7, eta=at(0) + timedelta(microseconds=333333))

    scene.harness.assert_enqueued(sync_crm.s().set(countdown=1 / 3))
    scene.harness.assert_enqueued(sync_crm.s().set(eta=datetime(2030, 1, 1, 0, 0, 0, 333333, tzinfo=timezone.utc)))
