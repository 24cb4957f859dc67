"""The mail provider; here a list, in life an HTTP client."""

sent: list[str] = []
_keys: set[str] = set()


class ProviderDown(Exception):
    """The provider does not answer."""


def send(subject: str, *, key: str | None = None) -> None:
    """Send a mail; with an idempotency key, only the first one with this key.

    Raises:
        ProviderDown: Try again later.
    """
    if key is not None and key in _keys:
        return
    _keys.update({key} if key else ())
    sent.append(subject)


def clear() -> None:
    """Forget them all."""
    sent.clear()
    _keys.clear()
