"""The user's own app, and what it has brought along: borrowed while a harness is open, and given back."""
