"""What comes after a report: counting, telling, invoicing.  Each task twice: as it is written first, and mended.

All of them acknowledge late, so that the death of a worker does not lose them.  A message can then be delivered more
than once, and the work that it asks for must be done once.
"""

from reports import accounts, mail
from reports.celeryapp import app


@app.task(acks_late=True)
def count_report(customer_id: int, month: str) -> None:
    """Lost, or counted twice: the number is read, and written back one higher."""
    account = accounts.get(customer_id)
    reports = account.reports
    account.reports = reports + 1


@app.task(acks_late=True)
def note_report(customer_id: int, month: str) -> None:
    """Mended: which months were delivered is a set, and how many there are is its size."""
    account = accounts.get(customer_id)
    account.delivered.add(month)
    account.reports = len(account.delivered)


@app.task(acks_late=True)
def tell(customer_id: int, month: str) -> None:
    """Sent twice: when the worker dies after the mail, nobody knows of it."""
    account = accounts.get(customer_id)
    if month in account.told:
        return
    mail.send(f"Your report of {month} is ready")
    account.told.add(month)


@app.task(acks_late=True)
def tell_with_key(customer_id: int, month: str) -> None:
    """Mended: the provider knows which mail is meant, so that asking for it again does no harm."""
    account = accounts.get(customer_id)
    if month in account.told:
        return
    mail.send(f"Your report of {month} is ready", key=f"report-{customer_id}-{month}")
    account.told.add(month)


@app.task(acks_late=True)
def invoice(customer_id: int, month: str) -> None:
    """Invoiced twice: two workers look at the same time, and neither of them finds an invoice."""
    account = accounts.get(customer_id)
    if month not in account.invoices:
        account.invoices.append(month)


@app.task(acks_late=True)
def invoice_by_unique_key(customer_id: int, month: str) -> None:
    """Mended: looking and adding are one step."""
    account = accounts.get(customer_id)
    account.add_invoice(month)


@app.task(acks_late=True)
def tell_once(customer_id: int, month: str) -> None:
    """Never sent: the note comes before the mail, and the worker dies in between."""
    account = accounts.get(customer_id)
    if month not in account.told:
        account.told.add(month)
        mail.send(f"Your report of {month} is ready")
