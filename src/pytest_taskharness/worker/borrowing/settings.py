"""What a test configures is a setting: a misspelt one would change nothing, without a word."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from celery.app.defaults import DEFAULTS

from ...errors import ConfigurationError, hide_frames

__all__ = ["check_names"]

__tracebackhide__ = hide_frames

#: Names that are less alike are settings of somebody else's: an app may have any.
ALIKE = 0.9


def check_names(app: Any, config: Mapping[str, Any]) -> None:
    """Refuse a name that neither Celery nor the app knows, and that one of Celery's own must have been meant by.

    Raises:
        ConfigurationError: There is one.
    """
    for name in config:
        if name in DEFAULTS or app.conf.get(name) is not None:
            continue
        near = get_close_matches(name, DEFAULTS, n=1, cutoff=ALIKE)
        if near:
            raise ConfigurationError(f"config= has {name!r}, which Celery does not know. Did you mean {near[0]!r}?")
