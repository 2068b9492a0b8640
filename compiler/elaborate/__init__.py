"""Elaboration: a checked spec becomes a graph of ops with symbolic shapes, every shape rule run, every error placed."""

from lamina.compiler.elaborate.model import Elaborated, elaborate

__all__ = ["Elaborated", "elaborate"]
