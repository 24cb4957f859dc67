"""An app's control is answered by the world that has it now."""

from __future__ import annotations

import pytest
from celery import Celery
from kombu.pidbox import Mailbox

from pytest_taskharness.worker.answering import answer_at_once


class Own(Mailbox):
    pass


@pytest.mark.parametrize("kind", [Mailbox, Own])
def test_an_app_that_is_lent_and_then_borrowed_is_answered_by_the_borrower(kind):
    app = Celery("shop", set_as_current=False)
    app.control.mailbox.__class__ = kind
    answer_at_once("the lender", app)
    answered = type(app.control.mailbox)

    answer_at_once("the borrower", app)

    assert type(app.control.mailbox) is answered
    assert issubclass(answered, kind)
    assert app.control.mailbox.taskharness_world == "the borrower"
