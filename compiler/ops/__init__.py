"""The vocabulary: one op a file, found by walking. `docs/add-an-op.md` says how to add one."""
