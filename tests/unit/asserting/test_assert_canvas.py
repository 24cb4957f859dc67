"""Chains, groups and chords as expectations, against what Celery really publishes for them."""

from __future__ import annotations

from textwrap import dedent

import pytest
from asserting_scenes import alert, charge, failure, log, report, send_email, sync_crm
from celery import chain, chord, group
from celery.canvas import _chain

from pytest_taskharness.asserting import exactly
from pytest_taskharness.asserting.canvas import parse


def stamped(canvas):
    canvas.stamp(colour="red")
    return canvas


CANVASES = {
    "chain": lambda: chain(charge.s(42, 999), send_email.si(7, "receipt"), sync_crm.s()),
    "chain of one": lambda: chain(report.s()),
    "chain in a chain": lambda: chain(report.s(), chain(charge.s(1), sync_crm.s())),
    "group": lambda: group(send_email.s(n, "hi") for n in (1, 2, 3)),
    "group of one": lambda: group(send_email.s(1, "hi")),
    "group of groups": lambda: group(group(report.s(), sync_crm.s(1)), sync_crm.s(2)),
    "group of chains": lambda: group(chain(charge.s(1, 2), sync_crm.s()), report.s()),
    "group that ends a chain": lambda: chain(report.s(), group(sync_crm.s(), log.s("x"))),
    "group of one in a chain": lambda: chain(report.s(), group([sync_crm.s()])),
    "chord": lambda: chord([charge.s(1, 2), charge.s(3, 4)], log.s("x")),
    "chord of one": lambda: chord([charge.s(1, 2)], log.s("x")),
    "group | task": lambda: group(charge.s(1, 2), charge.s(3, 4)) | log.s("x"),
    "group | group": lambda: group(charge.s(1, 2), charge.s(3, 4)) | group(log.s("x"), log.s("y")),
    "group | task | task": lambda: group(charge.s(1, 2), charge.s(3, 4)) | log.s("x") | sync_crm.s(),
    "chord of chains": lambda: chord([chain(report.s(), sync_crm.s()), sync_crm.s(1)], chain(log.s(), sync_crm.s())),
    "chord in a group": lambda: group(chord([charge.s(1, 2), charge.s(3, 4)], log.s()), report.s()),
    "chord inside a chain": lambda: chain(report.s(), group(sync_crm.s(), log.s()), send_email.s("hi"), sync_crm.s()),
    "chain with options": lambda: chain(report.s(), sync_crm.s()).set(queue="mail"),
    "group with options": lambda: group(report.s(), sync_crm.s(1)).set(queue="mail"),
    "chord with options": lambda: chord([report.s()], log.s()).set(queue="mail"),
    "chain with an errback": lambda: chain(report.s(), sync_crm.s()).on_error(alert.s()),
    "chain with a callback": lambda: chain(report.s(), sync_crm.s()).set(link=log.s("done")),
    "chunks": lambda: log.chunks([("a",), ("b",), ("c",)], 2),
    "map": lambda: sync_crm.map([1, 2]),
    "three groups in a row": lambda: (
        group(charge.s(1, 2), charge.s(3, 4)) | group(log.s("x"), log.s("y")) | group(log.s("z"), sync_crm.s())
    ),
    "chord | chord": lambda: chord([charge.s(1, 2), charge.s(3, 4)], log.s()) | chord([log.s(), log.s()], log.s()),
    "stamps": lambda: stamped(chain(report.s(), group(sync_crm.s(), log.s("x")), log.s())),
}


@pytest.mark.parametrize("through_json", [False, True], ids=["objects", "json"])
@pytest.mark.parametrize("name", CANVASES)
def test_a_canvas_matches_what_it_publishes(scene, name, through_json):
    with scene.real_publishing(through_json=through_json):
        report.apply_async()
        CANVASES[name]().apply_async()

    scene.harness.assert_enqueued(CANVASES[name]())
    scene.bare.assert_enqueued(CANVASES[name]())


