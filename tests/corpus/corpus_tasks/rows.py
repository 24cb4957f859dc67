"""Rows of a database: SQLite, opened inside the body."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from corpus_case import Topic
from corpus_stores import Database, bank

database = Database("""
    CREATE TABLE loose (number INTEGER, text TEXT);
    CREATE TABLE customers (email TEXT PRIMARY KEY, name TEXT, visits INTEGER DEFAULT 0);
    CREATE TABLE accounts (name TEXT PRIMARY KEY, balance INTEGER, version INTEGER DEFAULT 1);
    CREATE TABLE transfers (id TEXT PRIMARY KEY);
    CREATE TABLE lines (number INTEGER, text TEXT);
    CREATE TABLE invoices (number INTEGER, customer TEXT);
    CREATE TABLE numbered (customer TEXT PRIMARY KEY, number INTEGER);
    CREATE TABLE orders (number INTEGER PRIMARY KEY, status TEXT, refunded INTEGER DEFAULT 0);
    CREATE TABLE stock (item TEXT PRIMARY KEY, left INTEGER);
    CREATE TABLE reservations (customer TEXT, item TEXT, UNIQUE (customer, item));
    CREATE TABLE sessions (customer TEXT);
""")
TABLES = (
    "loose", "customers", "accounts", "transfers", "lines", "invoices", "numbered", "orders", "stock", "reservations",
    "sessions",
)  # fmt: skip
EMPTY = "".join(f"DELETE FROM {table};" for table in TABLES)


def reset():
    bank.reset()
    database.run(f"""
        BEGIN;
        {EMPTY}
        INSERT INTO accounts (name, balance) VALUES ('ann', 100), ('bob', 0);
        INSERT INTO lines VALUES (7, 'old');
        INSERT INTO invoices VALUES (1, 'bob');
        INSERT INTO numbered VALUES ('bob', 1);
        INSERT INTO orders (number, status) VALUES (7, 'paid');
        INSERT INTO stock VALUES ('book', 5);
        INSERT INTO sessions VALUES ('ann'), ('bob');
        COMMIT;
    """)


def observe():
    return {"bank": list(bank.done), **{table: database.rows(f"SELECT * FROM {table}") for table in TABLES}}


topic = Topic(observe=observe, reset=reset)
right, wrong = topic.right, topic.wrong
#: A body that finds the database locked comes back a little later.
come_back = {"autoretry_for": (sqlite3.OperationalError,), "default_retry_delay": 5}


@wrong("again", 7, "hello")
def insert(number, text):
    """A row for each delivery: no key forbids it."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT INTO loose VALUES (?, ?)", (number, text))


@right("ann@example.org", "Ann")
def insert_or_ignore(email, name):
    """A unique key, and nothing is said against a row that is there."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO customers (email, name) VALUES (?, ?)", (email, name))


@wrong("together", 7, "hello", thread="https://github.com/readthedocs/readthedocs.org/issues/7727")
def get_or_create(number, text):
    """Select, then insert: without a unique key two can do it at once."""
    with closing(database.connect()) as connection, connection:
        found = connection.execute("SELECT 1 FROM loose WHERE number = ?", (number,)).fetchone()
        if found is None:
            connection.execute("INSERT INTO loose VALUES (?, ?)", (number, text))


@right("ann@example.org", "Ann")
def create_then_get(email, name):
    """Insert first, and read whatever is there then."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO customers (email, name) VALUES (?, ?)", (email, name))
        return connection.execute("SELECT name FROM customers WHERE email = ?", (email,)).fetchone()


@wrong("again", "ann@example.org", "Ann")
def upsert_and_count(email, name):
    """An upsert is no help where the update adds something."""
    with closing(database.connect()) as connection, connection:
        connection.execute(
            "INSERT INTO customers VALUES (?, ?, 1) ON CONFLICT (email) DO UPDATE SET visits = visits + 1",
            (email, name),
        )


@right("ann@example.org", "Ann")
def upsert(email, name):
    """An upsert that sets what the message says."""
    with closing(database.connect()) as connection, connection:
        connection.execute(
            "INSERT INTO customers VALUES (?, ?, 1) ON CONFLICT (email) DO UPDATE SET name = excluded.name",
            (email, name),
        )


@wrong("again", "ann", 50, thread="https://github.com/wasp-lang/open-saas/issues/688")
def add_to_balance(name, amount):
    """The database adds atomically, and twice."""
    with closing(database.connect()) as connection, connection:
        connection.execute("UPDATE accounts SET balance = balance + ? WHERE name = ?", (amount, name))


@wrong("crash", "transfer 1", "ann", "bob", 50)
def transfer_in_two_steps(transfer, payer, payee, amount):
    """One commit takes the money, another one gives it."""
    with closing(database.connect()) as connection:
        if connection.execute("SELECT 1 FROM transfers WHERE id = ?", (transfer,)).fetchone():
            return
        with connection:
            connection.execute("UPDATE accounts SET balance = balance - ? WHERE name = ?", (amount, payer))
        with connection:
            connection.execute("UPDATE accounts SET balance = balance + ? WHERE name = ?", (amount, payee))
            connection.execute("INSERT INTO transfers VALUES (?)", (transfer,))


