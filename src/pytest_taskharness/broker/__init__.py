"""Brokers: where messages wait."""
