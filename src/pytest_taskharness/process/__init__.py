"""A real ``celery worker``: started, listened to and stopped; Celery's own code runs in it unchanged.

The worker writes down what it does in a journal, which the test process reads; quiescence is a matter of counting.

``inside`` runs in the worker's process and ``outside`` in the test's: neither imports the other, and ``between`` is
what both know.
"""
