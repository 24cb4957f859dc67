"""What runs in the process of a worker: it sees what Celery does there, writes it down, and does as the test asks."""
