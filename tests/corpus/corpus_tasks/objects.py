"""Plain values, lists, sets and dicts: what they stand for is a document or a row that every worker sees."""

from __future__ import annotations

from types import SimpleNamespace

from corpus_case import Topic

shop = SimpleNamespace()


def reset():
    shop.views = {"home": 10}
    shop.visits = {"home": {"visit 1"}}
    shop.balance = {"alice": 100}
    shop.journal = [("transfer 1", 100)]
    shop.entries = {"transfer 1": 100}
    shop.newsletter = {"alice": False}
    shop.tags = {"article": ["new"]}
    shop.tag_set = {"article": {"new"}}
    shop.cursor = 0
    shop.imported = []
    shop.pages = {}
    shop.todo = ["parcel"]
    shop.packed = []
    shop.sessions = {"alice": "session", "bob": "session"}
    shop.numbers = {"order 1": 1}
    shop.status = {"order 2": "new"}
    shop.history = []
    shop.stock = {"book": 5}
    shop.reserved = {}
    shop.draft = {"version": 1, "text": "a"}
    shop.feed = ["first"]


topic = Topic(observe=lambda: dict(vars(shop)), reset=reset)
right, wrong = topic.right, topic.wrong
FEED = ["a", "b", "c", "d"]


@wrong("again", "home")
def count_view(page):
    """A counter goes up by one for each delivery."""
    shop.views[page] += 1


@right("home", "visit 2")
def note_view(page, visit):
    """A set of visits is counted instead, and a visit is in it once."""
    shop.visits[page].add(visit)


@wrong("again", "alice", 50, thread="https://github.com/wasp-lang/open-saas/issues/688")
def credit(account, amount):
    """The balance is read, and written with the amount added."""
    balance = shop.balance[account]
    shop.balance[account] = balance + amount


@right("transfer 2", 50)
def enter(transfer, amount):
    """The balance is the sum of entries that are kept by the number of the transfer."""
    shop.entries[transfer] = amount


@wrong("together", "transfer 2", 50)
def enter_unless_there(transfer, amount):
    """A list is searched before something is appended to it."""
    if any(entry[0] == transfer for entry in shop.journal):
        return
    shop.journal.append((transfer, amount))


@right("transfer 2", 50)
def enter_by_default(transfer, amount):
    """One step looks and enters."""
    shop.entries.setdefault(transfer, amount)


@wrong("again", "alice")
def toggle_newsletter(user):
    """A switch is turned over, instead of on."""
    shop.newsletter[user] = not shop.newsletter[user]


@right("alice", True)
def set_newsletter(user, wanted):
    """The message says what is wanted."""
    shop.newsletter[user] = wanted


@wrong("again", "article", "hot")
def append_tag(article, tag):
    """A tag is appended to a list."""
    tags = shop.tags[article]
    tags.append(tag)


@right("article", "hot")
def add_tag(article, tag):
    """A tag is added to a set."""
    tags = shop.tag_set[article]
    tags.add(tag)


@wrong("again")
def import_next_page():
    """What the task does depends on a cursor that it moves."""
    start = shop.cursor
    shop.imported.extend(FEED[start : start + 2])
    shop.cursor = start + 2


@right(1)
def import_page(number):
    """The message says which page, and a page is kept by its number."""
    start = 2 * number
    page = FEED[start : start + 2]
    shop.pages[number] = page


@wrong("crash")
def take_from_list():
    """What is taken from a list is only in the hands of a worker that can die."""
    if not shop.todo:
        return
    item = shop.todo.pop()
    shop.packed.append(item)


@right()
def look_then_remove():
    """It leaves the list after it has been packed, and can be packed twice."""
    for item in list(shop.todo):
        shop.pages[item] = "packed"
        shop.todo = [other for other in shop.todo if other != item]


@wrong("again", "alice")
def delete_session(user):
    """Whoever comes second fails, because there is nothing to delete."""
    del shop.sessions[user]


@right("alice")
def forget_session(user):
    """What is gone is gone, whoever did it."""
    shop.sessions.pop(user, None)


@wrong("together", "order 2", thread="https://github.com/django-oscar/django-oscar-invoices/issues/17")
def next_number(order):
    """The highest number plus one, for an order that has none: two can come to the same thought."""
    if any(entry == order for entry, _ in shop.journal):
        return
    number = 1 + max(amount for _, amount in shop.journal)
    shop.journal.append((order, number))


@right("order 2")
def number_of(order):
    """An order has one place for its number."""
    shop.numbers.setdefault(order, 1 + max(shop.numbers.values()))


@wrong("crash", "order 2", "paid")
def change_status(order, status):
    """Two writes that belong together, and a check of the first one for both."""
    if shop.status[order] == status:
        return
    shop.status[order] = status
    shop.history.append((order, status))


@right("order 2", "paid")
def change_status_last(order, status):
    """What can be repeated comes first, what stops the repeating comes last."""
    if shop.status[order] == status:
        return
    shop.pages[order, status] = "noted"
    shop.status[order] = status


@wrong("again", "book", thread="https://github.com/Automattic/woocommerce-payments/issues/3345")
def take_from_stock(item):
    """One less for each delivery."""
    if shop.stock[item] > 0:
        shop.stock[item] -= 1


@right("book", "order 2")
def reserve(item, order):
    """What is left is the stock minus the reservations, and an order has one reservation."""
    if len(shop.reserved) < shop.stock[item]:
        shop.reserved[order] = item


@wrong("again", "b")
def append_to_text(text):
    """A document grows by what the message says."""
    draft = dict(shop.draft)
    draft["text"] += text
    shop.draft = draft


@right(1, "ab")
def save_version(version, text):
    """The message says which version it was written for; a later one is left alone."""
    draft = {"version": version + 1, "text": text}
    if shop.draft["version"] == version:
        shop.draft = draft


@wrong("together", "second")
def prepend_unless_first(entry):
    """It looks only at the newest entry, and another one may have come between looking and writing."""
    newest = shop.feed[0]
    if newest != entry:
        shop.feed.insert(0, entry)
