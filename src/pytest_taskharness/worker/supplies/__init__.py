"""What a mode supplies: where messages are, and where results are."""