@pytest.mark.parametrize("name", [name for name in CANVASES if name not in {"chain of one", "map"}])
def test_a_canvas_does_not_match_its_first_task_alone(scene, name):
    with scene.real_publishing():
        first = CANVASES[name]()
        while "tasks" in first["kwargs"] or "header" in first["kwargs"]:
            first = next(iter(first["kwargs"].get("tasks") or first["kwargs"]["header"]))
        if first["task"] == "celery.chunks":
            first = report.s()
        first.apply_async()

    assert scene.harness.assert_enqueued(CANVASES[name](), times=0) == []


def test_members_of_a_group_come_in_any_order_and_a_wildcard_finds_its_place(scene):
    with scene.real_publishing():
        group(send_email.s(n, "hi") for n in (1, 2, 3)).apply_async()

    scene.harness.assert_enqueued(group(send_email.s(), send_email.s(1), send_email.s(2)))


def test_two_groups_are_two(scene):
    with scene.real_publishing():
        for _ in range(2):
            group(sync_crm.s(1), sync_crm.s(2)).apply_async()

    heads = scene.harness.assert_enqueued(group(sync_crm.s(1), sync_crm.s(2)), times=2)

    assert [head.args for head in heads] == [(1,), (1,)]
    assert scene.harness.assert_enqueued(group(sync_crm.s() for _ in range(4)), times=0) == []


def test_what_a_worker_publishes_later_for_a_canvas_is_not_one_more_member(scene):
    with scene.real_publishing():
        chord([chain(charge.s(1, 2), sync_crm.s()), report.s()], log.s("x")).apply_async()
    first, second = scene.timeline.messages()
    [link], body = first.embed["chain"], second.embed["chord"]
    options = link["options"]
    scene.publish(sync_crm, 3, id=options["task_id"], group_id=options["group_id"], embed={"chord": body})
    scene.publish(log, [1, 2], "x", id=body["options"]["task_id"], group_id=options["group_id"])

    scene.harness.assert_enqueued(chord([chain(charge.s(1, 2), sync_crm.s()), report.s()], log.s("x")), times=1)


def test_exactly_reaches_every_call_of_a_canvas(scene):
    with scene.real_publishing():
        chain(charge.s(1, 2), send_email.si(7, "hi")).apply_async()

    scene.harness.assert_enqueued(exactly(chain(charge.s(1, 2), send_email.si(7, "hi"))))
    assert scene.harness.assert_enqueued(exactly(chain(charge.s(1, 2), send_email.si(7))), times=0) == []


def test_ids_that_go_in_circles_do_not_hang(scene):
    for mine, other in (("g1", "g2"), ("g2", "g1")):
        scene.publish(sync_crm, 1, group_id=mine, embed={"chord": {**log.s(), "options": {"group_id": other}}})
    scene.publish(report)

    assert "but 3 messages were enqueued" in failure(scene.harness.assert_enqueued, group(report.s(), report.s()))


def test_a_chain_in_the_middle_of_a_raw_chain_reads_like_celerys_own():
    raw = _chain(report.s(), group(sync_crm.s(1), sync_crm.s(2)), log.s(), sync_crm.s())
    chord_first = _chain(chord([report.s(), report.s()], log.s()), sync_crm.s())

    assert parse(raw) == parse(chain(report.s(), group(sync_crm.s(1), sync_crm.s(2)), log.s(), sync_crm.s()))
    assert parse(chord_first) == parse(chord([report.s(), report.s()], chain(log.s(), sync_crm.s())))


def test_a_chord_header_may_be_one_signature():
    single = {**chord([report.s()], log.s()), "kwargs": {"header": report.s(), "body": log.s()}}
    grouped = {**chord([report.s()], log.s()), "kwargs": {"header": group(report.s()), "body": log.s()}}

    assert parse(single) == parse(grouped) == parse(chord([report.s()], log.s()))


EMPTY_CHAIN = {**chain(report.s(), report.s()), "kwargs": {"tasks": []}}