@right("transfer 1", "ann", "bob", 50, **come_back)
def transfer_in_one(transfer, payer, payee, amount):
    """The number of the transfer and both sides of it are one transaction."""
    with closing(database.connect(timeout=0)) as connection, connection:
        if connection.execute("INSERT OR IGNORE INTO transfers VALUES (?)", (transfer,)).rowcount:
            connection.execute("UPDATE accounts SET balance = balance - ? WHERE name = ?", (amount, payer))
            connection.execute("UPDATE accounts SET balance = balance + ? WHERE name = ?", (amount, payee))


@wrong("together", 7, **come_back)
def replace_lines_in_two_steps(number):
    """Old rows are deleted in one transaction, new ones are inserted in another."""
    with closing(database.connect(timeout=0)) as connection:
        with connection:
            connection.execute("DELETE FROM lines WHERE number = ?", (number,))
        with connection:
            connection.executemany("INSERT INTO lines VALUES (?, ?)", [(number, "a"), (number, "b")])


@right(7, **come_back)
def replace_lines(number):
    """The same in one transaction."""
    with closing(database.connect(timeout=0)) as connection, connection:
        connection.execute("DELETE FROM lines WHERE number = ?", (number,))
        connection.executemany("INSERT INTO lines VALUES (?, ?)", [(number, "a"), (number, "b")])


@wrong("again", "ann")
def next_number(customer):
    """The highest number plus one, for each delivery."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT INTO invoices SELECT MAX(number) + 1, ? FROM invoices", (customer,))


@right("ann")
def number_of(customer):
    """The same statement, with a unique key beside the number."""
    with closing(database.connect()) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO numbered SELECT ?, MAX(number) + 1 FROM numbered", (customer,))


@wrong("together", 7, 30, thread="https://github.com/iota-uz/iota-sdk/issues/1024")
def refund_if_paid(number, amount):
    """The status is read, and later written: two can read it in between."""
    with closing(database.connect()) as connection, connection:
        [status] = connection.execute("SELECT status FROM orders WHERE number = ?", (number,)).fetchone()
        if status != "paid":
            return
        refund = "UPDATE orders SET status = 'refunded', refunded = refunded + ? WHERE number = ?"
        connection.execute(refund, (amount, number))


@right(7, 30)
def compare_and_refund(number, amount):
    """Compare-and-set: the statement that writes the status also asks for it."""
    with closing(database.connect()) as connection, connection:
        refund = "UPDATE orders SET status = 'refunded', refunded = refunded + ? WHERE number = ? AND status = 'paid'"
        connection.execute(refund, (amount, number))


@wrong("crash", 7)
def compare_and_set_then_pay(number):
    """Who has changed the status pays; if that one dies, nobody does."""
    with closing(database.connect()) as connection:
        with connection:
            refund = "UPDATE orders SET status = 'refunded' WHERE number = ? AND status = 'paid'"
            changed = connection.execute(refund, (number,)).rowcount
        if changed:
            bank.do(f"refund {number}")


@right(7)
def pay_with_key_then_set(number):
    """The payment comes first, with a key; the status says that it is done."""
    bank.do(f"refund {number}", key=number)
    with closing(database.connect()) as connection, connection:
        connection.execute("UPDATE orders SET status = 'refunded' WHERE number = ?", (number,))


@wrong("again", "ann", 50)
def add_with_version(name, amount):
    """Optimistic locking keeps two updates apart; each delivery is an update."""
    with closing(database.connect()) as connection, connection:
        found = connection.execute("SELECT balance, version FROM accounts WHERE name = ?", (name,)).fetchone()
        connection.execute(
            "UPDATE accounts SET balance = ?, version = version + 1 WHERE name = ? AND version = ?",
            (found[0] + amount, name, found[1]),
        )


@right("ann", 150, 1)
def set_with_version(name, balance, version):
    """The message says which version it means to change."""
    with closing(database.connect()) as connection, connection:
        connection.execute(
            "UPDATE accounts SET balance = ?, version = version + 1 WHERE name = ? AND version = ?",
            (balance, name, version),
        )


@wrong("again", "book", thread="https://github.com/Automattic/woocommerce-payments/issues/3345")
def take_from_stock(item):
    """The condition keeps the stock above zero, and lets each delivery take one."""
    with closing(database.connect()) as connection, connection:
        connection.execute("UPDATE stock SET left = left - 1 WHERE item = ? AND left > 0", (item,))


@right("ann", "book")
def reserve(customer, item):
    """A customer has one reservation of an item, if there is one left."""
    with closing(database.connect()) as connection, connection:
        taken = "(SELECT COUNT(*) FROM reservations WHERE item = stock.item)"
        connection.execute(
            f"INSERT OR IGNORE INTO reservations SELECT ?, item FROM stock WHERE item = ? AND left > {taken}",
            (customer, item),
        )


@right("ann")
def delete(customer):
    """What is deleted can be deleted again."""
    with closing(database.connect()) as connection, connection:
        connection.execute("DELETE FROM sessions WHERE customer = ?", (customer,))


@wrong("again", 7, "paid twice?")
def append_to_text(number, text):
    """A text grows with each delivery."""
    with closing(database.connect()) as connection, connection:
        connection.execute("UPDATE orders SET status = status || ? WHERE number = ?", (f", {text}", number))
