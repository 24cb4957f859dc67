"""`assert_not_enqueued`, `assert_enqueued_in_order`, `enqueues` and `enqueues_nothing`."""

from __future__ import annotations

from datetime import datetime, timedelta
from textwrap import dedent

import pytest
from asserting_scenes import World, at, charge, failure, report, send_email, sync_crm
from celery import chain, group

from pytest_taskharness.errors import TimeTravelError

# -- assert_not_enqueued


def test_drains_before_it_looks(scene):
    scene.world = World(work=lambda: scene.publish(sync_crm, 7, after=5))

    text = failure(scene.harness.assert_not_enqueued, sync_crm.s(7))

    assert scene.world.told == ["drain"]
    assert text == dedent("""\
        expected no message matching
            shop.tasks.sync_crm(user_id=7)
        but 1 matches:
            shop.tasks.sync_crm(7)  queue='celery'  t+5.000s  at shop/signup.py:31 in sign_up""")


@pytest.mark.parametrize("until", [timedelta(days=7), at(7 * 86400)])
def test_until_advances_the_clock(scene, until):
    scene.harness.assert_not_enqueued(report.s(), until=until)

    assert scene.world.told == [at(7 * 86400)]


def test_until_is_part_of_the_text(scene):
    scene.publish(sync_crm, 7, eta=at(60), call_site=None).publish(sync_crm, 88, after=1)

    assert failure(scene.harness.assert_not_enqueued, sync_crm.s(), until=at(60)) == dedent("""\
        expected no message matching, until t+60.000s
            shop.tasks.sync_crm(...)
        but 2 match:
            shop.tasks.sync_crm(7)   queue='celery'  t+0.000s  due t+60.000s, by Celery
            shop.tasks.sync_crm(88)  queue='celery'  t+1.000s  at shop/signup.py:31 in sign_up""")


def test_a_timeline_from_a_file_is_looked_at_as_it_is(scene):
    scene.publish(sync_crm, 7)

    scene.bare.assert_not_enqueued(report.s())
    scene.bare.assert_not_enqueued(report.s(), until=timedelta(hours=1))
    assert "but 1 matches" in failure(scene.bare.assert_not_enqueued, sync_crm.s(), until=timedelta(hours=1))


def test_on_an_empty_timeline_until_counts_from_its_start(scene):
    scene.bare.assert_not_enqueued(report.s(), until=timedelta(hours=1))


def test_until_must_be_a_time_with_a_timezone(scene):
    with pytest.raises(TimeTravelError, match="has no timezone; write datetime"):
        scene.harness.assert_not_enqueued(report.s(), until=datetime(2030, 1, 2))
    with pytest.raises(TypeError, match="expected an aware datetime or a timedelta, got 7"):
        scene.harness.assert_not_enqueued(report.s(), until=7)


def test_a_canvas_can_be_excluded_too(scene):
    with scene.real_publishing():
        chain(charge.s(42, 999), send_email.si(7, "hi")).apply_async()

    scene.harness.assert_not_enqueued(chain(charge.s(42, 999), send_email.si(8, "hi")))
    text = failure(scene.harness.assert_not_enqueued, chain(charge.s(42, 999), send_email.si(7)))

    assert text == dedent("""\
        expected no chain matching
            chain
              shop.tasks.charge(order_id=42, amount=999)
              shop.tasks.send_email(user_id=7)
        but 1 matches:
            shop.tasks.charge(42, 999)  queue='celery'  t+0.000s  at shop/signup.py:31 in sign_up""")


# -- assert_enqueued_in_order


def test_order_allows_others_in_between(scene):
    scene.publish(sync_crm, 1, id="a").publish(report, id="b").publish(sync_crm, 2, id="c").publish(
        charge, 1, 2, id="d"
    )

    found = scene.harness.assert_enqueued_in_order(sync_crm.s(), sync_crm.s(), charge.s(1))

    assert [message.id for message in found] == ["a", "c", "d"]


def test_wrong_order_shows_what_came_when(scene):
    scene.publish(send_email, 7, "hi").publish(charge, 42, 999, after=1)

    assert failure(scene.harness.assert_enqueued_in_order, charge.s(42), send_email.s(7)) == dedent("""\
        expected these messages, in this order
            1. shop.tasks.charge(order_id=42)
            2. shop.tasks.send_email(user_id=7)
        but none matches number 2 after number 1:
                shop.tasks.send_email(7, 'hi')  queue='celery'  t+0.000s  at shop/signup.py:31 in sign_up
            1.  shop.tasks.charge(42, 999)      queue='celery'  t+1.000s  at shop/signup.py:31 in sign_up""")