@pytest.mark.parametrize(
    "canvas, text",
    [
        (group([]), "an empty group publishes nothing, so it cannot be expected"),
        (EMPTY_CHAIN, "an empty chain publishes nothing, so it cannot be expected"),
        (chord([report.s()]), "a chord without a body publishes nothing, so it cannot be expected"),
        (
            chain(charge.s(1, 2), report.s()),
            ("shop.tasks.report(<result before>) cannot be expected: too many positional arguments; "
            "the task takes (); a task that wants no result of the one before is written .si()"),
        ),
    ],
    ids=["group", "chain", "chord", "does not fit"],
)  # fmt: skip
def test_a_canvas_that_could_never_be_published_is_refused(scene, canvas, text):
    with pytest.raises(TypeError) as caught:
        scene.harness.assert_enqueued(canvas)

    assert str(caught.value) == text


# -- texts


def test_a_chain_that_differs_is_shown_as_a_tree(scene):
    with scene.real_publishing():
        chain(charge.s(42, 999), send_email.si(7, "receipt"), sync_crm.s()).apply_async()
        report.apply_async()

    expected = chain(charge.s(42, 999), send_email.si(7, "bill").set(queue="mail"), log.si("x"), sync_crm.s())

    assert failure(scene.harness.assert_enqueued, expected) == dedent("""\
        expected 1 chain matching
            chain
              shop.tasks.charge(order_id=42, amount=999)
              shop.tasks.send_email(user_id=7, template='bill')  queue='mail'
              shop.tasks.log(level='x')
              shop.tasks.sync_crm(user_id=<result before>)
        but 2 messages were enqueued and none matches. Nearest (8 of 11 conditions):
              chain
                shop.tasks.charge(order_id=42, amount=999)
            !   shop.tasks.send_email(user_id=7, template='receipt')  queue=None
                                                 ^ expected 'bill'
                                                                      ^ expected 'mail'
            -   shop.tasks.log(level='x')   (missing)
                shop.tasks.sync_crm(user_id=<result before>)
            enqueued at shop/signup.py:31 in sign_up, t+0.000s
        other: shop.tasks.report()  queue='celery'""")


