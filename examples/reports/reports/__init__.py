"""A shop's monthly reports, and the articles that it publishes later."""
