"""Text from a decoder: how tokens are chosen, when a text ends, and what its tokens say. NumPy alone computes."""
