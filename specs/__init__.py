"""The zoo: one YAML file an architecture, and the blocks that they share."""
