"""Celery's own worker, one step at a time.

The modules here are the world and its workers.  ``supplies`` is where their messages and results are, ``bodies`` what
they run, ``waiting`` who waits for them, and ``borrowing`` the user's app that all of them belong to.
"""
