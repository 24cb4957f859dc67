"""What the project promises about speed, measured: ``python -m benchmarks`` in the root of the repository."""
