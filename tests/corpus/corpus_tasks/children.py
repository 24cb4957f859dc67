"""Tasks that publish tasks: callbacks, loops of ``delay()``, chords."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace

from celery import chord
from corpus_case import Topic, plain
from corpus_stores import Database, mail

shop = SimpleNamespace()
database = Database("CREATE TABLE orders (number INTEGER PRIMARY KEY)")
PARTS = (1, 2)


def reset():
    mail.reset()
    database.run("DELETE FROM orders")
    shop.total = 0
    shop.last = None
    shop.parts = []
    shop.fanned_out = False


def observe():
    return {
        "mail": list(mail.done),
        "orders": database.rows("SELECT * FROM orders"),
        "total": shop.total,
        "last": shop.last,
        "parts": list(shop.parts),
    }


topic = Topic(observe=observe, reset=reset)
right, wrong = topic.right, topic.wrong


@plain
def confirm(number):
    """Confirms an order by a mail, once."""
    with closing(database.connect()) as connection:
        found = connection.execute("SELECT 1 FROM orders WHERE number = ?", (number,)).fetchone()
    mail.do(f"order {number} is {'confirmed' if found else 'unknown'}", key=number)


@plain
def confirm_again(number):
    """Confirms an order by a mail, each time."""
    mail.do(f"order {number} is confirmed")


@plain
def send_part(part):
    """Sends one part by mail, once."""
    mail.do(f"part {part}", key=part)


@plain
def value_of(part):
    """What a part is worth."""
    return 10 * part


@plain
def note_value_of(part):
    """Notes what a part is worth."""
    shop.parts.append(10 * part)


@plain
def add_to_total(values):
    """Adds to what is there."""
    shop.total += sum(values)


@plain
def set_total(values):
    """Replaces what is there."""
    shop.total = sum(values)


@wrong("crash", 7, thread="https://github.com/getsentry/sentry/pull/89284")
def publish_before_commit(number):
    """The child can run while the row that it is about is not there."""
    confirm.delay(number)
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO orders VALUES (?)", (number,))


@wrong("crash", 7)
def publish_if_created(number):
    """Who has created the row publishes; if that one dies in between, nobody does."""
    with closing(database.connect()) as connection, connection:
        created = connection.execute("INSERT OR IGNORE INTO orders VALUES (?)", (number,)).rowcount
    if created:
        confirm.delay(number)


@right(7)
def publish_after_commit(number):
    """After the commit, each time; the child sends its mail once."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO orders VALUES (?)", (number,))
    confirm.delay(number)


@wrong("again", 7)
def publish_twice(number):
    """Each delivery publishes a child of its own, and each child sends a mail."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO orders VALUES (?)", (number,))
    confirm_again.delay(number)


@wrong("crash")
def fan_out_once():
    """A marker before the loop: a worker that dies in the loop leaves the rest unpublished."""
    if shop.fanned_out:
        return
    shop.fanned_out = True
    for part in PARTS:
        send_part.delay(part)


@right()
def fan_out():
    """The whole loop each time; each child sends its mail once."""
    for part in PARTS:
        send_part.delay(part)
    shop.fanned_out = True


@wrong("again")
def add_up():
    """The callback of a chord adds to what is there."""
    chord([value_of.s(part) for part in PARTS])(add_to_total.s())


@right()
def compute():
    """The callback of a chord replaces what is there."""
    chord([value_of.s(part) for part in PARTS])(set_total.s())


@wrong("again")
def note_and_compute():
    """The header of a chord has effects of its own."""
    chord([note_value_of.s(part) for part in PARTS])(set_total.si(PARTS))


@wrong("again", (1, 2), link=add_to_total.s())
def values_to_add(parts):
    """A callback (``link``) is published by each delivery."""
    return [10 * part for part in parts]


@right((1, 2), link=set_total.s())
def values_to_set(parts):
    """A callback that may run again."""
    return [10 * part for part in parts]
