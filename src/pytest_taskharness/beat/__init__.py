"""Celery's beat under the virtual clock: it runs with the world, or is only asked what it would do."""
