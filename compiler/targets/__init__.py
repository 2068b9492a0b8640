"""Targets: what a graph of operators becomes."""
