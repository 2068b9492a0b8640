"""Bundles for what runs them elsewhere: a web page, Triton's model repository."""
