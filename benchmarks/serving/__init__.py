"""What `lamina serve` costs, and what it bears: `python -m benchmarks.serving`."""
