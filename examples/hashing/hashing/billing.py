"""A hash costs a cent.  Eight ways to write that down, of which four charge a customer twice, or never."""

from contextlib import closing

from hashing import stores
from hashing.celeryapp import app


@app.task(acks_late=True)
def insert(job: str) -> None:
    """A row for each delivery."""
    with closing(stores.ledger.connect()) as db, db:
        db.execute("INSERT INTO notes VALUES (?, 1)", (job,))


@app.task(acks_late=True)
def select_then_insert(job: str) -> None:
    """A row where there is none; two workers can find none at the same time."""
    with closing(stores.ledger.connect()) as db, db:
        found = db.execute("SELECT 1 FROM notes WHERE job = ?", (job,)).fetchone()
        if found is None:
            db.execute("INSERT INTO notes VALUES (?, 1)", (job,))


@app.task(acks_late=True)
def charge_then_mark(job: str) -> None:
    """A charge, and then a mark; a worker can die between the two."""
    if stores.redis.get(f"billed:{job}"):
        return
    stores.provider.charge(job, 1)
    stores.redis.set(f"billed:{job}", "yes")


@app.task(acks_late=True)
def mark_then_charge(job: str) -> None:
    """SET NX, and then the charge: two workers never charge twice, and one that dies never charges."""
    if stores.redis.set(f"billed:{job}", "yes", nx=True):
        stores.provider.charge(job, 1)


@app.task(acks_late=True)
def unique_key(job: str) -> None:
    """The table has a unique key, and says nothing against a row that is there."""
    with closing(stores.ledger.connect()) as db, db:
        db.execute("INSERT OR IGNORE INTO bills VALUES (?, 1)", (job,))


@app.task(acks_late=True)
def upsert(job: str) -> None:
    """Insert or update; the update sets what the message says, and adds nothing."""
    with closing(stores.ledger.connect()) as db, db:
        db.execute("INSERT INTO bills VALUES (?, 1) ON CONFLICT (job) DO UPDATE SET cents = excluded.cents", (job,))


@app.task(acks_late=True)
def set_nx(job: str) -> None:
    """SET NX writes the bill itself: there is nothing to come after it."""
    stores.redis.set(f"bill:{job}", 1, nx=True)


@app.task(acks_late=True)
def idempotency_key(job: str) -> None:
    """The provider is told which charge is meant, each time."""
    stores.provider.charge(job, 1, key=f"bill:{job}")
