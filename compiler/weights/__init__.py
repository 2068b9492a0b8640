"""Weights: lazy tensors, seeded initialisation, checkpoints, and the file that they are written to."""
