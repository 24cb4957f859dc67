"""A message can be delivered more than once, and what it asks for is done once.

The first task of each pair is caught, and the text says how it goes wrong; the mended one survives every plan.
"""

import pytest

from reports import accounts, mail
from reports.delivery import (
    count_report,
    invoice,
    invoice_by_unique_key,
    note_report,
    tell,
    tell_once,
    tell_with_key,
)


def look():
    """What a customer would notice."""
    account = accounts.get(42)
    return {"reports": account.reports, "invoices": account.invoices, "mails": mail.sent}


def reset():
    accounts.clear()
    mail.clear()


def test_a_report_is_counted_twice(harness):
    with pytest.raises(AssertionError) as caught:
        harness.assert_idempotent(count_report.s(42, "2030-01"), observe=look, reset=reset)

    assert "count_report(42, '2030-01') is not idempotent" in str(caught.value)
    assert "observe()['reports']: expected 1, as after one clean run; found 2" in str(caught.value)


def test_a_set_of_months_is_the_same_each_time(harness):
    harness.assert_idempotent(note_report.s(42, "2030-01"), observe=look, reset=reset)


def test_a_mail_is_sent_twice_when_the_worker_dies_before_the_note(harness):
    harness.assert_idempotent(tell.s(42, "2030-01"), observe=look, reset=reset, plans="sequence")

    with pytest.raises(AssertionError, match=r"account.told.add\(month\) +<- it died before this line"):
        harness.assert_idempotent(tell.s(42, "2030-01"), observe=look, reset=reset, plans="crashes")


def test_a_mail_is_never_sent_when_the_worker_dies_after_the_note(harness):
    harness.assert_idempotent(tell_once.s(42, "2030-01"), observe=look, reset=reset, plans="sequence")

    with pytest.raises(AssertionError, match=r"mail.send\(.*\) +<- it died before this line"):
        harness.assert_idempotent(tell_once.s(42, "2030-01"), observe=look, reset=reset, plans="crashes")


def test_a_mail_with_a_key_is_sent_once(harness):
    harness.assert_idempotent(tell_with_key.s(42, "2030-01"), observe=look, reset=reset)


@pytest.mark.parametrize("plans", ["sequence", "crashes"])
def test_one_worker_at_a_time_invoices_once(harness, plans):
    harness.assert_idempotent(invoice.s(42, "2030-01"), observe=look, reset=reset, plans=plans)


def test_two_workers_at_once_invoice_twice(harness):
    with pytest.raises(AssertionError, match=r"first copy +second copy"):
        harness.assert_idempotent(invoice.s(42, "2030-01"), observe=look, reset=reset)


def test_a_unique_key_lets_one_of_them_invoice(harness):
    harness.assert_idempotent(invoice_by_unique_key.s(42, "2030-01"), observe=look, reset=reset)
