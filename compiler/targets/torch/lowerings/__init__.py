"""Lowerings of the standard operators, one short function each, grouped by family. Adding an operator is adding a function."""
