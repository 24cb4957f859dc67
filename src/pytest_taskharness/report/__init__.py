"""What people read: the timeline of a test in its report."""
