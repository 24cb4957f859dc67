"""What customers have been told and charged; here dicts and lists, in life tables."""

from dataclasses import dataclass, field


@dataclass
class Account:
    """One customer.

    Attributes:
        id: The number of the customer.
        reports: How many reports have been delivered.
        delivered: Which months have been delivered.
        told: Of which months the customer has been told by mail.
        invoices: The months of the invoices, as a list: nothing keeps a month from being in it twice.
    """

    id: int
    reports: int = 0
    delivered: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    invoices: list[str] = field(default_factory=list)

    def add_invoice(self, month: str) -> None:
        """Add an invoice, unless there is one for this month: what a table with a unique key does in one step."""
        if month not in self.invoices:
            self.invoices.append(month)


_accounts: dict[int, Account] = {}


def get(customer_id: int) -> Account:
    """Find an account; each customer has one."""
    return _accounts.setdefault(customer_id, Account(customer_id))


def clear() -> None:
    """Forget them all."""
    _accounts.clear()
