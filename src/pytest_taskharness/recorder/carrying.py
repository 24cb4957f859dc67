"""What becomes of a value on its way through a serializer."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import EncodeError
from kombu.serialization import dumps, loads

from .lossy import differences
from .unserializable import first_unserializable

__all__ = ["Refused", "arrives_unchanged", "carried"]


class Refused(Exception):
    """The serializer cannot encode a value.

    Attributes:
        culprit: The innermost part that it cannot encode.
    """

    def __init__(self, culprit: Any, said: str) -> None:
        """Keep the part, and what the serializer says."""
        super().__init__(said)
        self.culprit = culprit


def carried(value: Any, serializer: str) -> Any:
    """The value as a worker gets it.

    Raises:
        Refused: It cannot be sent.
    """
    try:
        content_type, encoding, body = dumps(value, serializer)
    except EncodeError as error:
        raise Refused(first_unserializable(value, lambda part: dumps(part, serializer))[1], str(error)) from None
    return loads(body, content_type, encoding, accept=[content_type])


def arrives_unchanged(value: Any, serializer: str) -> bool:
    """Whether a worker gets this value as it is."""
    arrived = carried(value, serializer)
    return bool(arrived == value) and not any(differences(value, arrived, "value"))
