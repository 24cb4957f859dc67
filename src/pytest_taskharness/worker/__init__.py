"""Celery's own worker, one step at a time."""
