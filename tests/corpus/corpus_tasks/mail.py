"""Mails that are sent twice, and mails that are never sent."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace

from corpus_case import Topic, plain
from corpus_stores import Database, mail

shop = SimpleNamespace()
database = Database("""
    CREATE TABLE orders (number INTEGER PRIMARY KEY);
    CREATE TABLE outbox (number INTEGER PRIMARY KEY, sent INTEGER DEFAULT 0);
""")
READERS = ["ann", "bob", "cid"]


def reset():
    # One reader cannot be reached the first time.
    mail.reset(down_for=["issue 9 to cid"])
    shop.welcomed = set()
    shop.progress = 0
    database.run("DELETE FROM orders; DELETE FROM outbox")


topic = Topic(observe=lambda: {"mails": list(mail.done), "outbox": database.rows("SELECT * FROM outbox")}, reset=reset)
right, wrong = topic.right, topic.wrong


@wrong("again", "ann", thread="https://github.com/hypothesis/lms/issues/5346")
def send_welcome(user):
    """A mail for each delivery."""
    mail.do(f"welcome {user}")


@right("ann")
def send_with_key(user):
    """The mail has a key of its own, and who sends it knows what it has sent."""
    key = f"welcome {user}"
    mail.do(f"welcome {user}", key=key)


@wrong("crash", "ann", thread="https://github.com/hypothesis/lms/issues/5346")
def send_then_note(user):
    """It is noted after it is sent: a worker that dies in between sends it again."""
    if user in shop.welcomed:
        return
    mail.do(f"welcome {user}")
    shop.welcomed.add(user)


@wrong("crash", "ann", thread="https://github.com/AI-Shipping-Labs/website/issues/285")
def note_then_send(user):
    """It is noted before it is sent: a worker that dies in between never sends it."""
    if user in shop.welcomed:
        return
    shop.welcomed.add(user)
    mail.do(f"welcome {user}")


@right("ann")
def send_with_key_then_note(user):
    """The note only saves the call; the key is what keeps it from being sent twice."""
    if user in shop.welcomed:
        return
    mail.do(f"welcome {user}", key=f"welcome {user}")
    shop.welcomed.add(user)


@wrong("again", 8, thread="https://github.com/pretix/pretix/issues/2058")
def send_to_all(issue):
    """A loop begins with the first reader again."""
    for reader in READERS:
        mail.do(f"issue {issue} to {reader}")


@wrong("crash", 8, thread="https://github.com/hypothesis/lms/issues/5346")
def send_on_from_there(issue):
    """A loop with a marker of how far it came: one reader is between the mail and the marker."""
    for number, reader in enumerate(READERS[shop.progress :], start=shop.progress + 1):
        mail.do(f"issue {issue} to {reader}")
        shop.progress = number


@right(8)
def send_on_from_there_with_keys(issue):
    """The same marker, and each mail has its key."""
    for number, reader in enumerate(READERS[shop.progress :], start=shop.progress + 1):
        mail.do(f"issue {issue} to {reader}", key=f"{issue} {reader}")
        shop.progress = max(number, shop.progress)


@wrong("again", 9, autoretry_for=(ConnectionError,), thread="https://github.com/getsentry/sentry/pull/72516")
def send_to_all_and_retry(issue):
    """A retry of the whole loop, for the one reader who could not be reached."""
    for reader in READERS:
        mail.do(f"issue {issue} to {reader}")


@right(9, autoretry_for=(ConnectionError,))
def send_to_all_with_keys_and_retry(issue):
    """The whole loop may run again, because each mail has its key."""
    for reader in READERS:
        mail.do(f"issue {issue} to {reader}", key=f"{issue} {reader}")


@wrong("crash", "ann", bind=True)
def send_unless_redelivered(self, user):
    """That a message was redelivered does not say that its work was done."""
    if self.request.delivery_info.get("redelivered"):
        return
    mail.do(f"welcome {user}")


@wrong("crash", "ann", bind=True)
def send_unless_successful(self, user):
    """The result is stored after the mail: it is not there yet when it is asked for."""
    if self.AsyncResult(self.request.id).state == "SUCCESS":
        return
    mail.do(f"welcome {user}")


@right("ann", bind=True)
def send_with_task_id(self, user):
    """Every delivery of a message has the same task id."""
    mail.do(f"welcome {user}", key=self.request.id)


@plain(name="corpus_tasks.mail.empty_outbox")
def empty_outbox():
    """Sends what is in the outbox, each with its key."""
    with closing(database.connect()) as connection:
        for (number,) in connection.execute("SELECT number FROM outbox WHERE sent = 0").fetchall():
            mail.do(f"order {number}", key=number)
            with connection:
                connection.execute("UPDATE outbox SET sent = 1 WHERE number = ?", (number,))


@right(7)
def order_with_outbox(number):
    """The mail is written into the database with the order, in one transaction, and sent from there."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO orders VALUES (?)", (number,))
        connection.execute("INSERT OR IGNORE INTO outbox (number) VALUES (?)", (number,))
    empty_outbox.delay()
