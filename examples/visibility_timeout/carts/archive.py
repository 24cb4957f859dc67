"""Where exports are written; here nowhere, in life object storage."""

import time


def write(month: str, chapter: int) -> None:
    """Write one of the three chapters of a month: half an hour."""
    time.sleep(1800)
