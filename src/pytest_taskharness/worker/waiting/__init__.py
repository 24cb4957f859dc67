"""Somebody waits, in the test or in a body: the world goes on meanwhile, and one thread drives it."""