def test_in_order_one_that_is_missing_altogether_is_explained(scene):
    scene.publish(charge, 42, 999)

    assert failure(scene.harness.assert_enqueued_in_order, charge.s(42), charge.s(43)) == dedent("""\
        expected message 2 of 2 matching
            shop.tasks.charge(order_id=43)
        but 1 message was enqueued and it does not match (1 of 2 conditions):
            shop.tasks.charge(order_id=42, amount=999)
                              ^ expected 43
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


def test_one_message_cannot_be_two_steps(scene):
    scene.publish(charge, 42, 999)

    assert "but none matches number 2 after number 1:" in failure(
        scene.harness.assert_enqueued_in_order, charge.s(), charge.s()
    )


def test_a_canvas_in_order_is_numbered_once(scene):
    with scene.real_publishing():
        report.apply_async()
        chain(charge.s(42, 999), send_email.si(7, "hi")).apply_async()

    text = failure(scene.harness.assert_enqueued_in_order, chain(charge.s(42, 999), send_email.si(7, "hi")), report.s())

    assert text.splitlines()[:5] == [
        "expected these messages, in this order",
        "    1. chain",
        "         shop.tasks.charge(order_id=42, amount=999)",
        "         shop.tasks.send_email(user_id=7, template='hi')",
        "    2. shop.tasks.report()",
    ]


def test_order_of_nothing_is_refused(scene):
    with pytest.raises(TypeError, match="needs at least one signature"):
        scene.harness.assert_enqueued_in_order()


# -- enqueues


def test_a_block_gives_what_was_sent_in_it(scene):
    scene.publish(report)

    with scene.harness.enqueues(charge.s(1), send_email.s(7)) as sent:
        scene.publish(send_email, 7, "hi", id="a").publish(report, id="b").publish(charge, 1, 2, id="c")

    assert [message.id for message in sent] == ["a", "b", "c"]


def test_a_block_may_ask_for_nothing_in_particular(scene):
    with scene.harness.enqueues() as sent:
        scene.publish(report)

    assert len(sent) == 1


def test_a_block_that_raises_is_not_judged_but_filled(scene):
    block = scene.harness.enqueues(charge.s())
    with pytest.raises(KeyError), block as sent:
        scene.publish(report)
        raise KeyError("mine")

    assert [message.task for message in sent] == ["shop.tasks.report"]


def enqueue_in_block(scene, *messages, expect=(), only=False):
    with scene.harness.enqueues(*expect, only=only):
        for task, *args in messages:
            scene.publish(task, *args)


def test_what_was_enqueued_before_the_block_does_not_count(scene):
    scene.publish(charge, 42, 999)

    assert failure(enqueue_in_block, scene, expect=[charge.s(42)]) == dedent("""\
        expected 1 message matching
            shop.tasks.charge(order_id=42)
        but nothing was enqueued in the block
        hint: one that matches was enqueued before the block, at shop/signup.py:31 in sign_up, t+0.000s""")


def test_each_signature_needs_a_message_of_its_own(scene):
    assert failure(enqueue_in_block, scene, (charge, 1, 2), (report,), expect=[charge.s(), charge.s(1)]) == dedent("""\
        expected 1 message matching
            shop.tasks.charge(order_id=1)
        but 1 other message was enqueued in the block and it does not match (0 of 2 conditions, another task):
            shop.tasks.report()
            ^ expected shop.tasks.charge
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


def test_two_equal_signatures_need_two_messages(scene):
    assert failure(enqueue_in_block, scene, (charge, 1, 2), expect=[charge.s(1), charge.s(1)]) == dedent("""\
        expected 1 message matching
            shop.tasks.charge(order_id=1)
        but nothing else was enqueued in the block""")


def test_a_wildcard_leaves_a_message_to_the_one_that_needs_it(scene):
    enqueue_in_block(scene, (charge, 1, 2), (charge, 2, 2), expect=[charge.s(), charge.s(1)], only=True)


def test_only_allows_nothing_else(scene):
    text = failure(enqueue_in_block, scene, (charge, 1, 2), (report,), expect=[charge.s()], only=True)

    assert text == dedent("""\
        expected nothing else to be enqueued in the block
        but 1 more message was:
            shop.tasks.report()  queue='celery'  t+0.000s  at shop/signup.py:31 in sign_up""")


def test_a_canvas_claims_its_messages_and_what_celery_publishes_for_it_later(scene):
    with scene.harness.enqueues(send_email.s(1), group(send_email.s(n, "hi") for n in (1, 2)), only=True):
        scene.publish(send_email, 1, "alone")
        with scene.real_publishing():
            group(send_email.s(n, "hi") for n in (1, 2)).apply_async()

    with scene.harness.enqueues(chain(charge.s(1, 2), sync_crm.s()), only=True) as sent, scene.real_publishing():
        chain(charge.s(1, 2), sync_crm.s()).apply_async()
        [link] = scene.timeline.messages()[-1].embed["chain"]
        scene.publish(sync_crm, 3, id=link["options"]["task_id"])

    assert len(sent) == 2


def test_a_canvas_that_is_missing_from_a_block(scene):
    text = failure(enqueue_in_block, scene, (charge, 1, 2), expect=[chain(charge.s(1, 2), sync_crm.s())])

    assert text == dedent("""\
        expected 1 chain matching
            chain
              shop.tasks.charge(order_id=1, amount=2)
              shop.tasks.sync_crm(user_id=<result before>)
        but 1 message was enqueued in the block and it does not match (3 of 5 conditions):
            ! task   (expected a chain)
                shop.tasks.charge(order_id=1, amount=2)
            -   shop.tasks.sync_crm(user_id=<result before>)   (missing)
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


# -- enqueues_nothing


def test_nothing_is_allowed_in_a_block_that_enqueues_nothing(scene):
    def block():
        with scene.harness.enqueues_nothing():
            scene.publish(report).publish(charge, 1, 2)

    with scene.harness.enqueues_nothing():
        pass
    assert failure(block) == dedent("""\
        expected nothing to be enqueued in the block
        but 2 messages were:
            shop.tasks.report()      queue='celery'  t+0.000s  at shop/signup.py:31 in sign_up
            shop.tasks.charge(1, 2)  queue='celery'  t+0.000s  at shop/signup.py:31 in sign_up""")


def test_a_retry_is_nothing_new(scene):
    with scene.harness.enqueues_nothing():
        scene.publish(report, retries=1)