def test_a_link_that_is_too_much_and_one_of_another_task(scene):
    with scene.real_publishing():
        chain(charge.s(1, 2), sync_crm.s(), report.si()).apply_async()

    assert failure(scene.harness.assert_enqueued, chain(charge.s(1, 2), log.s())) == dedent("""\
        expected 1 chain matching
            chain
              shop.tasks.charge(order_id=1, amount=2)
              shop.tasks.log(level=<result before>)
        but 1 message was enqueued and it does not match (4 of 7 conditions):
              chain
                shop.tasks.charge(order_id=1, amount=2)
            !   shop.tasks.sync_crm(user_id=<result before>)
                ^ expected shop.tasks.log
            +   shop.tasks.report()   (not expected)
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


def test_a_link_with_the_wrong_mutability(scene):
    with scene.real_publishing():
        chain(report.s(), sync_crm.si(7)).apply_async()

    text = failure(scene.harness.assert_enqueued, chain(report.s(), sync_crm.s()))

    assert "!   shop.tasks.sync_crm(user_id=7)\n                            ^ expected <result before>" in text


def test_a_group_that_differs_pairs_each_member_with_the_nearest(scene):
    with scene.real_publishing():
        group(send_email.s(1, "hi"), send_email.s(2, "hi"), report.s()).apply_async()

    expected = group(send_email.s(3, "hi"), send_email.s(2, "hi"), sync_crm.s(1), sync_crm.s(2))

    assert failure(scene.harness.assert_enqueued, expected) == dedent("""\
        expected 1 group matching
            group
              shop.tasks.send_email(user_id=3, template='hi')
              shop.tasks.send_email(user_id=2, template='hi')
              shop.tasks.sync_crm(user_id=1)
              shop.tasks.sync_crm(user_id=2)
        but 3 messages were enqueued and none matches. Nearest (6 of 10 conditions):
              group
            !   shop.tasks.send_email(user_id=1, template='hi')
                                      ^ expected 3
                shop.tasks.send_email(user_id=2, template='hi')
            !   shop.tasks.report()
                ^ expected shop.tasks.sync_crm
            -   shop.tasks.sync_crm(user_id=2)   (missing)
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


def test_a_chord_that_differs_shows_its_body_too(scene):
    with scene.real_publishing():
        chord([charge.s(1, 2), chain(charge.s(3, 4), sync_crm.s())], log.s("x")).apply_async()

    expected = chord([charge.s(1, 2), chain(charge.s(3, 5), sync_crm.s())], log.s("y"))

    assert failure(scene.harness.assert_enqueued, expected) == dedent("""\
        expected 1 chord matching
            chord
              shop.tasks.charge(order_id=1, amount=2)
              chain
                shop.tasks.charge(order_id=3, amount=5)
                shop.tasks.sync_crm(user_id=<result before>)
            and then
              shop.tasks.log(level=<result before>, 'y')
        but 2 messages were enqueued and none matches. Nearest (11 of 13 conditions):
              chord
                shop.tasks.charge(order_id=1, amount=2)
                chain
            !     shop.tasks.charge(order_id=3, amount=4)
                                                ^ expected 5
                  shop.tasks.sync_crm(user_id=<result before>)
              and then
            !   shop.tasks.log(level=<result before>, 'x')
                                                      ^ expected 'y'
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


def test_a_group_where_a_chord_was_expected_lacks_its_body(scene):
    with scene.real_publishing():
        group(sync_crm.s(1), chain(report.s(), sync_crm.s())).apply_async()

    expected = chord([sync_crm.s(1), sync_crm.s(2)], group(log.s("x"), log.s("y")))

    assert failure(scene.harness.assert_enqueued, expected) == dedent("""\
        expected 1 chord matching
            chord
              shop.tasks.sync_crm(user_id=1)
              shop.tasks.sync_crm(user_id=2)
            and then
              group
                shop.tasks.log(level=<result before>, 'x')
                shop.tasks.log(level=<result before>, 'y')
        but 2 messages were enqueued and none matches. Nearest (3 of 8 conditions):
            ! group   (expected a chord)
                shop.tasks.sync_crm(user_id=1)
            !   chain   (expected a task)
            +     shop.tasks.report()   (not expected)
            !     shop.tasks.sync_crm(user_id=<result before>)
                                      ^ expected 2
              and then
            -   group   (missing)
                  shop.tasks.log(level=<result before>, 'x')
                  shop.tasks.log(level=<result before>, 'y')
            enqueued at shop/signup.py:31 in sign_up, t+0.000s""")


def test_a_chord_where_a_group_was_expected_has_a_body_too_much(scene):
    with scene.real_publishing():
        chord([sync_crm.s(1), sync_crm.s(2)], chain(log.s("x"), report.si())).apply_async()

    text = failure(scene.harness.assert_enqueued, group(sync_crm.s(1), sync_crm.s(2)))

    assert "! chord   (expected a group)" in text
    assert "+   chain   (not expected)" in text


def test_links_that_hide_their_arguments_stay_hidden(scene):
    with scene.real_publishing():
        chain(
            report.s(), send_email.si(7, "s3cret").set(argsrepr="(7, '***')"), log.si("s3cret").set(argsrepr="…")
        ).apply_async()
        sync_crm.apply_async((1,), link=log.s("s3cret").set(argsrepr="('***',)"))

    wrong = failure(scene.harness.assert_enqueued, chain(report.s(), send_email.si(8)))
    linked = failure(scene.harness.assert_enqueued, sync_crm.s(1).set(link=log.s("other")))

    assert "!   shop.tasks.send_email(7, '***')" in wrong
    assert "+   shop.tasks.log(…)   (not expected)" in wrong
    assert "link=[shop.tasks.log(…)]" in linked
    assert "s3cret" not in wrong + linked
