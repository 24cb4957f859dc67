"""What a worker runs: the bodies of tasks, one at a time, at once, in a forked child, and where they may fail."""
