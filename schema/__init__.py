"""What a spec file may say: YAML to typed, located, frozen models. Imports no framework."""
