"""The mail provider; here a list, in life an HTTP client.  It sends a mail once for each key that it is given."""

sent: list[str] = []
_keys: set[str] = set()


def send(text: str, *, key: str | None = None) -> None:
    """Send a mail, unless one has been sent with this key."""
    if key is None or key not in _keys:
        sent.append(text)
    if key is not None:
        _keys.add(key)


def clear() -> None:
    """Forget everything."""
    sent.clear()
    _keys.clear()
