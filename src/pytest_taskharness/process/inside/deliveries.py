"""What a worker tells of one delivery: whose it is, how its arguments may be shown, how it ended."""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionWithTraceback

__all__ = ["error_in", "identity_of", "shown_arguments", "state_after", "tag_of"]


def _headers(message: Any) -> dict[str, Any]:
    return message.headers if isinstance(message.headers, dict) else {}


def identity_of(message: Any) -> dict[str, Any]:
    """The task's name and id, as far as the message has them."""
    headers = _headers(message)
    if "task" in headers:
        return {"task": headers["task"], "id": headers.get("id")}
    return {"task": None, "id": (message.properties or {}).get("correlation_id")}


def tag_of(message: Any) -> str:
    """The broker's name for a delivery; AMQP counts them, on each channel anew."""
    tag, serial = message.delivery_tag, getattr(message.channel, "serial", None)
    return tag if serial is None else f"{serial}/{tag}"


def shown_arguments(message: Any) -> dict[str, Any]:
    """The texts that stand for the arguments, and the parent, where there is one."""
    headers = _headers(message)
    parent = {"parent_id": headers["parent_id"]} if headers.get("parent_id") else {}
    return {"argsrepr": headers.get("argsrepr"), "kwargsrepr": headers.get("kwargsrepr"), **parent}


def error_in(info: Any) -> BaseException:
    """The exception in one of billiard's ``ExceptionInfo``."""
    error = info.exception
    found: BaseException = error.exc if isinstance(error, ExceptionWithTraceback) else error
    return found


def state_after(outcome: str) -> str | None:
    """The state that an outcome leaves the task in; None where it says nothing of that."""
    return outcome if outcome in {"SUCCESS", "FAILURE", "RETRY"} else None
