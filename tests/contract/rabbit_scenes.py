"""What the tests of all modes assume that RabbitMQ does otherwise, each with its reason."""

from __future__ import annotations

import pytest

#: Why a test is not for mode ``rabbitmq``: :func:`not_on_rabbitmq` takes one of these.
REASONS = {
    "lost": "RabbitMQ notices a lost connection at once; there is no visibility timeout",
    "patience": "what is held for too long comes again: the consumer_timeout ends its worker, and a new one takes it",
    "priorities": "priorities count only on queues that are declared with x-max-priority, the greatest first",
    "expires": "a message whose time is over leaves its queue undelivered, and no worker hears of it",
    "transport": "the test replaces a method that kombu's virtual transports have",
}


def not_on_rabbitmq(reason):
    """A test that holds in every mode but this one; it is not collected there."""
    return pytest.mark.not_in("rabbitmq", because=REASONS[reason])
