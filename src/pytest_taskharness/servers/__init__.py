"""Real servers: found, started, checked, and gone when we are.  Imports nothing heavy."""
