"""SHA-256 as a service: slow, asynchronous, and never twice for the same content."""
