"""The scenarios, one module per theme, with the tasks that they need."""
