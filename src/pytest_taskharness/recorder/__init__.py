"""Writes down what Celery does: publishing, storing, calling errbacks.

The recorder wraps seams of one app's own objects for as long as a harness is open.  It never changes what Celery
does.
"""

from .recorder import Recorder

__all__ = ["Recorder"]
