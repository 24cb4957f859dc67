"""Requests to somebody else's API, which cannot be part of a transaction."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from types import SimpleNamespace
from uuid import uuid4

from corpus_case import Topic
from corpus_stores import bank, mail

shop = SimpleNamespace()


def reset():
    bank.reset()
    mail.reset(down_for=["order 8 is paid"])
    shop.status = dict.fromkeys([7, 8], "new")
    shop.owner = {}


topic = Topic(observe=lambda: {"bank": list(bank.done), "mail": list(mail.done), **shop.status}, reset=reset)
right, wrong = topic.right, topic.wrong


@wrong("again", 7, thread="https://github.com/EuroPython/epcon/issues/795")
def charge(order):
    """A charge for each delivery."""
    bank.do(f"charge {order}")


@wrong("again", 7, thread="https://github.com/tempoxyz/pympp/pull/155")
def charge_with_new_key(order):
    """A key that is made in the body is another one each time."""
    key = uuid4()
    bank.do(f"charge {order}", key=key)


@wrong("again", 7)
def charge_with_key_of_now(order):
    """A key that is made of the time is another one a second later."""
    key = f"{order} {datetime.now(timezone.utc):%H:%M:%S}"
    bank.do(f"charge {order}", key=key)
    time.sleep(1)  # the answer takes its time


@right(7)
def charge_with_key(order):
    """The key is made of what the message says."""
    key = f"charge {order}"
    bank.do(f"charge {order}", key=key)


@right(7, bind=True)
def charge_with_task_id(self, order):
    """The key is the task id, which every delivery of a message has in common."""
    bank.do(f"charge {order}", key=self.request.id)


@right(7, "2030-01-31")
def charge_for_day(order, day):
    """Who sends the message says which day it is for."""
    key = f"{order} {day}"
    bank.do(f"charge {order}", key=key)
    time.sleep(1)


@wrong("crash", 7, thread="https://github.com/dimagi/commcare-hq/pull/33509")
def charge_then_note(order):
    """The order is paid after the charge: a worker that dies in between charges again."""
    if shop.status[order] == "paid":
        return
    bank.do(f"charge {order}")
    shop.status[order] = "paid"


@wrong("crash", 7, thread="https://github.com/AI-Shipping-Labs/website/issues/285")
def note_then_charge(order):
    """The order is paid before the charge: a worker that dies in between never charges."""
    if shop.status[order] == "paid":
        return
    shop.status[order] = "paid"
    bank.do(f"charge {order}")


@right(7)
def charge_with_key_then_note(order):
    """The charge has its key, and may be repeated until the order is paid."""
    if shop.status[order] == "paid":
        return
    bank.do(f"charge {order}", key=order)
    shop.status[order] = "paid"


@wrong("together", 7)
def charge_unless_found(order):
    """It asks whether the charge is there; the other one is about to ask the same."""
    found = bank.has_done(f"charge {order}")
    if not found:
        bank.do(f"charge {order}")


@wrong("crash", 7, thread="https://github.com/WorldBank-Transport/open-transit-indicators/issues/183")
def process(order):
    """A status "processing" stays where it is when its worker is gone."""
    if shop.status[order] != "new":
        return
    shop.status[order] = "processing"
    bank.do(f"charge {order}", key=order)
    shop.status[order] = "paid"


@right(7, bind=True)
def process_as_owner(self, order):
    """Who is processing it is written down, and the same message may go on with it."""
    owner = shop.owner.setdefault(order, self.request.id)
    if owner == self.request.id:
        bank.do(f"charge {order}", key=order)
        shop.status[order] = "paid"


@wrong("again", 8, autoretry_for=(ConnectionError,))
def charge_then_mail(order):
    """A retry for the mail charges again."""
    bank.do(f"charge {order}")
    mail.do(f"order {order} is paid", key=order)


@right(8, autoretry_for=(ConnectionError,))
def charge_then_mail_with_keys(order):
    """Each of the two steps may be repeated."""
    bank.do(f"charge {order}", key=order)
    mail.do(f"order {order} is paid", key=order)
    shop.status[order] = "paid"


@wrong("crash", 7)
def charge_in_instalments(order):
    """A key for the whole is noted at the end; its parts have none."""
    if shop.status[order] == "paid":
        return
    for instalment in (1, 2):
        bank.do(f"charge {order}, instalment {instalment}")
    shop.status[order] = "paid"


@right(7)
def charge_in_instalments_with_keys(order):
    """Each part has its key."""
    for instalment in (1, 2):
        bank.do(f"charge {order}, instalment {instalment}", key=(order, instalment))
    shop.status[order] = "paid"
