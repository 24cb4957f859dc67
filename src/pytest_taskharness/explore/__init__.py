"""Exploring what becomes of one task under every plan: delivered again, twice at once, dead at each of its lines.

Nothing in this room knows Celery, pytest or a harness: it runs its plans in twins, which somebody opens for it.
"""

from __future__ import annotations

__all__: list[str] = []
